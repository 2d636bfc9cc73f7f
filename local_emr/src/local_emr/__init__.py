"""An AWS endpoint for a laptop: S3, SQS, IAM and the like by moto, and an EMR whose steps really run."""

from local_emr.emr.settings import Spark, Timing
from local_emr.server import LocalEmr

__all__ = ["LocalEmr", "Spark", "Timing"]
