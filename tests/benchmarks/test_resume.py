"""A job is killed with everything below it, once it is far enough."""

import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.resume import Committed, figures, killed

# Its first commit is late, as those of a job whose workers are to start first; then there is one every 0.2 s.
LATE = """
import pathlib, sys, time
import pyarrow as pa, pyarrow.parquet as pq
folder = pathlib.Path(sys.argv[1], "features/run=bench")
folder.mkdir(parents=True)
print("INFO chunks=20 reused_chunks=0", flush=True)
time.sleep(3)
for number in range(20):
    pq.write_table(pa.table({"path": ["a"] * 50}), folder / ".tmp")
    (folder / ".tmp").rename(folder / f"part-{number}.parquet")
    time.sleep(0.3)
sys.exit("it was not killed")
"""
JOB = """
import pathlib, subprocess, sys, time
import pyarrow as pa, pyarrow.parquet as pq
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
folder = pathlib.Path(sys.argv[1], "features/run=bench")
folder.mkdir(parents=True)
(folder / "child").write_text(str(child.pid))
print("INFO chunks=2 reused_chunks=0", flush=True)
pq.write_table(pa.table({"path": ["a"] * 95}), folder / ".tmp")
(folder / ".tmp").rename(folder / "part-0.parquet")
time.sleep(float(sys.argv[2]))
child.kill()
sys.exit("no space left on device")
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in Linux's /proc")
def test_nothing_of_the_job_is_left(tmp_path: Path) -> None:
    killed([sys.executable, "-c", JOB, str(tmp_path), "600"], tmp_path, images=100)

    child = int((tmp_path / "features/run=bench/child").read_text())
    until = time.monotonic() + 60  # the kernel takes its time
    while is_running(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(child)


def test_a_job_is_killed_when_nine_tenths_are_committed_however_late_that_began(tmp_path: Path) -> None:
    assert killed([sys.executable, "-c", LATE, str(tmp_path)], tmp_path, images=1_000) in {900, 950}


def test_what_was_committed_and_is_extracted_again_is_lost() -> None:
    """The second round extracts 80 images again that were there; its share of all alone would say nothing of it."""
    found = figures([(930, 70), (960, 120), (900, 100)], images=1_000)

    assert found["resume_lost"] == pytest.approx(0.08)
    assert found["resume_ratio"] == pytest.approx(0.10)
    assert found["resume_killed_at"] == pytest.approx(0.93)


def test_a_job_that_ends_before_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended with 1 before it was killed: [\s\S]*no space left on device"):
        killed([sys.executable, "-c", JOB, str(tmp_path), "0"], tmp_path, images=1_000)


def test_only_whole_files_of_chunks_count(tmp_path: Path) -> None:
    folder = tmp_path / "features/run=bench"
    folder.mkdir(parents=True)
    done = Committed(tmp_path)
    pq.write_table(pa.table({"path": ["a"] * 50}), folder / "part-0.parquet")
    (folder / ".abc.tmp").write_bytes(b"half a file")
    assert done.images() == 50

    pq.write_table(pa.table({"path": ["b"] * 7}), folder / "part-1.parquet")
    assert done.images() == 57
