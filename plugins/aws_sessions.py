"""Sessions that read botocore's descriptions of AWS once a process.

Each hook makes a session of its own, and each session reads the descriptions of its service and of all endpoints anew: 0.1 s of
processor time a client, EC2's 0.4 s. The provider's asynchronous sessions share them already.
"""

from typing import Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
from boto3.session import Session
from botocore.loaders import Loader

_LOADER = Loader()


class SharedDescriptions(AwsGenericHook[Any]):
    """A hook whose sessions share the descriptions, and nothing else: credentials and settings are the connection's."""

    def get_session(self, region_name: str | None = None, *args: Any, **kwargs: Any) -> Session:
        """Return a session of the connection."""
        session = super().get_session(region_name, *args, **kwargs)
        if isinstance(session, Session):
            session._session.register_component("data_loader", _LOADER)  # noqa: SLF001 - boto3 has no public way to botocore's
        return session
