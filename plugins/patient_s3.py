"""S3 clients that outlast moments in which S3 does not answer or asks to slow down.

botocore's default is five attempts within a few seconds, Arrow's is three. S3 answers 503 for longer while it splits a prefix
that many requests go to, and one request that fails for good fails its task.
"""

from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from botocore.config import Config
from botocore.exceptions import ClientError

from aws_sessions import OwnSettings, SharedDescriptions

ATTEMPTS = 10  # with back-off about a minute in all
PATIENT = Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS})
NAMELESS = {"400", "403"}  # S3's answer to HEAD has no body, so that botocore knows the status and no more


class PatientS3Hook(SharedDescriptions, OwnSettings, S3Hook):
    """An S3Hook whose clients make up to `ATTEMPTS` attempts at a request; retries that the connection asks for win."""

    settings = PATIENT

    def head_object(self, key: str, bucket_name: str | None = None) -> dict[str, Any] | None:
        """Return what S3 knows of an object; None if there is none.

        Raises:
            ClientError: S3 refuses, with its reason: `(400) Bad Request` would not tell a token that has expired.
        """
        try:
            return super().head_object(key, bucket_name)
        except ClientError as error:
            if bucket_name and error.response["Error"]["Code"] in NAMELESS:
                self.get_conn().get_object(Bucket=bucket_name, Key=key, Range="bytes=0-0")  # raises, with a reason
            raise


class PatientS3KeySensor(S3KeySensor):
    """An S3KeySensor with the patient hook."""

    aws_hook_class = PatientS3Hook
