"""The requests to EMR: pure functions, validated by botocore's own model of the service."""

from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from botocore.validate import validate_parameters

from emr_hook import IN_PLACE_OF
from fruit_features import cluster
from fruit_features.cluster import job_flow_request
from fruit_features.requests import emr_requests
from fruit_features.run import Plan, Run
from fruit_features.steps import export_model_step, extract_features_step, reduce_dimensions_step
from tests.dags.conftest import RUN

ARTIFACTS = {
    name: f"s3://fruits/artifacts/0123456789abcdef/{name}"
    for name in (
        "spark_jobs.zip",
        "export_model.py",
        "extract_features.py",
        "reduce_dimensions.py",
        "install_dependencies.sh",
        "requirements.txt",
        "requirements-primary.txt",
    )
}
MODEL_ID = "mobilenetv2-0011223344556677-224-v1"
Build = Callable[..., Run]


def plan(**changes: Any) -> Plan:
    """A plan to extract one image with a network that was never exported."""
    rest = {"new": 1, "model_id": None, "model_exported": False, "pca_model": None, "needs_cluster": True}
    return Plan(**{"images": 1, **rest, **changes})


def valid(operation: str, request: dict[str, Any]) -> dict[str, Any]:
    """The request, having passed botocore's model of EMR; unlike the service, botocore does not mind unknown enum values."""
    shape = botocore.session.get_session().get_service_model("emr").operation_model(operation).input_shape
    validate_parameters(request, shape)
    return request


def test_the_default_cluster_is_the_original_one_on_the_current_release(make_run: Build) -> None:
    request = valid("RunJobFlow", job_flow_request(make_run(), ARTIFACTS))

    assert request["ReleaseLabel"] == "emr-7.13.0"
    assert [
        (group["InstanceRole"], group["InstanceType"], group["InstanceCount"])
        for group in request["Instances"]["InstanceGroups"]
    ] == [("MASTER", "m5.xlarge", 1), ("CORE", "m5.xlarge", 2)]
    assert request["LogUri"] == "s3://fruits/logs/", "without a LogUri there are no logs"
    assert request["Name"] == f"fruit-features fruits/ {RUN}"


