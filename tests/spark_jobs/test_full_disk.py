"""A disk that is full: the job says so, rejects no image for it, and goes on once there is room. Linux alone has such a disk."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from sample_data import list_file, write_manifest
from spark_jobs.session import DISK_FULL
from tests.conftest import PROJECT

from .test_reduce_dimensions import NETWORK, Bucket, synthetic

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
FULL = "No space left on device"


def submit(folder: Path, *command: str, disk: str = "", size: str = "") -> tuple[int, str]:
    """Run a job in `folder`; return its exit code and all that it has written.

    Args:
        folder: the working folder.
        command: the job and its options.
        disk: a folder to put on a disk of its own, in a mount namespace that ends with the job.
        size: of that disk.
    """
    full = [str(Path(sys.executable).parent / "spark-submit"), "--master", "local[2]", *command]
    if disk:
        mount = f'mount -t tmpfs -o size={size} tmpfs {disk} && "$@"; status=$?; ls {disk} > left; exit $status'
        full = ["unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", mount, "sh", *full]
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        full, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.fixture(autouse=True)
def _disks() -> None:
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no user namespaces on this system")


def test_nowhere_to_write_features(tmp_path: Path, model_pointer: Path) -> None:
    (tmp_path / "Kiwi").mkdir()
    for number in range(120):
        Image.new("RGB", (20, 20), (number, 100, 100)).save(tmp_path / f"Kiwi/{number}.png")
    write_manifest(tmp_path / "manifest", map(list_file, sorted((tmp_path / "Kiwi").iterdir())))
    (tmp_path / "features").mkdir()
    job = (str(PROJECT / "spark_jobs/extract_features.py"), "--manifest", "manifest", "--model", str(model_pointer))
    job += ("--features", "features", "--rejects", "rejects")
    code, output = submit(tmp_path, *job, disk="features", size="16k")

    assert code == 1, output
    (error,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "features/part-" in error
    assert FULL in error
    assert not (tmp_path / "rejects").exists()
    assert "_SUCCESS" not in (tmp_path / "left").read_text()
    code, output = submit(tmp_path, *job)
    assert code == 0, output
    assert sum(pq.read_metadata(file).num_rows for file in (tmp_path / "features").glob("part-*")) == 120


def test_nowhere_to_shuffle(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path)
    bucket.inventory(*range(200))
    bucket.features("1", synthetic(200))
    (tmp_path / "local").mkdir()
    job = (str(PROJECT / "spark_jobs/reduce_dimensions.py"), "--inventory", "inventory", "--features", "features")
    job = ("--conf", "spark.local.dir=local", *job, "--output", "results", "--model", NETWORK)
    code, output = submit(tmp_path, *job, disk="local", size="16k")

    assert code == 1, output
    assert FULL in output
    assert [line for line in output.splitlines() if line.startswith("error: ")] == [f"error: {DISK_FULL}"]
    code, output = submit(tmp_path, *job)
    assert code == 0, output
