"""Links follow the installation's templates; without any they lead to AWS's console."""

from types import SimpleNamespace
from typing import Any

import pytest

from emr_links import ClusterLink, ReportLink, SparkHistoryLink, StepLogLink
from emr_operators import EmrCreateClusterOperator, EmrTerminateClusterOperator
from emr_sensors import EmrClusterReadySensor
from emr_step_log import failure
from emr_step_operator import EmrStepOperator

KEY: Any = SimpleNamespace(run_id="manual__2026-01-01T10:00:00+00:00")


def task(**changes: Any) -> Any:
    known = {"region_name": "eu-west-3", "job_flow_id": "j-1", "step_id": "s-1", "log_uri": "s3://fruits/out/logs/"}
    return SimpleNamespace(**{**known, **changes})


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FRUITS_CLUSTER_LINK", "FRUITS_STEP_LOG_LINK", "FRUITS_SPARK_HISTORY_LINK"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_setting_links_lead_to_the_console() -> None:
    console = "https://console.aws.amazon.com"
    assert ClusterLink().get_link(task(), ti_key=KEY) == (f"{console}/emr/home?region=eu-west-3#/clusterDetails/j-1")
    assert StepLogLink().get_link(task(), ti_key=KEY) == (
        f"{console}/s3/buckets/fruits?region=eu-west-3&prefix=out/logs/j-1/steps/s-1/"
    )
    # EMR's persistent history server is opened on the cluster's page: it has no URL of its own.
    assert SparkHistoryLink().get_link(task(), ti_key=KEY) == ClusterLink().get_link(task(), ti_key=KEY)
    at_the_top = StepLogLink().get_link(task(log_uri="s3://fruits/"), ti_key=KEY)
    assert at_the_top.endswith("&prefix=j-1/steps/s-1/")


@pytest.mark.parametrize(
    ("region", "console"),
    [
        ("cn-north-1", "https://console.amazonaws.cn/"),
        ("us-gov-west-1", "https://console.amazonaws-us-gov.com/"),
        ("us-east-1", "https://console.aws.amazon.com/"),
    ],
)
def test_each_part_of_aws_has_a_console_of_its_own(region: str, console: str) -> None:
    for link in (ClusterLink(), StepLogLink(), SparkHistoryLink()):
        assert link.get_link(task(region_name=region), ti_key=KEY).startswith(console)


def test_a_template_leads_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_STEP_LOG_LINK", "http://localhost:5555/_local_emr/clusters/{cluster}/steps/{step}")
    assert StepLogLink().get_link(task(log_uri=None), ti_key=KEY) == (
        "http://localhost:5555/_local_emr/clusters/j-1/steps/s-1"
    )


def test_the_spark_history_of_a_step_is_found_by_cluster_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    template = "http://localhost:5555/_local_emr/clusters/{cluster}/steps/{step}/spark-history"
    monkeypatch.setenv("FRUITS_SPARK_HISTORY_LINK", template)
    assert SparkHistoryLink().get_link(task(), ti_key=KEY) == (
        "http://localhost:5555/_local_emr/clusters/j-1/steps/s-1/spark-history"
    )
    assert SparkHistoryLink().get_link(task(step_id=None), ti_key=KEY) == ""


@pytest.mark.parametrize("missing", [{"job_flow_id": None}, {"step_id": None}])
def test_a_link_to_what_is_not_there_yet_is_empty(missing: dict[str, None]) -> None:
    assert StepLogLink().get_link(task(**missing), ti_key=KEY) == ""


@pytest.mark.parametrize("template", ["https://tools/{cluster_id}", "https://tools/{}", "https://tools/{", "{step}"])
def test_a_template_that_cannot_be_filled_in_hides_no_error(monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    monkeypatch.setenv("FRUITS_CLUSTER_LINK", template)
    assert ClusterLink().get_link(task(step_id=None), ti_key=KEY) == ""
    cluster = {
        "ClusterArn": "arn:aws:elasticmapreduce:eu-west-3:1:cluster/j-1",
        "Id": "j-1",
        "Status": {"State": "RUNNING"},
    }
    step = {"Name": "extract_features", "Id": "s-1", "Status": {"State": "FAILED"}}
    message = failure(cluster, step, ["error: the disk is full"])
    assert "the disk is full" in message
    assert message.endswith("cluster: j-1")


def test_the_report_is_found_by_the_run() -> None:
    found = ReportLink().get_link(task(), ti_key=KEY)
    assert found.endswith("/fruits/runs/manual__2026-01-01T10%3A00%3A00%2B00%3A00/report")


@pytest.mark.parametrize(
    ("operator", "names"),
    [
        (EmrCreateClusterOperator, ["Cluster"]),
        (EmrTerminateClusterOperator, ["Cluster"]),
        (EmrClusterReadySensor, ["Cluster"]),
        (EmrStepOperator, ["Cluster", "Step log", "Spark history"]),
    ],
)
def test_no_operator_keeps_the_links_of_the_provider(operator: Any, names: list[str]) -> None:
    assert [link.name for link in operator.operator_extra_links] == names
