"""What goes wrong beside the images: late attempts, a driver that dies, a node without credentials, a crashing decoder."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark import SparkFiles

from sample_data import list_file, write_manifest
from spark_jobs.extraction.chunks import cut_manifest
from spark_jobs.extraction.reading import ManifestRow
from spark_jobs.extraction.worker import Accumulators, Extraction
from spark_jobs.models import read_artifact
from tests.conftest import PROJECT

Start = Callable[..., subprocess.Popen[str]]


@dataclass
class Counter:
    """Stands in for an accumulator."""

    value: Any = 0
    added: list[Any] = field(default_factory=list)

    def add(self, term: Any) -> None:
        self.added.append(term)


def photographs(folder: Path, number: int) -> list[Path]:
    """Images whose content differs, but for every 20th."""
    folder.mkdir(parents=True)
    files = [folder / f"{index:04}.png" for index in range(number)]
    for index, file in enumerate(files):
        Image.new("RGB", (20, 20), (index % 20, 100, 100)).save(file)
    return files


@pytest.fixture
def start(tmp_path: Path, model_pointer: Path) -> Start:
    """Start the job by spark-submit, in a process group of its own."""

    def start(*options: str, master: str = "local[2,2]", **environment: str) -> subprocess.Popen[str]:
        command = [str(Path(sys.executable).parent / "spark-submit"), "--master", master]
        command += [str(PROJECT / "spark_jobs/extract_features.py"), "--manifest", "manifest"]
        command += ["--model", str(model_pointer), "--features", "features", "--rejects", "rejects", *options]
        python_path = os.pathsep.join(filter(None, [environment.pop("PYTHONPATH", ""), str(PROJECT)]))
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=os.environ | {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": python_path, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(folder.glob("part-*")) for row in pq.ParquetFile(file).read().to_pylist()]


def test_an_attempt_that_comes_late_changes_nothing(
    tmp_path: Path, model_pointer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a straggler's does, or that of an executor that was given up: even the images may be others by then."""
    monkeypatch.setattr(SparkFiles, "getRootDirectory", lambda: str(tmp_path))
    files = photographs(tmp_path / "Kiwi", 3)
    manifest = write_manifest(tmp_path / "manifest", map(list_file, files))
    artifact = read_artifact(f"file://{model_pointer}")
    chunks = cut_manifest([f"file://{manifest}/part-0.parquet"], artifact.metadata.model_id)

    def attempt(folder: str) -> bytes:
        accumulators = Accumulators(Counter(), Counter(), Counter(), Counter())  # type: ignore[arg-type]
        broadcast: Any = SimpleNamespace(value=artifact)
        Extraction("a job", broadcast, f"file://{tmp_path}/{folder}", accumulators).run(chunks)
        [file] = (tmp_path / folder).iterdir()
        return file.read_bytes()

    first = attempt("features")
    assert attempt("elsewhere") == first
    files[0].unlink()
    assert attempt("features") == first
    assert attempt("third") != first


def test_a_driver_that_is_killed_loses_only_what_was_under_way(tmp_path: Path, start: Start) -> None:
    sources = [list_file(file) for file in photographs(tmp_path / "Kiwi", 800)]
    write_manifest(tmp_path / "manifest", sources)
    killed = start(master="local[1]")
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "features").glob("part-*"))) < 3 and time.monotonic() < deadline:
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    done = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "features").glob("part-*")}
    assert len(done) < 16
    repeated = start()
    output, _ = repeated.communicate()

    assert repeated.returncode == 0, output
    assert re.search(r"reused_chunks=(\d+)", output)[1] == str(len(done))  # type: ignore[index]
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "features").glob("part-*")}
    assert done.items() <= after.items()
    assert sorted(row["path"] for row in rows(tmp_path / "features")) == [source.path for source in sources]
    assert (tmp_path / "features/_SUCCESS").exists()


def errors(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("error: ")]


def test_a_node_without_credentials_rejects_nothing(tmp_path: Path, start: Start) -> None:
    write_manifest(
        tmp_path / "manifest", [ManifestRow(f"s3://fruits/{number}", "Kiwi", "e", 10) for number in range(60)]
    )
    nothing = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_CONFIG_FILE": "/nowhere",
    }
    process = start(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_ENDPOINT_URL="http://127.0.0.1:9", **nothing)
    output, _ = process.communicate()

    assert process.returncode == 1, output
    [error] = errors(output)
    assert re.match(
        r"error: s3://fruits/\d+: no AWS credentials on this node \(.*\): check its instance profile", error
    )
    assert rows(tmp_path / "features") == []
    assert not (tmp_path / "rejects").exists()


CRASHING_DECODER = """
import os
from spark_jobs.extraction import images

def decode(content, size, decode=images.decode):
    if content == b"poison":
        os.abort()
    return decode(content, size)

images.decode = decode
"""


def test_an_image_that_ends_its_worker_costs_itself_alone(tmp_path: Path, start: Start) -> None:
    files = photographs(tmp_path / "Kiwi", 120)
    poison = [files[10], files[70], files[71]]
    for file in poison:
        file.write_bytes(b"poison")
    write_manifest(tmp_path / "manifest", map(list_file, files))
    (tmp_path / "crash").mkdir()
    (tmp_path / "crash/sitecustomize.py").write_text(CRASHING_DECODER)
    process = start(PYTHONPATH=str(tmp_path / "crash"))
    output, _ = process.communicate()

    assert process.returncode == 0, output
    assert len(rows(tmp_path / "features")) == 117
    rejects = rows(tmp_path / "rejects")
    assert [row["path"] for row in rejects] == [f"file://{file}" for file in poison]
    assert {(row["reason"], row["detail"]) for row in rejects} == {
        ("crashed_worker", "the process that decoded it ended with exit code -6")
    }


def test_images_that_end_their_workers_in_many_tasks_do_not_cost_the_executor(tmp_path: Path, start: Start) -> None:
    """Spark takes an executor out after eight failed tasks (`session.DEFAULTS`), and here there is no other."""
    files = photographs(tmp_path / "Kiwi", 1_200)
    poison = files[7::50]  # one in each chunk
    for file in poison:
        file.write_bytes(b"poison")
    write_manifest(tmp_path / "manifest", map(list_file, files))
    (tmp_path / "crash").mkdir()
    (tmp_path / "crash/sitecustomize.py").write_text(CRASHING_DECODER)
    process = start(master="local[4,8]", PYTHONPATH=str(tmp_path / "crash"))
    output, _ = process.communicate()

    assert process.returncode == 0, output
    assert len(rows(tmp_path / "features")) == 1_200 - 24
    rejects = rows(tmp_path / "rejects")
    assert [row["path"] for row in rejects] == [f"file://{file}" for file in poison]
    assert {row["reason"] for row in rejects} == {"crashed_worker"}
