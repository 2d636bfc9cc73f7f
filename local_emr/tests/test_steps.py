"""What happens to steps: their states, their processes, their logs."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from botocore.exceptions import ClientError
from emr_client import Emr, client, error, log, step, until_exists, wait_for

from local_emr import LocalEmr, Spark
from local_emr.pytest_plugin import QUICK


@pytest.fixture
def cluster(cluster_api: Emr) -> str:
    created = cluster_api.create()
    cluster_api.until(created, "WAITING")
    return created


def alive(marker: str) -> list[psutil.Process]:
    """Processes whose command line has the marker."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if marker in " ".join(process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


# ---------------------------------------------------------------------- states and logs


def test_a_step_that_works(cluster_api: Emr, s3: Any, cluster: str) -> None:
    (step_id,) = cluster_api.add(cluster, step("bash", "-c", "echo out; echo err >&2", name="hello"))
    status = cluster_api.step_until(cluster, step_id, "COMPLETED", "FAILED")
    found = cluster_api.client.describe_step(ClusterId=cluster, StepId=step_id)["Step"]

    assert status["State"] == "COMPLETED"
    assert "FailureDetails" not in status
    timeline = status["Timeline"]
    assert timeline["CreationDateTime"] <= timeline["StartDateTime"] < timeline["EndDateTime"]
    assert (found["Name"], found["ActionOnFailure"]) == ("hello", "CONTINUE")
    assert found["Config"]["Jar"] == "command-runner.jar"
    assert found["Config"]["Args"] == ["bash", "-c", "echo out; echo err >&2"]
    assert log(s3, cluster, f"steps/{step_id}/stdout") == "out\n"
    assert log(s3, cluster, f"steps/{step_id}/stderr") == "err\nCommand exiting with ret '0'\n"
    assert "INFO Step succeeded with exitCode 0" in log(s3, cluster, f"steps/{step_id}/controller")


def test_a_step_that_fails(cluster_api: Emr, s3: Any, cluster: str) -> None:
    (step_id,) = cluster_api.add(cluster, step("bash", "-c", "echo 'no such image' >&2; exit 3"))
    status = cluster_api.step_until(cluster, step_id, "COMPLETED", "FAILED")

    assert status["State"] == "FAILED"
    assert status["FailureDetails"] == {
        "Reason": "Unknown Error.",
        "Message": "no such image",
        "LogFile": f"s3://data/logs/{cluster}/steps/{step_id}/stderr.gz",
    }
    assert log(s3, cluster, f"steps/{step_id}/stderr") == "no such image\nCommand exiting with ret '3'\n"
    assert "WARN Step failed with exitCode 3" in log(s3, cluster, f"steps/{step_id}/controller")


def test_a_step_whose_program_does_not_exist(cluster_api: Emr, cluster: str) -> None:
    (step_id,) = cluster_api.add(cluster, step("no-such-program", "x"))
    details = cluster_api.step_until(cluster, step_id, "FAILED")["FailureDetails"]
    assert details["Message"] == 'Cannot run program "no-such-program": No such file or directory'


def test_without_a_log_uri_there_are_no_logs(cluster_api: Emr, s3: Any) -> None:
    request = {"LogUri": ""}
    cluster = cluster_api.create(**request)
    (step_id,) = cluster_api.add(cluster, step("false"))
    assert "LogFile" not in cluster_api.step_until(cluster, step_id, "FAILED")["FailureDetails"]
    assert "Contents" not in s3.list_objects_v2(Bucket="data")


def test_a_log_uri_whose_bucket_is_missing_costs_the_logs_only(cluster_api: Emr) -> None:
    cluster = cluster_api.create(LogUri="s3://nobody/logs/")
    assert cluster_api.ended(cluster, cluster_api.add(cluster, step("true"))) == ["COMPLETED"]


