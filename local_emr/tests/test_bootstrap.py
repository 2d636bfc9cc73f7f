"""Bootstrap actions: what they can do, what they cannot, and what they leave in writing."""

import os
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from emr_client import Emr, log, wait_for

from local_emr import LocalEmr
from local_emr.emr import bootstrap

isolated = pytest.mark.skipif(not bootstrap.can_isolate(), reason="no user namespaces on this system")


MARKER = f"5{os.getpid()}"  # seconds that no other process sleeps for


def asleep() -> int:
    """How many processes of this machine sleep for that long."""
    return sum(process.info["cmdline"] == ["sleep", MARKER] for process in psutil.process_iter(["cmdline"]))


def action(path: str, *arguments: str, name: str = "prepare") -> dict[str, Any]:
    return {"Name": name, "ScriptBootstrapAction": {"Path": path, "Args": list(arguments)}}


def commands(aws: LocalEmr, cluster: str) -> list[dict[str, Any]]:
    return requests.get(f"{aws.endpoint_url}/_local_emr/clusters/{cluster}/bootstrap", timeout=5).json()["commands"]


@pytest.fixture
def run(cluster_api: Emr, s3: Any) -> Any:
    """Runs a script as bootstrap action; the cluster's id and status once it is up or gone."""

    def run(script: str, *arguments: str) -> tuple[str, dict[str, Any]]:
        s3.put_object(Bucket="data", Key="prepare.sh", Body=script.encode())
        cluster = cluster_api.create(BootstrapActions=[action("s3://data/prepare.sh", *arguments)])
        return cluster, cluster_api.until(cluster, "WAITING", "TERMINATED", "TERMINATED_WITH_ERRORS")

    return run


def primary(cluster_api: Emr, cluster: str) -> str:
    groups = cluster_api.client.list_instances(ClusterId=cluster, InstanceGroupTypes=["MASTER"])
    return groups["Instances"][0]["Ec2InstanceId"]


def test_a_script_that_is_missing(cluster_api: Emr, s3: Any) -> None:
    cluster = cluster_api.create(BootstrapActions=[action("s3://data/missing.sh")])
    status = cluster_api.until(cluster, "TERMINATED", "TERMINATED_WITH_ERRORS")
    master = primary(cluster_api, cluster)
    message = f"Master instance ({master}) failed attempting to download bootstrap action 1 file from S3"
    assert status["State"] == "TERMINATED_WITH_ERRORS"
    assert status["StateChangeReason"] == {"Code": "BOOTSTRAP_FAILURE", "Message": message}
    assert status["ErrorDetails"][0]["ErrorCode"] == "BOOTSTRAP_FAILURE_FILE_NOT_FOUND_PRIMARY"


@isolated
def test_a_script_that_fails(cluster_api: Emr, s3: Any, run: Any) -> None:
    cluster, status = run("#!/bin/bash\necho out; echo 'no python' >&2; exit 7\n")
    master = primary(cluster_api, cluster)
    message = f"On the master instance ({master}), bootstrap action 1 returned a non-zero return code"
    assert status["State"] == "TERMINATED_WITH_ERRORS"
    assert status["StateChangeReason"] == {"Code": "BOOTSTRAP_FAILURE", "Message": message}
    assert log(s3, cluster, f"node/{master}/bootstrap-actions/1/stderr") == "no python\n"
    assert log(s3, cluster, f"node/{master}/bootstrap-actions/1/stdout") == "out\n"


def test_a_script_that_is_not_shell(cluster_api: Emr, run: Any) -> None:
    _, status = run("if then fi (\n")
    assert status["StateChangeReason"]["Code"] == "BOOTSTRAP_FAILURE"


@isolated
def test_installers_are_written_down_not_obeyed(local_emr: LocalEmr, cluster_api: Emr, run: Any) -> None:
    cluster, status = run(
        """#!/usr/bin/env bash
        set -euo pipefail
        sudo dnf install -y python3.11 'git core'
        sudo -u hadoop FOO=1 bash -c 'echo $FOO'
        python3.11 -m venv /opt/env
        /opt/env/bin/python -m pip install "$1"
        . /opt/env/bin/activate
        pip install again
        systemctl restart something
        """,
        "a package",
    )
    assert status["State"] == "WAITING"
    asked = [entry["command"] for entry in commands(local_emr, cluster) if entry["node"] == "MASTER"]
    assert asked == [
        ["sudo", "dnf", "install", "-y", "python3.11", "git core"],
        ["dnf", "install", "-y", "python3.11", "git core"],
        ["sudo", "-u", "hadoop", "FOO=1", "bash", "-c", "echo $FOO"],
        ["python3.11", "-m", "venv", "/opt/env"],
        ["/opt/env/bin/python", "-m", "pip", "install", "a package"],
        ["/opt/env/bin/pip", "install", "again"],
        ["systemctl", "restart", "something"],
    ]
    cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])
    cluster_api.until(cluster, "TERMINATED")
    assert [entry["command"] for entry in commands(local_emr, cluster)][:7] == asked


