"""What hooks of AWS have in common here: sessions that share botocore's descriptions, and settings beside the connection's.

Each hook makes a session of its own, and each session reads the descriptions of its service and of all endpoints anew: 0.1 s of
processor time a client, EC2's 0.4 s. The provider's asynchronous sessions share them already.
"""

from typing import Any, ClassVar

from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
from boto3.session import Session
from botocore.config import Config
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


class OwnSettings(AwsGenericHook[Any]):
    """A hook with settings of its own; what the connection says (proxies, FIPS, retries) wins.

    The provider has either: what a hook is given takes the place of the connection's.

    Attributes:
        settings: botocore's.
    """

    settings: ClassVar[Config]

    @property
    def config(self) -> Config:
        """Return botocore's settings, those of the connection included."""
        return self.settings.merge(super().config)
