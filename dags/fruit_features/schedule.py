"""When the DAG runs by itself: each night, and when S3 reports new images. Without settings, never.

An event only wakes the DAG up; what is new, the listing says. The sweep finds what no event has announced: images that landed
while the DAG was paused, or while the queue was missing.
"""

from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable

from fruit_features import config
from fruit_features.layout import RunLayout
from fruit_features.settings import ConfigError, RunSettings

NIGHTLY = "0 3 * * *"  # UTC; the sweep of an installation that names a queue and no schedule

# What `publish` announces, with the run's figures; other DAGs can be scheduled on it.
RESULTS = Asset("fruit_features_results")


def dag_schedule(cron: str | None, queue_url: str | None, bucket: str | None) -> Any:
    """Return what to give `@dag(schedule=...)`.

    Args:
        cron: when to look for new images, in UTC; empty for each night if there is a queue, else never.
        queue_url: of the SQS queue that the bucket notifies of new objects; empty for no events.
        bucket: the params' default: nobody is there to give a run that starts by itself another.

    Raises:
        ConfigError: there is a schedule, but no bucket, or another default of a param cannot work.
    """
    if not cron and not queue_url:
        return None
    if not bucket:
        raise ConfigError(
            "FRUITS_SCHEDULE and FRUITS_QUEUE_URL need FRUITS_BUCKET: a run that starts by itself takes its params' defaults"
        )
    sweep = CronTriggerTimetable(cron or NIGHTLY, timezone="UTC")
    if not queue_url:
        return sweep
    from s3_event_trigger import S3EventTrigger  # importing the triggerer's side would slow down every parse

    layout = RunLayout(RunSettings.from_params({"bucket": bucket}), "")
    trigger = S3EventTrigger(
        queue_url=queue_url,
        bucket=layout.images.bucket,
        prefix=layout.images_prefix,
        pattern=layout.image_keys.regex,
        region_name=config.DEFAULT_REGION,
    )
    images = Asset("fruit_images", watchers=[AssetWatcher(name="s3_events", trigger=trigger)])
    return AssetOrTimeSchedule(assets=[images], timetable=sweep)
