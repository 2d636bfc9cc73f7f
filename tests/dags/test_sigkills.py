"""Airflow is killed at any moment, and the next run puts everything right: no image lost, none twice, no result half there."""

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
from botocore.exceptions import ClientError

from demo.images import draw_fruit, write_images
from local_emr import LocalEmr, Timing
from tests.dags.pipeline import BUCKET, Pipeline

NEW_IMAGES = 2  # before each run that is killed
TITLES = (
    "seed",
    "killed after s",
    "in",
    "clusters left",
    "published by it",
    "images",
    "extracted by the next run",
    "reads",
)
READS_PER_SECOND = 10
IDLE_SCALE = 0.2  # a cluster ends itself after 3 idle minutes, of EMR's 15

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Kill:
    """What one kill did; a row of the table."""

    seed: int
    seconds: float
    task: str
    clusters_left: int
    published: bool
    images: int
    extracted: int
    reads: int


class Reader:
    """Reads `latest.json` all the while, and the results that it names, as users do."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read_on)
        self.reads = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read_on(self) -> None:
        checked: dict[str, dict[str, Any]] = {}
        while not self._stop.wait(1 / READS_PER_SECOND):
            try:
                latest = self._pipeline.latest()
                run = latest["run"]
                if checked.setdefault(run, latest) != latest:
                    self.wrong.append(f"{run} was published twice: {checked[run]} and {latest}")
                for name in (f"results/run={run}/pca/_SUCCESS", f"results/run={run}/report.html"):
                    self._pipeline.s3.head_object(Bucket=BUCKET, Key=name)
            except Exception as error:  # noqa: BLE001 - a reader that ends would see nothing wrong
                self.wrong.append(repr(error))
            self.reads += 1


def put_new_images(pipeline: Pipeline, folder: Path, seed: int) -> None:
    for number in range(NEW_IMAGES):
        draw_fruit("Kiwi", seed * NEW_IMAGES + number, 5000).save(folder / "drawn.jpg")
        pipeline.upload(folder / "drawn.jpg", f"Kiwi/seed {seed} {number}.jpg")


def run_and_kill(pipeline: Pipeline, seconds: float) -> str:
    """Start a run, and kill Airflow with all that it has started after so long; return the task it was in."""
    task = "its start"
    with pipeline.airflow.test_dag("fruit_features", {"weights": pipeline.weights}) as test:
        killer = threading.Timer(seconds, kill_all, [test.pid])
        killer.start()
        for line in test:
            if "[DAG TEST] starting task_id=" in line:
                task = line.split("starting task_id=")[1].split(" ")[0]
        killer.cancel()
    return task if test.exit_code else "nothing: it had ended"


def kill_all(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            one.kill()


def alive(pipeline: Pipeline) -> int:
    return sum("TERMINAT" not in state for state in pipeline.clusters())


def kill_and_run_again(pipeline: Pipeline, folder: Path, seed: int, longest: float) -> Kill:
    """Kill a run at the seed's moment, run again, and compare what is published with the bucket."""
    seconds = random.Random(seed).uniform(0, longest)
    put_new_images(pipeline, folder, seed)
    before = pipeline.latest()["run"]
    with Reader(pipeline) as reader:
        task = run_and_kill(pipeline, seconds)
        left, published = alive(pipeline), pipeline.latest()["run"] != before
        again = pipeline.run()
    assert again.exit_code == 0, "\n".join(again.errors())
    latest = pipeline.latest()
    images = [f"s3://{BUCKET}/{key}" for key in pipeline.keys("images/")]
    rows = Counter(row["path"] for row in pipeline.rows(f"results/run={latest['run']}/pca/", folder))
    assert rows == Counter(images), "each image once"
    assert (latest["images"], latest["features"]) == (len(images), len(images))
    assert reader.wrong == []
    assert reader.reads > 0
    extracted = len(pipeline.rows(f"features/run={latest['run']}/", folder))
    return Kill(seed, round(seconds, 1), task, left, published, len(images), extracted, reader.reads)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, weights: Path, models: Path) -> Iterator[Pipeline]:
    photographs = tmp_path_factory.mktemp("photographs")
    write_images(photographs, 3)
    with LocalEmr(port=0, timing=Timing(idle_scale=IDLE_SCALE)) as aws:
        folder = tmp_path_factory.mktemp("airflow")
        yield Pipeline(aws, folder / "calls", folder, photographs, weights, real=False, models=models)


@pytest.fixture(scope="module")
def longest(pipeline: Pipeline) -> float:
    """Seconds that a run takes which nobody kills."""
    pipeline.airflow.migrate()
    started = time.monotonic()
    first = pipeline.run()
    assert first.exit_code == 0, "\n".join(first.errors())
    return time.monotonic() - started


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(5), marks=pytest.mark.timeout(1800), id="5"),
        pytest.param(range(5, 35), marks=[pytest.mark.long, pytest.mark.timeout(5400)], id="30"),
    ],
)
def test_airflow_may_be_killed_at_any_moment(pipeline: Pipeline, longest: float, seeds: range, tmp_path: Path) -> None:
    print(f"\n{' | '.join(TITLES)}")
    for seed in seeds:
        kill = kill_and_run_again(pipeline, tmp_path, seed, longest)
        print(" | ".join(map(str, astuple(kill))))

    for cluster in pipeline.emr.list_clusters(ClusterStates=["WAITING", "RUNNING"])["Clusters"]:
        soon = {"IdleTimeout": 60}  # the shortest that there is, not to wait for so long
        with contextlib.suppress(ClientError):  # it has ended meanwhile
            pipeline.emr.put_auto_termination_policy(ClusterId=cluster["Id"], AutoTerminationPolicy=soon)
    deadline = time.monotonic() + 120
    while alive(pipeline) and time.monotonic() < deadline:
        time.sleep(1)
    assert alive(pipeline) == 0, "what a kill has left is idle, and ends itself"
