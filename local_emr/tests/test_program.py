"""`python -m local_emr`: how it starts, what it keeps, and that it leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import program as program_module
import psutil
import pytest
import requests
from emr_client import Emr, job_flow, step, wait_for
from program import Program, environment, run, still_there


@pytest.fixture
def program() -> Iterator[type[Program]]:
    started: list[Program] = []

    class Kept(Program):
        def __init__(self, *arguments: str, port: int = 0) -> None:
            super().__init__(*arguments, port=port)
            started.append(self)

    yield Kept
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def sleeping(marker: str) -> list[int]:
    return [process.pid for process in psutil.process_iter(["cmdline"]) if marker in (process.info["cmdline"] or [])]


def busy_cluster(running: Program, marker: str) -> tuple[Emr, str, str]:
    """A cluster that runs a step, in a bucket `data`; with its id and the step's."""
    running.client("s3").create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    emr = Emr(running.client("emr"))
    cluster = emr.client.run_job_flow(**job_flow())["JobFlowId"]
    (step_id,) = emr.add(cluster, step("bash", "-c", f"trap '' TERM; set -m; sleep {marker} & sleep {marker}"))
    wait_for(lambda: len(sleeping(marker)) == 2)
    return emr, cluster, step_id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_all_that_runs(program: type[Program], number: int, tmp_path: Path) -> None:
    running = program()
    busy_cluster(running, f"7{os.getpid()}")
    children = psutil.Process(running.process.pid).children(recursive=True)
    assert len(children) >= 3
    home = next(process for process in children if process.name() == "sleep").environ()["HOME"]
    assert Path(home).is_dir()

    assert running.end(number) == 0

    assert sleeping(f"7{os.getpid()}") == []
    assert not any(map(still_there, children))
    assert not Path(home).parents[1].exists()


def test_even_sigkill_leaves_no_process_behind(program: type[Program]) -> None:
    running = program()
    busy_cluster(running, f"8{os.getpid()}")
    children = psutil.Process(running.process.pid).children(recursive=True)
    assert running.end(signal.SIGKILL) == -signal.SIGKILL
    wait_for(lambda: not sleeping(f"8{os.getpid()}"), 10)
    wait_for(lambda: not any(map(still_there, children)), 10)


def test_it_ends_with_its_parent_when_asked(tmp_path: Path) -> None:
    said = tmp_path / "said"
    start = f"'{sys.executable}' -m local_emr --port 0 --exit-with-parent > '{said}' 2>&1 & echo $!"
    command = f"{start}; until grep -q ready '{said}'; do sleep 0.1; done"
    pid = int(
        subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, env=environment()).stdout
    )
    orphan = psutil.Process(pid)
    try:
        wait_for(lambda: not still_there(orphan), 10)
    finally:
        if still_there(orphan):
            orphan.kill()


def test_a_port_that_is_taken(program: type[Program]) -> None:
    first = program()
    second = run("--port", str(first.port))
    assert second.returncode == 1
    assert second.stderr == f"local_emr: cannot listen on 127.0.0.1:{first.port}: Address already in use\n"


@pytest.mark.parametrize("option", ["--data-dir", "--access-log"])
def test_files_that_cannot_be_written_are_named(tmp_path: Path, option: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file/below"
    failed = run("--port", "0", option, str(path))
    assert (failed.returncode, failed.stderr) == (1, f"local_emr: cannot use {path}: Not a directory\n")


def test_help_and_wrong_arguments() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    for option in ("--port", "--data-dir", "--region", "--exit-with-parent", "--spark-python", "--jars"):
        assert option in shown.stdout
    assert run("--port", "x").returncode == 2
    missing = run("--port", "0", "--spark-python", "/nowhere/bin/python")
    assert missing.returncode == 1
    assert missing.stderr.startswith("local_emr: no pyspark beside /nowhere/bin/python")


def test_a_data_directory_keeps_buckets_and_clusters(program: type[Program], tmp_path: Path) -> None:
    folder = tmp_path / "data"
    running = program("--data-dir", str(folder))
    emr, cluster, step_id = busy_cluster(running, f"9{os.getpid()}")
    s3 = running.client("s3")
    s3.put_object(Bucket="data", Key="a b/é.jpg", Body=b"x", Metadata={"label": "fig"}, ContentType="image/jpeg")
    s3.put_object(Bucket="data", Key="gone", Body=b"x")
    s3.put_object(Bucket="data", Key="gone too", Body=b"x")
    s3.delete_object(Bucket="data", Key="gone")
    s3.delete_objects(Bucket="data", Delete={"Objects": [{"Key": "gone too"}]})
    s3.create_bucket(Bucket="short-lived", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    s3.delete_bucket(Bucket="short-lived")
    before = s3.head_object(Bucket="data", Key="a b/é.jpg")
    emr.client.add_tags(ResourceId=cluster, Tags=[{"Key": "run", "Value": "1"}])
    running.end(signal.SIGKILL)  # not even a chance to save anything at the end

    again = program("--data-dir", str(folder))
    emr, s3 = Emr(again.client("emr")), again.client("s3")

    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["data"]
    assert s3.get_bucket_location(Bucket="data")["LocationConstraint"] == "eu-west-3"
    assert [found["Key"] for found in s3.list_objects_v2(Bucket="data")["Contents"]] == ["a b/é.jpg"]
    after = s3.head_object(Bucket="data", Key="a b/é.jpg")
    for field in ("ETag", "LastModified", "Metadata", "ContentType", "ContentLength"):
        assert after[field] == before[field]
    found = emr.client.describe_cluster(ClusterId=cluster)["Cluster"]
    assert found["Tags"] == [{"Key": "run", "Value": "1"}]
    assert found["Status"]["State"] == "TERMINATED_WITH_ERRORS"
    message = "local_emr was stopped while the cluster was alive"
    assert found["Status"]["StateChangeReason"] == {"Code": "INTERNAL_ERROR", "Message": message}
    assert emr.states(cluster, [step_id]) == ["CANCELLED"]
    assert emr.client.list_instances(ClusterId=cluster)["Instances"][0]["Status"]["State"] == "TERMINATED"

    other = emr.client.run_job_flow(**job_flow())["JobFlowId"]
    (finished,) = emr.add(other, step("true"))
    emr.step_until(other, finished, "COMPLETED")
    assert again.end() == 0

    third = program("--data-dir", str(folder))
    emr = Emr(third.client("emr"))
    assert [found["Id"] for found in emr.client.list_clusters()["Clusters"]] == [other, cluster]
    assert (emr.state(other), emr.states(other, [finished])) == ("TERMINATED", ["COMPLETED"])
    keys = [found["Key"] for found in third.client("s3").list_objects_v2(Bucket="data")["Contents"]]
    assert f"logs/{other}/steps/{finished}/stdout.gz" in keys


def test_a_program_that_does_not_become_ready_is_not_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    marker = f"6{os.getpid()}"
    (tmp_path / "other").write_text(f"#!/bin/sh\necho something else; exec sleep {marker}\n")
    (tmp_path / "other").chmod(0o755)
    monkeypatch.setattr(program_module, "COMMAND", [str(tmp_path / "other")])
    with pytest.raises(AssertionError, match="something else"):
        Program()
    assert sleeping(marker) == []


def test_it_starts_within_seconds(program: type[Program]) -> None:
    began = time.monotonic()
    running = program()
    assert time.monotonic() - began < 8
    assert requests.get(f"{running.url}/_local_emr/health", timeout=5).json() == {"status": "ok"}
