"""The pointer to the latest good results."""

import json
from collections.abc import Callable

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import publishing
from fruit_features.run import Run


def test_publishing_moves_the_pointer_in_one_put(hook: S3Hook, make_run: Callable[..., Run]) -> None:
    puts: list[str] = []
    hook.get_conn().meta.events.register(
        "before-parameter-build.s3.PutObject", lambda params, **_: puts.append(params["Key"])
    )
    publishing.publish(hook, make_run(), {"run": "1"})
    publishing.publish(hook, make_run(), {"run": "2"})

    assert puts == ["results/latest.json"] * 2
    assert hook.get_key("results/latest.json", "fruits").content_type == "application/json"
    assert json.loads(hook.read_key("results/latest.json", "fruits"))["run"] == "2"