@isolated
def test_nothing_of_the_users_system_can_be_written_or_seen(
    cluster_api: Emr, s3: Any, run: Any, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    cluster, status = run(
        f"""#!/bin/bash
        touch /usr/local_emr_was_here /usr/bin/local_emr_was_here
        sudo touch /etc/local_emr_was_here /opt/local_emr_was_here /tmp/local_emr_was_here ~/here
        sudo rm -rf {tmp_path}
        cat {secret}
        ls {Path(__file__).parent}
        env
        exit 0
        """
    )
    assert status["State"] == "WAITING"
    master = primary(cluster_api, cluster)
    said = log(s3, cluster, f"node/{master}/bootstrap-actions/1/stderr")
    assert said.count("Read-only file system") == 2
    assert said.count("No such file or directory") == 2
    assert secret.read_text() == "mine"
    for folder in ("/usr", "/usr/bin", "/etc", "/opt", "/tmp"):
        assert not Path(folder, "local_emr_was_here").exists()
    names = {
        line.partition("=")[0] for line in log(s3, cluster, f"node/{master}/bootstrap-actions/1/stdout").splitlines()
    }
    assert names == {"HOME", "USER", "LOGNAME", "SHELL", "LANG", "PATH", "PWD", "OLDPWD", "SHLVL", "_"}


@isolated
def test_a_script_sees_and_kills_its_own_processes_only(cluster_api: Emr, s3: Any, run: Any) -> None:
    with subprocess.Popen(["/bin/sleep", MARKER]) as mine:
        try:
            cluster, status = run(
                f"""#!/bin/bash
                for process in /proc/[0-9]*; do tr '\\0' ' ' <$process/cmdline; echo; done
                kill -9 {mine.pid} && echo killed
                grep -z . /proc/{mine.pid}/environ && echo read
                sleep 600 & kill $! && wait $!; echo "its own: $?"
                """
            )
            assert status["State"] == "WAITING"
            assert mine.poll() is None
        finally:
            mine.kill()
    out = log(s3, cluster, f"node/{primary(cluster_api, cluster)}/bootstrap-actions/1/stdout")
    *commands, own = [line for line in out.splitlines() if line.strip()]
    assert own == "its own: 143"
    assert {command.split()[0] for command in commands} <= {"/bin/bash", "bash", "tr"}


@isolated
def test_the_nodes_aws_cli_reads_s3(cluster_api: Emr, s3: Any, run: Any) -> None:
    for key in ("wheels/a b.whl", "wheels/sub/c.whl", "one"):
        s3.put_object(Bucket="data", Key=key, Body=key.encode())
    cluster, _ = run(
        """#!/bin/bash
        aws s3 cp s3://data/one - ; echo
        aws s3 cp --only-show-errors s3://data/one /tmp/ && cat /tmp/one; echo
        aws s3 sync s3://data/wheels /opt/wheels --region eu-west-3 && cat /opt/wheels/sub/c.whl "/opt/wheels/a b.whl"; echo
        aws s3 cp s3://data/none /tmp/none || echo "missing: $?"
        aws ec2 describe-instances 2>/dev/null || echo "other: $?"
        grep isMaster /mnt/var/lib/info/instance.json
        """
    )
    out = log(s3, cluster, f"node/{primary(cluster_api, cluster)}/bootstrap-actions/1/stdout")
    assert out.splitlines() == [
        "one", "one", "wheels/sub/c.whlwheels/a b.whl", "missing: 1", "other: 252", '  "isMaster": true,'
    ]  # fmt: skip


@isolated
def test_the_script_runs_on_the_primary_node_and_on_one_other(local_emr: LocalEmr, cluster_api: Emr, run: Any) -> None:
    cluster, _ = run("#!/bin/bash\ngrep -q 'isMaster\": true' /mnt/var/lib/info/instance.json && dnf a || dnf b\n")
    assert commands(local_emr, cluster) == [
        {"node": "MASTER", "command": ["dnf", "a"]},
        {"node": "CORE", "command": ["dnf", "b"]},
    ]


@isolated
def test_termination_ends_a_script_that_hangs(cluster_api: Emr, s3: Any) -> None:
    s3.put_object(Bucket="data", Key="hang.sh", Body=f"#!/bin/bash\nsetsid sleep {MARKER} &\nsleep {MARKER}\n".encode())
    cluster = cluster_api.create(BootstrapActions=[action("s3://data/hang.sh")])
    wait_for(lambda: asleep() == 2)
    cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])
    status = cluster_api.until(cluster, "TERMINATED", "TERMINATED_WITH_ERRORS", seconds=60)
    assert (status["State"], status["StateChangeReason"]["Code"]) == ("TERMINATED", "USER_REQUEST")
    wait_for(lambda: asleep() == 0)


def test_without_namespaces_a_script_is_checked_only(
    local_emr: LocalEmr, cluster_api: Emr, run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bootstrap, "can_isolate", lambda: False)
    cluster, status = run(f"#!/bin/bash\ntouch {tmp_path}/here\n")
    assert status["State"] == "WAITING"
    assert list(tmp_path.iterdir()) == []
    (entry, _) = commands(local_emr, cluster)
    assert entry["skipped"] == "no user namespaces on this system: the script was checked, not run"


def test_list_bootstrap_actions(cluster_api: Emr, s3: Any) -> None:
    s3.put_object(Bucket="data", Key="ok.sh", Body=b"#!/bin/bash\n")
    actions = [action("s3://data/ok.sh", "a", name="one"), action("s3://data/ok.sh", name="two")]
    cluster = cluster_api.create(BootstrapActions=actions)
    assert cluster_api.client.list_bootstrap_actions(ClusterId=cluster)["BootstrapActions"] == [
        {"Name": "one", "ScriptPath": "s3://data/ok.sh", "Args": ["a"]},
        {"Name": "two", "ScriptPath": "s3://data/ok.sh", "Args": []},
    ]