def test_two_installations_never_share_a_cluster(make_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their clocks start runs of the same id, and whoever creates a cluster looks for one of the run's name."""
    names = []
    for deployment in ("orchard", "vineyard"):
        monkeypatch.setattr(cluster, "DEPLOYMENT", deployment)
        names.append(job_flow_request(make_run(), ARTIFACTS)["Name"])

    assert names == [f"fruit-features {deployment} fruits/ {RUN}" for deployment in ("orchard", "vineyard")]


def test_a_replacement_of_a_cluster_with_a_long_name_has_a_name_that_emr_takes(make_run: Build) -> None:
    bucket, prefix = "b" * 63, "p" * 150
    names = {
        job_flow_request(make_run(bucket=bucket, output_prefix=f"{prefix}{end}"), ARTIFACTS)["Name"] for end in "12"
    }

    assert len(names) == 2
    for name in names:
        assert len(f"{name}{IN_PLACE_OF}j-{'X' * 20}") <= 256


def test_the_cluster_ends_itself_when_idle_but_not_between_steps(make_run: Build) -> None:
    request = valid("RunJobFlow", job_flow_request(make_run(idle_timeout_minutes=20), ARTIFACTS))

    assert request["AutoTerminationPolicy"] == {"IdleTimeout": 1200}
    assert request["Instances"]["KeepJobFlowAliveWhenNoSteps"] is True
    assert request["Instances"]["TerminationProtected"] is False


def test_python_is_the_one_that_the_bootstrap_script_makes(make_run: Build) -> None:
    request = valid("RunJobFlow", job_flow_request(make_run(), ARTIFACTS))
    (spark_env,) = [one for one in request["Configurations"] if one["Classification"] == "spark-env"]

    (export,) = spark_env["Configurations"]
    assert export["Properties"]["PYSPARK_PYTHON"] == "/opt/fruits/venv/bin/python"
    assert export["Properties"]["PYSPARK_DRIVER_PYTHON"] == "/opt/fruits/venv/bin/python"
    assert export["Properties"]["AWS_REGION"] == "eu-west-3", "EMR's nodes name no region themselves"


def test_yarn_counts_cores_and_memory(make_run: Build) -> None:
    run = make_run(primary_instance_type="c7g.xlarge", core_instance_type="c7g.2xlarge")
    request = valid("RunJobFlow", job_flow_request(run, ARTIFACTS))
    properties = {one["Classification"]: one["Properties"] for one in request["Configurations"]}

    assert properties["capacity-scheduler"]["yarn.scheduler.capacity.resource-calculator"].endswith(
        ".DominantResourceCalculator"
    )
    assert properties["yarn-site"] == {"yarn.nodemanager.resource.cpu-vcores": "9"}
    assert properties["spark-defaults"]["spark.dynamicAllocation.minExecutors"] == "4"


def test_every_param_of_the_cluster_reaches_the_request(make_run: Build) -> None:
    chosen = make_run(
        release_label="emr-7.12.0",
        applications=["Hadoop", "Spark", "JupyterHub"],
        primary_instance_type="m6i.xlarge",
        core_instance_type="c6i.2xlarge",
        core_instance_count=5,
        ec2_key_name="orchard",
        ec2_subnet_id="subnet-0a1b",
        service_role="ServiceRole",
        instance_profile="Profile",
        wheelhouse="s3://fruits/wheels/",
        spark_defaults={"spark.executor.memory": "6g", "spark.speculation": "false"},
    )
    request = valid("RunJobFlow", job_flow_request(chosen, ARTIFACTS))

    assert request["ReleaseLabel"] == "emr-7.12.0"
    assert [application["Name"] for application in request["Applications"]] == ["Hadoop", "Spark", "JupyterHub"]
    primary, core = request["Instances"]["InstanceGroups"]
    assert primary["InstanceType"] == "m6i.xlarge"
    assert (core["InstanceType"], core["InstanceCount"]) == ("c6i.2xlarge", 5)
    assert request["Instances"]["Ec2KeyName"] == "orchard"
    assert request["Instances"]["Ec2SubnetId"] == "subnet-0a1b"
    assert (request["ServiceRole"], request["JobFlowRole"]) == ("ServiceRole", "Profile")
    bootstrap = request["BootstrapActions"][0]["ScriptBootstrapAction"]
    assert bootstrap["Path"] == ARTIFACTS["install_dependencies.sh"]
    assert bootstrap["Args"][-2:] == ["--wheelhouse", "s3://fruits/wheels/"]
    defaults = next(one["Properties"] for one in request["Configurations"] if one["Classification"] == "spark-defaults")
    assert (defaults["spark.executor.memory"], defaults["spark.speculation"]) == ("6g", "false")


def test_an_interactive_cluster_has_what_the_original_had(make_run: Build) -> None:
    run = make_run(interactive=True, applications=["Hadoop", "Spark", "JupyterHub"], idle_timeout_minutes=60)
    request = valid("RunJobFlow", job_flow_request(run, ARTIFACTS))

    names = [application["Name"] for application in request["Applications"]]
    assert names == ["Hadoop", "Spark", "JupyterHub", "Livy", "JupyterEnterpriseGateway"]
    (kept,) = [one for one in request["Configurations"] if one["Classification"] == "jupyter-s3-conf"]
    assert kept["Properties"]["s3.persistence.bucket"] == "fruits", "the notebooks outlive the cluster"
    assert {"Key": "interactive", "Value": "true"} in request["Tags"], "for the janitor"
    assert request["AutoTerminationPolicy"] == {"IdleTimeout": 3600}, "nothing else ends it"


@pytest.mark.parametrize(
    ("fleet", "primary"),
    [({}, "--instance-group-types MASTER"), ({"task_instance_count": 1}, "--instance-fleet-type MASTER")],
)
def test_an_interactive_run_says_how_to_reach_its_cluster(make_run: Build, fleet: dict[str, Any], primary: str) -> None:
    assert emr_requests(make_run(), plan(), ARTIFACTS)["reason_to_keep"] is None

    reason = emr_requests(make_run(interactive=True, **fleet), plan(), ARTIFACTS)["reason_to_keep"]
    assert reason.format(cluster_id="j-1").startswith(
        "interactive is on: cluster j-1 stays, and costs money, until it is idle"
    )
    assert f"aws emr list-instances --cluster-id {{cluster_id}} {primary} --query" in reason


def test_absent_choices_are_left_out_of_the_request(make_run: Build) -> None:
    request = valid("RunJobFlow", job_flow_request(make_run(), ARTIFACTS))

    assert "Ec2KeyName" not in request["Instances"]
    assert "Ec2SubnetId" not in request["Instances"]
    assert "--wheelhouse" not in request["BootstrapActions"][0]["ScriptBootstrapAction"]["Args"]


def arguments_of(step: dict[str, Any]) -> list[str]:
    valid("AddJobFlowSteps", {"JobFlowId": "j-1", "Steps": [step]})
    return step["HadoopJarStep"]["Args"]


def test_export_model_step(make_run: Build) -> None:
    arguments = arguments_of(export_model_step(make_run(weights="s3://w/m.h5"), ARTIFACTS, plan(model_id=MODEL_ID)))

    assert arguments == [
        *("timeout", "--kill-after=60", "21600"),
        *("spark-submit", "--deploy-mode", "client"),
        *("--py-files", ARTIFACTS["spark_jobs.zip"], ARTIFACTS["export_model.py"]),
        *("--weights", "s3://w/m.h5"),
        *("--models", "s3://fruits/models"),
        *("--pointer", f"s3://fruits/runs/{RUN}/model.json"),
        *("--model-id", MODEL_ID),
    ]


def test_export_model_step_before_the_id_of_imagenet_weights_is_known(make_run: Build) -> None:
    assert "--model-id" not in arguments_of(export_model_step(make_run(), ARTIFACTS, plan()))


def test_extract_features_step(make_run: Build) -> None:
    arguments = arguments_of(
        extract_features_step(make_run(output_prefix="/a/b/", max_reject_share=0.2), ARTIFACTS, plan(images=77))
    )

    assert arguments[8:12] == [
        *("--conf", "spark.executor.memory=1024m"),
        *("--conf", "spark.executor.memoryOverhead=4096m"),
    ]
    assert arguments[13:] == [
        *("--manifest", f"s3://fruits/a/b/runs/{RUN}/manifest/manifest.parquet"),
        *("--model", f"s3://fruits/a/b/runs/{RUN}/model.json"),
        *("--features", f"s3://fruits/a/b/features/run={RUN}"),
        *("--rejects", f"s3://fruits/a/b/rejects/run={RUN}"),
        *("--progress", f"s3://fruits/a/b/runs/{RUN}/progress.json"),
        *("--max-reject-share", "0.2"),
        *("--total-images", "77"),
    ]


def test_the_form_decides_on_the_memory_of_extract_features(make_run: Build) -> None:
    run = make_run(spark_defaults={"spark.executor.memoryOverhead": "6g"})
    arguments = arguments_of(extract_features_step(run, ARTIFACTS, plan()))

    assert [word for word in arguments if word.startswith("spark.")] == ["spark.executor.memory=1024m"]


@pytest.mark.parametrize(
    ("changes", "more", "end"),
    [
        ({}, [], []),
        ({"pca_model": "s3://f/run=x/model"}, ["--pca-model", "s3://f/run=x/model"], []),
        ({"previous": "s3://f/run=x"}, [], ["--previous", "s3://f/run=x"]),
    ],
)
def test_reduce_dimensions_step(make_run: Build, changes: dict[str, str], more: list[str], end: list[str]) -> None:
    arguments = arguments_of(reduce_dimensions_step(make_run(variance=0.95), ARTIFACTS, plan(**changes)))

    assert arguments[9:] == [
        *("--inventory", f"s3://fruits/runs/{RUN}/inventory/inventory.parquet"),
        *("--features", "s3://fruits/features"),
        *("--rejects", "s3://fruits/rejects"),
        *("--model", f"s3://fruits/runs/{RUN}/model.json"),
        *("--output", f"s3://fruits/results/run={RUN}"),
        *("--variance", "0.95"),
        *("--run", RUN),
        *more,
        *("--extraction", f"s3://fruits/runs/{RUN}/progress.json"),
        *end,
        *("--usd-per-hour", "0.816"),
    ]


def test_a_cluster_without_a_price_has_none_in_its_report(make_run: Build) -> None:
    step = reduce_dimensions_step(make_run(core_instance_type="m99.xlarge"), ARTIFACTS, plan())
    assert "--usd-per-hour" not in arguments_of(step)


def test_each_step_keeps_its_time_limit_itself(make_run: Build) -> None:
    # Also when Airflow is gone or the DAG is paused: to EMR a hung Spark application is never idle.
    steps = emr_requests(make_run(step_timeout_hours=1.5), plan(), ARTIFACTS)
    for name in ("export_model", "extract_features", "reduce_dimensions"):
        assert arguments_of(steps[name])[:4] == ["timeout", "--kill-after=60", "5400", "spark-submit"]


def test_a_failed_step_leaves_the_cluster_to_the_teardown(make_run: Build) -> None:
    assert extract_features_step(make_run(), ARTIFACTS, plan())["ActionOnFailure"] == "CONTINUE"


def test_a_model_that_is_exported_needs_no_step(make_run: Build) -> None:
    assert export_model_step(make_run(), ARTIFACTS, plan(model_id=MODEL_ID, model_exported=True)) is None


def test_every_task_that_asks_something_of_emr_finds_its_request(make_run: Build) -> None:
    requests = emr_requests(make_run(), plan(model_id=MODEL_ID, model_exported=True), ARTIFACTS)

    assert requests["create_cluster"] == job_flow_request(make_run(), ARTIFACTS)
    assert requests["export_model"] == {}
    assert requests["extract_features"]["Name"] == "extract_features"
    assert requests["progress_uri"] == f"s3://fruits/runs/{RUN}/progress.json"
    assert requests["outputs"] == [
        f"s3://fruits/features/run={RUN}/_SUCCESS",
        f"s3://fruits/rejects/run={RUN}/_SUCCESS",
        f"s3://fruits/results/run={RUN}/pca/_SUCCESS",
    ]
