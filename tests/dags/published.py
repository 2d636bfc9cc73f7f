"""A bucket with published results, and what must hold there after a run that a fault has met."""

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from demo.images import draw_fruit, write_images
from local_emr import LocalEmr
from tests.dags.pipeline import BUCKET, Pipeline, Run

FRESH = count(1000)  # numbers of images that no other test has put


def put_image(pipeline: Pipeline, name: str) -> None:
    """Put an image that nobody has seen before."""
    content = io.BytesIO()
    draw_fruit("Kiwi", next(FRESH), 2000).save(content, "JPEG")
    pipeline.s3.put_object(Bucket=BUCKET, Key=f"images/{name}", Body=content.getvalue())


def put_new_images(pipeline: Pipeline, number: int = 3) -> list[str]:
    """Put some images that nobody has seen before; return their names below images/."""
    names = [f"Kiwi/new {next(FRESH)}.jpg" for _ in range(number)]
    for name in names:
        put_image(pipeline, name)
    return names


def at_start_of(task_id: str, do: Callable[[], Any]) -> Callable[[str], None]:
    """Return a watch of a run's log that does something once, when the task's first try starts."""
    done: list[Any] = []

    def watch(line: str) -> None:
        if f"[DAG TEST] starting task_id={task_id} " in line and not done:
            done.append(do())

    return watch


def read(pipeline: Pipeline, key: str) -> bytes:
    content: bytes = pipeline.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return content


def column(pipeline: Pipeline, prefix: str, name: str) -> list[Any]:
    """One column of all part files below a prefix that can be read."""
    found: list[Any] = []
    for key in pipeline.keys(prefix):
        content = pipeline.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        if key.endswith(".parquet") and content.endswith(b"PAR1"):
            found += pq.read_table(io.BytesIO(content), columns=[name])[name].to_pylist()
    return found


def assert_published(pipeline: Pipeline, run: Run, prefix: str = "") -> None:
    """The run has published, no cluster is alive, and each image that is listed is there once."""
    assert run.exit_code == 0, "\n".join(run.errors())
    assert_no_cluster(pipeline)
    latest = pipeline.latest(prefix)
    listed = {f"s3://{BUCKET}/{key}" for key in pipeline.keys("images/")}
    vectors = Counter(column(pipeline, f"{prefix}results/run={latest['run']}/pca/", "path"))
    assert set(vectors) == listed
    assert set(vectors.values()) == {1}
    assert latest["features"] == len(listed)


def assert_extracted_once(pipeline: Pipeline, prefix: str = "") -> None:
    """No image has features of two runs."""
    features = Counter(column(pipeline, f"{prefix}features/", "path"))
    assert {path: times for path, times in features.items() if times > 1} == {}


def assert_no_cluster(pipeline: Pipeline) -> None:
    assert set(pipeline.clusters()) <= {"TERMINATED", "TERMINATED_WITH_ERRORS"}


def assert_failed(pipeline: Pipeline, run: Run, before: dict[str, Any], task_id: str, said: str) -> None:
    """The run has failed in this task, with this in its error; what is published is as before."""
    assert run.exit_code != 0
    assert task_id in run.started
    assert any(said in error for error in run.errors()), "\n".join(run.errors())
    assert_no_cluster(pipeline)
    assert pipeline.latest() == before


def assert_rerun_publishes(pipeline: Pipeline) -> Run:
    """A run without any fault publishes every image once; return it."""
    pipeline.aws.faults.clear()
    run = pipeline.run()
    assert_published(pipeline, run)
    assert_extracted_once(pipeline)
    return run


@contextlib.contextmanager
def published_pipeline(factory: pytest.TempPathFactory, weights: Path, models: Path) -> Iterator[Pipeline]:
    """The pipeline on three drawn images of each variety, with published results."""
    photographs, home = factory.mktemp("photographs"), factory.mktemp("airflow")
    write_images(photographs, 3)
    with LocalEmr(port=0) as aws:
        pipeline = Pipeline(aws, home / "calls", home, photographs, weights, real=False, models=models)
        assert_published(pipeline, pipeline.run())
        yield pipeline
