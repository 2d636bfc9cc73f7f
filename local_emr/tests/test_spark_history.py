"""Spark's history server: started by the first who asks, gone when nobody does, and never in the way of anything else."""

import dataclasses
import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest
import requests
from emr_client import REGION, Emr, client, job_flow, open_history, step, wait_for
from program import Program, still_there

from local_emr import LocalEmr, Spark
from local_emr.emr import spark_events
from local_emr.emr.step import Step
from local_emr.pytest_plugin import QUICK

IDLE_SECONDS = 3
ENVIRONMENT = (
    "JVM Information",
    "Classpath Entries",
    *(f"{of} Properties" for of in ("Spark", "Hadoop", "System", "Metrics")),
)
EVENTS = [
    {"Event": "SparkListenerLogStart", "Spark Version": "3.5.6"},
    {
        "Event": "SparkListenerApplicationStart",
        "App Name": "fruit <b>",
        "App ID": "local-1",
        "Timestamp": 1_800_000_000_000,
        "User": "hadoop",
    },
    {"Event": "SparkListenerEnvironmentUpdate"} | {name: {} for name in ENVIRONMENT},
    {"Event": "SparkListenerApplicationEnd", "Timestamp": 1_800_000_001_000},
]


def application(until: Path | None = None) -> dict[str, object]:
    """A step that leaves the event log of an application as Spark would, which is up until there is that file."""
    # Without spaces: the history server goes by the beginnings of lines.
    written = [json.dumps(event, separators=(",", ":")) for event in EVENTS]
    start, end = "\n".join(written[:-1]), written[-1]
    wait = f"until [ -e '{until}' ]; do sleep 0.1; done\n" if until else ""
    script = (
        f"cd \"$HOME/../../logs/steps/$EMR_STEP_ID/spark-events\"\necho '{start}' > local-1.inprogress\n{wait}"
        f"echo '{end}' >> local-1.inprogress\nmv local-1.inprogress local-1\n"
    )
    return step("bash", "-c", script)


def run(aws: LocalEmr, work: dict[str, object]) -> tuple[Emr, str, str]:
    """A client, a new cluster and its step, which runs."""
    s3 = client(aws, "s3")
    if not s3.list_buckets()["Buckets"]:
        s3.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": REGION})
    emr = Emr(client(aws, "emr"))
    cluster = emr.client.run_job_flow(**job_flow())["JobFlowId"]
    (step_id,) = emr.add(cluster, work)
    return emr, cluster, step_id


def page(aws: LocalEmr, cluster: str, step_id: str) -> str:
    return f"{aws.endpoint_url}/_local_emr/clusters/{cluster}/steps/{step_id}"


def servers() -> list[psutil.Process]:
    """The history servers below this process."""
    found = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            if "org.apache.spark.deploy.history.HistoryServer" in each.cmdline():
                found.append(each)
    return found


@pytest.fixture
def shortly(local_emr: LocalEmr, spark: Spark) -> Iterator[LocalEmr]:
    """An endpoint whose history server ends after three seconds without a visitor."""
    with LocalEmr(timing=dataclasses.replace(QUICK, history_idle=IDLE_SECONDS), spark=spark) as aws:
        yield aws


@pytest.mark.slow
def test_an_application_is_shown_while_it_runs_and_after(shortly: LocalEmr, tmp_path: Path) -> None:
    emr, cluster, step_id = run(shortly, application(until=tmp_path / "go"))
    link = page(shortly, cluster, step_id)
    wait_for(lambda: "/spark-history" in requests.get(link, timeout=10).text)

    assert servers() == []
    assert "getting ready" in requests.get(f"{link}/spark-history", timeout=10).text
    jobs = open_history(f"{link}/spark-history")
    assert "fruit &lt;b&gt;" in jobs.text
    assert set(re.findall(r'(?:src|href)="(/[^/"]*/[^/"]*)/', jobs.text)) == {"/_local_emr/spark-history"}
    (server,) = servers()
    assert {each.laddr.ip.removeprefix("::ffff:") for each in server.net_connections() if each.status == "LISTEN"} == {
        "127.0.0.1"
    }

    (tmp_path / "go").touch()
    assert emr.ended(cluster, [step_id]) == ["COMPLETED"]
    record = f"{shortly.endpoint_url}/_local_emr/spark-history/api/v1/applications/local-1"

    def completed() -> list[dict[str, object]]:
        answer = requests.get(record, timeout=10)
        return [each for each in answer.json()["attempts"] if each["completed"]] if answer.ok else []

    attempts = wait_for(completed)
    assert attempts[0]["duration"] == 1000

    wait_for(lambda: not still_there(server))  # nobody asks any more
    assert "getting ready" in requests.get(jobs.url, timeout=10).text  # somebody does, with a page that is still open
    wait_for(lambda: len(servers()) == 1)
    shortly.reset()
    assert servers() == []
    assert requests.get(jobs.url, timeout=10).status_code == 404


