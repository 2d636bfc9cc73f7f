"""An AWS endpoint for a laptop: S3, SQS, IAM and the like by moto, and an EMR whose steps really run."""

from local_aws.server import LocalAws
from local_aws.settings import Spark, Timing

__all__ = ["LocalAws", "Spark", "Timing"]