def test_the_log_can_be_read_while_the_step_runs(
    local_emr: LocalEmr, cluster_api: Emr, cluster: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    (step_id,) = cluster_api.add(cluster, step("bash", "-c", f"echo one; {until_exists(gate)}; echo two"))
    route = f"{local_emr.endpoint_url}/_local_emr/clusters/{cluster}/steps/{step_id}/stdout"

    first = wait_for(lambda: (answer := requests.get(route, timeout=5)).text and answer)
    assert (first.text, first.headers["X-Step-State"], first.headers["X-Next-Offset"]) == ("one\n", "RUNNING", "4")
    gate.touch()
    cluster_api.step_until(cluster, step_id, "COMPLETED")
    rest = requests.get(route, params={"offset": first.headers["X-Next-Offset"]}, timeout=5)
    assert (rest.text, rest.headers["X-Step-State"]) == ("two\n", "COMPLETED")
    cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])
    cluster_api.until(cluster, "TERMINATED")
    assert requests.get(route, timeout=5).text == "one\ntwo\n"


def test_script_runner_runs_a_script_of_s3(cluster_api: Emr, s3: Any, cluster: str) -> None:
    s3.put_object(Bucket="data", Key="a script.sh", Body=b'echo "$1"\n')
    script_step = step("s3://data/a script.sh", "with argument")
    script_step["HadoopJarStep"]["Jar"] = "s3://eu-west-3.elasticmapreduce/libs/script-runner/script-runner.jar"
    (step_id,) = cluster_api.add(cluster, script_step)
    cluster_api.step_until(cluster, step_id, "COMPLETED")
    assert log(s3, cluster, f"steps/{step_id}/stdout") == "with argument\n"


# ---------------------------------------------------------------------- ActionOnFailure and concurrency


def test_continue_goes_on_with_the_next_step(cluster_api: Emr, cluster: str) -> None:
    steps = cluster_api.add(cluster, step("false", on_failure="CONTINUE"), step("true"))
    assert cluster_api.ended(cluster, steps) == ["FAILED", "COMPLETED"]
    cluster_api.until(cluster, "WAITING")


def test_cancel_and_wait_cancels_what_is_pending(cluster_api: Emr, cluster: str) -> None:
    steps = cluster_api.add(cluster, step("false", on_failure="CANCEL_AND_WAIT"), step("true"), step("true"))
    assert cluster_api.ended(cluster, steps) == ["FAILED", "CANCELLED", "CANCELLED"]
    cluster_api.until(cluster, "WAITING")
    assert cluster_api.ended(cluster, cluster_api.add(cluster, step("true"))) == ["COMPLETED"]


@pytest.mark.parametrize("action", ["TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW"])
def test_terminate_cluster_ends_the_cluster_with_errors(cluster_api: Emr, cluster: str, action: str) -> None:
    steps = cluster_api.add(cluster, step("false", on_failure=action), step("true"))
    assert cluster_api.ended(cluster, steps) == ["FAILED", "CANCELLED"]
    status = cluster_api.until(cluster, "TERMINATED", "TERMINATED_WITH_ERRORS")
    assert status["State"] == "TERMINATED_WITH_ERRORS"
    assert status["StateChangeReason"] == {"Code": "STEP_FAILURE", "Message": "Shut down as step failed"}


def test_the_last_step_of_a_transient_cluster_ends_it_with_errors_too(cluster_api: Emr) -> None:
    steps = [step("true"), step("false", on_failure="TERMINATE_CLUSTER")]
    cluster = cluster_api.create(Steps=steps, Instances={"KeepJobFlowAliveWhenNoSteps": False})
    status = cluster_api.until(cluster, "TERMINATED", "TERMINATED_WITH_ERRORS")
    assert (status["State"], status["StateChangeReason"]["Code"]) == ("TERMINATED_WITH_ERRORS", "STEP_FAILURE")


