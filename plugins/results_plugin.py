"""The results of `fruit_features` in Airflow's UI: "Fruit results" in the navigation, and a tab "Results" on each DAG run."""

import logging
import os
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from results_page.reading import DAG_ID, Results, ResultsError, run_name

CONNECTION = "aws_default"
MOUNT = "/fruits"

log = logging.getLogger(__name__)


@lru_cache(maxsize=32)
def _results(bucket: str, prefix: str, images_bucket: str, images_prefix: str) -> Results:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    return Results(S3Hook(CONNECTION).get_conn(), bucket, prefix, images_prefix, images_bucket)


def forget() -> None:
    """Make S3's clients anew: the keys of the connection may have been changed."""
    _results.cache_clear()


def open_results(run_id: str | None) -> Results:
    """Return the results of the bucket that a run was triggered with; without a run, of the params' defaults.

    Raises:
        ResultsError: no bucket is known, or there is no connection to it.
    """
    conf = _conf(run_id) if run_id else {}
    bucket = conf.get("bucket") or os.environ.get("FRUITS_BUCKET")
    if not bucket:
        raise ResultsError("No bucket is known here: set FRUITS_BUCKET for Airflow's API server (see .env.example).")
    images_bucket = conf.get("images_bucket", os.environ.get("FRUITS_IMAGES_BUCKET")) or bucket
    images = conf.get("images_prefix", os.environ.get("FRUITS_IMAGES_PREFIX") or "images/")
    output = conf.get("output_prefix", os.environ.get("FRUITS_OUTPUT_PREFIX"))
    output, images = (str(prefix or "").strip("/") for prefix in (output, images))
    output, images = (f"{prefix}/" if prefix else "" for prefix in (output, images))
    try:
        return _results(str(bucket), output, str(images_bucket), images)
    except Exception as error:  # a connection fails in as many ways as there are secrets backends
        log.exception("no S3 client by connection %s", CONNECTION)
        raise ResultsError(f"The connection {CONNECTION} gives no access to S3: {error}") from error


def _conf(run_id: str) -> Mapping[str, Any]:
    """Return what a run was triggered with; nothing for a name that Airflow does not know as a run_id."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        conf = session.scalar(select(DagRun.conf).where(DagRun.dag_id == DAG_ID, DagRun.run_id == run_id))
    return conf if isinstance(conf, Mapping) else {}


def records(names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return what Airflow knows of those of these runs that have ended, by the names of their folders.

    Its `seconds`; `cost_usd`, `cost_usd_per_1000` new images and the `estimate` in words, None where unknown.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    columns = select(DagRun.run_id, DagRun.start_date, DagRun.end_date).where(DagRun.dag_id == DAG_ID)
    with create_session() as session:
        ended = session.execute(columns.where(DagRun.start_date.is_not(None), DagRun.end_date.is_not(None))).all()
        # Not the database's to choose: a folder's name lacks characters of the run_id.
        rows = [row for row in ended if run_name(row.run_id) in names]
        pushed = select(XComModel).where(
            XComModel.dag_id == DAG_ID,
            XComModel.run_id.in_([row.run_id for row in rows]),
            XComModel.key.in_(["figures", "estimate"]),
        )
        values = {(each.run_id, each.key): XComModel.deserialize_value(each) for each in session.scalars(pushed)}
    # What is no dict, an XCom backend has elsewhere.
    told = {name: value for name, value in values.items() if isinstance(value, dict)}
    return {
        run_name(run_id): {
            "seconds": (end - start).total_seconds(),
            "cost_usd": told.get((run_id, "figures"), {}).get("cost_usd"),
            "cost_usd_per_1000": told.get((run_id, "figures"), {}).get("cost_usd_per_1000"),
            "estimate": told.get((run_id, "estimate"), {}).get("words"),
        }
        for run_id, start, end in rows
        if start and end
    }


@lru_cache(maxsize=1)
def _apps() -> list[dict[str, Any]]:
    from results_page.pages import create_app

    return [{"app": create_app(open_results, records, forget), "url_prefix": MOUNT, "name": "Fruit results"}]


def _application() -> list[dict[str, str]]:
    """Return the link to "Which fruit is this?" where FRUITS_APP_URL says that there is one."""
    url = os.environ.get("FRUITS_APP_URL", "")
    if not url.startswith(("http://", "https://")):
        return []
    return [{"name": "Which fruit is this?", "href": url, "destination": "nav", "category": "browse"}]


class LazyApps:
    """The applications, made when the API server asks: every worker loads plugins, and the imports take 1.6 s.

    A descriptor: to `AirflowPlugin` the applications are an attribute of the class, so a property would come too late.
    """

    def __get__(self, *_: object) -> list[dict[str, Any]]:
        return _apps()


class ResultsPlugin(AirflowPlugin):
    """Mounts the pages and names them in the UI."""

    name = "fruit_results"
    fastapi_apps = LazyApps()
    external_views = [  # noqa: RUF012
        {
            "name": "Fruit results",
            "href": f"{MOUNT.lstrip('/')}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "fruit-results",
        },
        {
            "name": "Results",
            "href": f"{MOUNT.lstrip('/')}/runs/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "fruit-run-results",
        },
        *_application(),
    ]
