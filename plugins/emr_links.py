"""Links from a task to what it works with: its cluster, its step's log, its Spark application, the run's report.

Where the first three lead is a setting of the installation (.env.example): a template with `{region}`, `{cluster}`, `{step}`,
`{log_bucket}` and `{log_prefix}`, which is empty or ends in a slash. Without a setting they lead to AWS's console.
"""

import os
from typing import Any
from urllib.parse import quote

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

# Of the consoles of China and of GovCloud, by the region's first letters.
OTHER_DOMAINS = {"cn-": "amazonaws.cn", "us-gov-": "amazonaws-us-gov.com"}
CONSOLE = "https://console.{aws_domain}"
CLUSTER = f"{CONSOLE}/emr/home?region={{region}}#/clusterDetails/{{cluster}}"
STEP_LOG = f"{CONSOLE}/s3/buckets/{{log_bucket}}?region={{region}}&prefix={{log_prefix}}{{cluster}}/steps/{{step}}/"


def aws_domain(region: str) -> str:
    """Return the domain of AWS's console for a region."""
    return next((domain for start, domain in OTHER_DOMAINS.items() if region.startswith(start)), "aws.amazon.com")


class EmrLink(BaseOperatorLink):
    """A link of one of our EMR operators; empty while the task has no cluster, or no step, to lead to."""

    setting: str
    default: str

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's interface
        """Return the URL."""
        step, log_uri = (getattr(operator, name, None) for name in ("step_id", "log_uri"))
        return self.url(operator.region_name, operator.job_flow_id, step, log_uri)

    @classmethod
    def url(cls, region: str | None, cluster: str | None, step: str | None = None, log_uri: str | None = None) -> str:
        """Return the URL; an empty text if it needs what is None, or the template what there is not."""
        template = os.environ.get(cls.setting) or cls.default
        bucket, prefix = S3Hook.parse_s3_url(log_uri or "s3://-/")
        values = {
            "aws_domain": aws_domain(region or ""),
            "region": region,
            "cluster": cluster,
            "step": step,
            "log_bucket": bucket,
            "log_prefix": f"{prefix.strip('/')}/".lstrip("/"),
        }
        missing = [name for name, value in values.items() if not value and f"{{{name}}}" in template]
        try:
            return template.format(**values) if not set(missing) - {"log_prefix"} else ""
        except (LookupError, ValueError):  # a mistake in a setting must not hide why a step has failed
            return ""


class ClusterLink(EmrLink):
    """The cluster."""

    name = "Cluster"
    setting, default = "FRUITS_CLUSTER_LINK", CLUSTER


class StepLogLink(EmrLink):
    """What the step has written; EMR copies it to S3 within minutes."""

    name = "Step log"
    setting, default = "FRUITS_STEP_LOG_LINK", STEP_LOG


class SparkHistoryLink(EmrLink):
    """The step's Spark application: jobs, stages, executors, while it runs and after.

    EMR's persistent history server has no URL that lasts: who is logged in to the console opens it on the cluster's page.
    """

    name = "Spark history"
    setting, default = "FRUITS_SPARK_HISTORY_LINK", CLUSTER


class ReportLink(BaseOperatorLink):
    """The run's report, on the results page (`results_plugin`)."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's interface
        """Return the URL."""
        base = conf.get("api", "base_url", fallback="/").rstrip("/")
        return f"{base}/fruits/runs/{quote(ti_key.run_id, safe='')}/report"