def test_it_dies_with_the_endpoint(spark: Spark) -> None:
    running = Program()
    try:
        running.client("s3").create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": REGION})
        emr = Emr(running.client("emr"))
        cluster = emr.client.run_job_flow(**job_flow())["JobFlowId"]
        (step_id,) = emr.add(cluster, application())
        emr.ended(cluster, [step_id])
        link = f"{running.url}/_local_emr/clusters/{cluster}/steps/{step_id}/spark-history"
        assert "getting ready" in requests.get(link, timeout=10).text
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert len(children) >= 2  # the reaper, and what becomes the history server
        running.end(signal.SIGKILL)
        wait_for(lambda: not any(map(still_there, children)), 10)
    finally:
        running.process.kill()
        running.process.wait()


@pytest.mark.parametrize("lacking", ["java_home", "python"])
def test_what_it_lacks_is_said(local_emr: LocalEmr, tmp_path: Path, lacking: str) -> None:
    nowhere = tmp_path / "nowhere/bin/python"
    with LocalEmr(timing=QUICK, spark=dataclasses.replace(Spark(), **{lacking: nowhere})) as aws:
        if lacking == "java_home" and not list(Spark().python.parent.parent.glob("lib/python3*/site-packages/pyspark")):
            pytest.skip("no pyspark, which is missed first")
        emr, cluster, step_id = run(aws, application())
        assert emr.ended(cluster, [step_id]) == ["COMPLETED"]
        answer = requests.get(f"{page(aws, cluster, step_id)}/spark-history", timeout=10)
    assert answer.status_code == 503
    assert {"java_home": "--java-home", "python": "--spark-python"}[lacking] in answer.text
    assert str(nowhere) in answer.text


def test_there_is_nothing_to_open(local_emr: LocalEmr) -> None:
    emr, cluster, step_id = run(local_emr, step("true"))
    assert emr.ended(cluster, [step_id]) == ["COMPLETED"]
    link = page(local_emr, cluster, step_id)

    assert "spark-history" not in requests.get(link, timeout=10).text
    assert "has started no Spark application." in requests.get(f"{link}/spark-history", timeout=10).text
    for unknown in ("spark-history/local-2", "spark-history/local-1/x"):
        assert requests.get(f"{link}/{unknown}", timeout=10).status_code == 404
    everything = f"{local_emr.endpoint_url}/_local_emr/spark-history/"
    assert requests.get(everything, timeout=10).status_code == 404
    assert requests.post(everything, timeout=10).status_code == 404
    assert servers() == []


def test_a_folder_of_rolling_event_logs_ends_no_step(local_emr: LocalEmr) -> None:
    script = 'mkdir -p "$HOME/../../logs/steps/$EMR_STEP_ID/spark-events/eventlog_v2_local-1"'
    emr, cluster, step_id = run(local_emr, step("bash", "-c", script))
    assert emr.ended(cluster, [step_id]) == ["COMPLETED"]
    answer = requests.get(f"{page(local_emr, cluster, step_id)}/spark-history", timeout=10)
    assert "has started no Spark application." in answer.text


@pytest.mark.parametrize("log", ["local-1", "local-1.inprogress", "local-1.zstd", "local-1.lz4.inprogress"])
def test_a_log_is_of_the_application_whatever_packs_it(tmp_path: Path, log: str) -> None:
    (tmp_path / "spark-events").mkdir()
    (tmp_path / "spark-events" / log).touch()
    work = Step("step", "command-runner.jar", [], "CONTINUE", log_directory=tmp_path)
    assert spark_events.application_ids(Mock(), work, Mock()) == ["local-1"]


def test_a_damaged_event_log_is_told_and_stops_nothing(local_emr: LocalEmr) -> None:
    emr, cluster, step_id = run(local_emr, step("true"))
    assert emr.ended(cluster, [step_id]) == ["COMPLETED"]
    log = f"logs/{cluster}/steps/{step_id}/spark-events/app-1.gz"
    client(local_emr, "s3").put_object(Bucket="data", Key=log, Body=b"no gzip")
    link = f"{page(local_emr, cluster, step_id)}/spark-history"
    for _ in range(2):
        answer = requests.get(link, timeout=10)
        assert (answer.status_code, step_id in answer.text) == (503, True)
        time.sleep(1.5)  # the thread that ends an idle history server looks each second
        assert "local_emr-history" in [thread.name for thread in threading.enumerate()]
    assert servers() == []


def test_event_logs_outlive_the_endpoint_where_its_buckets_do(local_emr: LocalEmr, tmp_path: Path) -> None:
    with LocalEmr(timing=QUICK, data_dir=tmp_path / "data") as aws:
        emr, cluster, step_id = run(aws, application())
        assert emr.ended(cluster, [step_id]) == ["COMPLETED"]
        node = aws.emr.registry.find(cluster).cluster.step(step_id).log_directory
    assert not node.exists()
    local_emr.reset()

    with LocalEmr(timing=QUICK, data_dir=tmp_path / "data") as aws:
        assert "/spark-history" in requests.get(page(aws, cluster, step_id), timeout=10).text
        found = aws.emr.registry.find(cluster).cluster
        spark_events.collect(found, found.step(step_id), aws._s3, tmp_path)
    assert [json.loads(line) for line in (tmp_path / "local-1").read_text().splitlines()] == EVENTS