def test_a_protected_cluster_outlives_a_failed_step(cluster_api: Emr) -> None:
    cluster = cluster_api.create(Instances={"TerminationProtected": True})
    steps = cluster_api.add(cluster, step("false", on_failure="TERMINATE_CLUSTER"), step("true"))
    assert cluster_api.ended(cluster, steps) == ["FAILED", "CANCELLED"]
    assert cluster_api.until(cluster, "WAITING", "TERMINATING")["State"] == "WAITING"


def test_steps_run_at_once_as_far_as_the_level_allows(cluster_api: Emr, cluster: str) -> None:
    assert cluster_api.client.modify_cluster(ClusterId=cluster, StepConcurrencyLevel=2)["StepConcurrencyLevel"] == 2
    steps = cluster_api.add(cluster, *[step("sleep", "1") for _ in range(4)])

    def states() -> list[str]:
        return [found["Status"]["State"] for found in cluster_api.client.list_steps(ClusterId=cluster)["Steps"]]

    most = 0
    while set(seen := states()) != {"COMPLETED"}:
        most = max(most, seen.count("RUNNING"))
    assert (most, len(steps)) == (2, 4)


def test_above_level_one_only_continue_is_accepted(cluster_api: Emr) -> None:
    cluster = cluster_api.create(StepConcurrencyLevel=2)
    for action in ("CANCEL_AND_WAIT", "TERMINATE_CLUSTER"):
        with pytest.raises(ClientError) as raised:
            cluster_api.add(cluster, step("true", on_failure=action))
        code, message = error(raised)
        assert code == "ValidationException"
        assert f"ActionOnFailure {action} is not valid" in message


def test_a_level_raised_while_a_step_runs_disarms_its_action(cluster_api: Emr, cluster: str) -> None:
    steps = cluster_api.add(
        cluster, step("bash", "-c", "sleep 1; exit 1", on_failure="TERMINATE_CLUSTER"), step("sleep", "2")
    )
    cluster_api.step_until(cluster, steps[0], "RUNNING")
    cluster_api.client.modify_cluster(ClusterId=cluster, StepConcurrencyLevel=2)
    assert cluster_api.ended(cluster, steps) == ["FAILED", "COMPLETED"]
    assert cluster_api.until(cluster, "WAITING", "TERMINATING")["State"] == "WAITING"


@pytest.mark.parametrize("level", [0, 257])
def test_concurrency_has_its_limits(cluster_api: Emr, cluster: str, level: int) -> None:
    with pytest.raises(ClientError) as raised:
        cluster_api.client.modify_cluster(ClusterId=cluster, StepConcurrencyLevel=level)
    assert error(raised)[0] == "InvalidRequestException"


# ---------------------------------------------------------------------- cancelling and killing

# A family in three process groups, deaf to SIGTERM: the shell, a child of its group, and one that made its own group.
MARKER = f"9{os.getpid()}"  # seconds that no other process sleeps for
FAMILY = f"""
trap '' TERM
sleep {MARKER} & set -m; bash -c "trap '' TERM; exec sleep {MARKER}" & wait; wait; sleep {MARKER}
"""


@pytest.mark.parametrize("option", ["SEND_INTERRUPT", "TERMINATE_PROCESS"])
def test_cancelling_kills_every_process_of_the_step(cluster_api: Emr, cluster: str, option: str) -> None:
    steps = cluster_api.add(cluster, step("bash", "-c", FAMILY), step("true"), step("true"))
    wait_for(lambda: len(alive(f"sleep {MARKER}")) >= 3)

    answer = cluster_api.client.cancel_steps(ClusterId=cluster, StepIds=steps[:2], StepCancellationOption=option)

    found = [(info["StepId"], info["Status"]) for info in answer["CancelStepsInfoList"]]
    assert found == [(steps[0], "SUBMITTED"), (steps[1], "SUBMITTED")]
    assert cluster_api.ended(cluster, steps) == ["CANCELLED", "CANCELLED", "COMPLETED"]
    assert alive(f"sleep {MARKER}") == []


def test_what_has_ended_cannot_be_cancelled(cluster_api: Emr, cluster: str) -> None:
    steps = cluster_api.add(cluster, step("true"))
    cluster_api.ended(cluster, steps)
    (info,) = cluster_api.client.cancel_steps(ClusterId=cluster, StepIds=steps)["CancelStepsInfoList"]
    assert info == {"StepId": steps[0], "Status": "FAILED", "Reason": "Cannot cancel a step that is COMPLETED."}


def test_terminating_kills_every_process_of_the_step(cluster_api: Emr, s3: Any, cluster: str) -> None:
    steps = cluster_api.add(cluster, step("bash", "-c", f"echo started; {FAMILY}"), step("true"))
    wait_for(lambda: len(alive(f"sleep {MARKER}")) >= 3)
    cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])
    assert cluster_api.until(cluster, "TERMINATED")["State"] == "TERMINATED"
    assert cluster_api.states(cluster, steps) == ["CANCELLED", "CANCELLED"]
    assert cluster_api.step_status(cluster, steps[0])["StateChangeReason"]["Message"] == "Job terminated"
    assert alive(f"sleep {MARKER}") == []
    assert log(s3, cluster, f"steps/{steps[0]}/stdout") == "started\n"


def test_what_a_step_leaves_behind_ends_with_it(cluster_api: Emr, cluster: str) -> None:
    steps = cluster_api.add(cluster, step("bash", "-c", f"sleep {MARKER} & exit 0"))
    assert cluster_api.ended(cluster, steps) == ["COMPLETED"]
    assert alive(f"sleep {MARKER}") == []


# ---------------------------------------------------------------------- isolation


def test_a_step_sees_nothing_of_the_callers_environment(
    spark: Spark, cluster_api: Emr, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "1")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    configurations = [{"Classification": "spark-env", "Properties": {}, "Configurations": [
        {"Classification": "export", "Properties": {"FRUIT": "a b", "PYSPARK_PYTHON": "/opt/venv/bin/python"}}
    ]}]  # fmt: skip
    cluster = cluster_api.create(Configurations=configurations)
    show = "env; cat $SPARK_CONF_DIR/spark-env.sh; pwd; ls /proc/self/fd | wc -l; umask"
    (step_id,) = cluster_api.add(cluster, step("bash", "-c", show))
    cluster_api.step_until(cluster, step_id, "COMPLETED")
    out = log(s3, cluster, f"steps/{step_id}/stdout").splitlines()

    names = {line.partition("=")[0] for line in out if "=" in line and not line.startswith("export ")}
    assert names == {
        *("HOME", "USER", "LOGNAME", "SHELL", "LANG", "PATH", "TMPDIR", "JAVA_HOME", "PWD", "SHLVL", "_"),
        *("SPARK_HOME", "SPARK_CONF_DIR", "SPARK_LOCAL_IP", "SPARK_SUBMIT_OPTS", "SPARK_LAUNCHER_OPTS"),
        *("HADOOP_CONF_DIR", "EMR_RELEASE_LABEL", "EMR_STEP_ID"),
    }
    assert "export FRUIT='a b'" in out
    (python,) = [line for line in out if line.startswith("export PYSPARK_PYTHON=")]
    assert python == f"export PYSPARK_PYTHON={spark.python}"
    assert out[-3].endswith("/home/hadoop")
    assert int(out[-2]) <= 5  # the three of everybody and what ls itself opens


def test_nodes_are_apart_and_go_with_their_cluster(cluster_api: Emr, s3: Any) -> None:
    first, second = cluster_api.create(), cluster_api.create()
    for cluster in (first, second):
        (step_id,) = cluster_api.add(cluster, step("bash", "-c", "touch ~/mine-$RANDOM; ls ~ | wc -l; echo ~"))
        cluster_api.step_until(cluster, step_id, "COMPLETED")
        count, home = log(s3, cluster, f"steps/{step_id}/stdout").split()
        assert count == "1"
        assert Path(home).is_dir()
    cluster_api.client.terminate_job_flows(JobFlowIds=[second])
    cluster_api.until(second, "TERMINATED")
    assert not Path(home).is_dir()


# ---------------------------------------------------------------------- listing and limits


def test_list_steps_filters_and_pages(cluster_api: Emr, cluster: str) -> None:
    steps = cluster_api.add(cluster, step("sleep", "5"), *[step("true", name=f"n{i}") for i in range(54)])
    api = cluster_api.client
    cluster_api.step_until(cluster, steps[0], "RUNNING")

    page = api.list_steps(ClusterId=cluster)
    rest = api.list_steps(ClusterId=cluster, Marker=page["Marker"])

    assert [found["Id"] for found in page["Steps"] + rest["Steps"]] == steps[::-1]
    assert (len(page["Steps"]), len(rest["Steps"]), "Marker" in rest) == (50, 5, False)
    running = api.list_steps(ClusterId=cluster, StepStates=["RUNNING"])["Steps"]
    assert [found["Id"] for found in running] == steps[:1]
    some = api.list_steps(ClusterId=cluster, StepIds=steps[3:5])["Steps"]
    assert {found["Id"] for found in some} == set(steps[3:5])
    for wrong in ({"StepIds": steps[:11]}, {"StepIds": ["s-NONE"]}):
        with pytest.raises(ClientError) as raised:
            api.list_steps(ClusterId=cluster, **wrong)
        assert error(raised)[0] == "InvalidRequestException"


def test_at_most_256_steps_are_active(cluster_api: Emr) -> None:
    cluster = cluster_api.create()
    cluster_api.add(cluster, step("sleep", "30"), *[step("true")] * 255)
    with pytest.raises(ClientError) as raised:
        cluster_api.add(cluster, step("true"))
    assert error(raised) == ("ValidationException", "Maximum number of active steps (256) for the cluster exceeded.")


@pytest.mark.parametrize(
    ("jar_step", "code"),
    [
        ({"Jar": "s3://data/my.jar", "Args": ["x"]}, "InvalidRequestException"),
        ({"Jar": "command-runner.jar"}, "ValidationException"),
        ({"Jar": "command-runner.jar", "Args": ["x" * 10240]}, "ValidationException"),
    ],
)
def test_steps_that_are_refused(cluster_api: Emr, jar_step: dict[str, Any], code: str) -> None:
    cluster = cluster_api.create()
    with pytest.raises(ClientError) as raised:
        cluster_api.add(cluster, step("true") | {"HadoopJarStep": jar_step})
    assert error(raised)[0] == code
    assert cluster_api.client.list_steps(ClusterId=cluster)["Steps"] == []


def test_an_unknown_step(cluster_api: Emr, cluster: str) -> None:
    with pytest.raises(ClientError) as raised:
        cluster_api.step_status(cluster, "s-NONE")
    assert error(raised) == ("InvalidRequestException", "Step id 's-NONE' is not valid.")


def test_a_step_does_not_start_before_the_cluster_is_ready(cluster_api: Emr) -> None:
    cluster = cluster_api.create()
    (step_id,) = cluster_api.add(cluster, step("true"))
    started = cluster_api.step_until(cluster, step_id, "COMPLETED")["Timeline"]["StartDateTime"]
    timeline = cluster_api.status(cluster)["Timeline"]
    assert timeline["CreationDateTime"] < timeline["ReadyDateTime"] <= started

    with LocalEmr(timing=replace(QUICK, starting=60)) as slow:
        api = Emr(client(slow, "emr"))
        cluster = api.create()
        (step_id,) = api.add(cluster, step("true"))
        time.sleep(1)  # two rounds of a lifecycle that would start it
        status = api.step_status(cluster, step_id)
        assert (api.state(cluster), status["State"], "StartDateTime" in status["Timeline"]) == (
            "STARTING",
            "PENDING",
            False,
        )
