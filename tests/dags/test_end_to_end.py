"""The DAG, unmodified, with real Airflow and real Spark on the local AWS endpoint.

One bucket, of the stack that infra/template.yaml describes, lives through all runs, as a bucket does. Real photographs and
ImageNet weights where the environment names them, else drawn fruit and random weights: then the numbers mean nothing, and only
the tests of the numbers are skipped.
"""

import gzip
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.images import write_bad_images, write_images
from local_emr import LocalEmr
from local_emr.emr import node, spark_conf
from policies import allows, grants, used_grants
from tests.dags.pipeline import BUCKET, SECRETS, Pipeline, Run
from tests.dev.test_supply_chain import CREDENTIALS
from tests.infra.stack import justified, label, recorded_calls

VARIETIES = ("Apple Pink Lady", "Cherry Wax Yellow")
FLEETS = {"fleet_instance_types": ["m5.xlarge", "m5a.xlarge", "m6i.2xlarge"], "task_instance_count": 3, "max_nodes": 8}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Pipeline]:
    photographs = tmp_path_factory.mktemp("photographs")
    images = os.environ.get("FRUITS_TEST_IMAGES")
    real = bool(images and os.environ.get("FRUITS_TEST_WEIGHTS"))
    if real:
        assert images
        for variety in VARIETIES:
            (source,) = [
                folder for folder in (Path(images) / variety, Path(images) / "Test" / variety) if folder.is_dir()
            ]
            (photographs / variety).symlink_to(source)
    else:
        write_images(photographs, 12)
    calls = tmp_path_factory.mktemp("calls") / "calls.jsonl"
    with pytest.MonkeyPatch.context() as patch, LocalEmr(port=0, access_log=calls) as aws:
        for module in (node, spark_conf):
            patch.setattr(module, "SECRET_KEY", SECRETS["node"])
        yield Pipeline(aws, calls, tmp_path_factory.mktemp("airflow"), photographs, weights, real=real)


@pytest.fixture(scope="module")
def first(pipeline: Pipeline) -> Run:
    return pipeline.run()


def test_first_run_extracts_everything_and_ends_its_cluster(pipeline: Pipeline, first: Run, tmp_path: Path) -> None:
    assert first.exit_code == 0, "\n".join(first.errors())
    assert pipeline.clusters() == ["TERMINATED"]

    run = pipeline.latest()["run"]
    features = pipeline.rows(f"features/run={run}/", tmp_path)
    paths = sorted(f"s3://{BUCKET}/images/{file.parent.name}/{file.name}" for file in pipeline.photographs)
    assert sorted(row["path"] for row in features) == paths
    assert {len(row["features"]) for row in features} == {1280}
    assert pipeline.rows(f"rejects/run={run}/", tmp_path) == []


def test_published_figures_are_reproduced(pipeline: Pipeline, first: Run, tmp_path: Path) -> None:
    """k = 40 for 80 % of the variance, and the first features of six images as first published."""
    if not pipeline.real:
        pytest.skip(
            "FRUITS_TEST_IMAGES and FRUITS_TEST_WEIGHTS are not set: they name real images and ImageNet weights"
        )
    latest = pipeline.latest()
    assert (latest["images"], latest["features"], latest["rejects"], latest["components"]) == (316, 316, 0, 40)
    assert latest["explained_variance"] == pytest.approx(0.80285, abs=1e-5)

    found = {
        row["path"].removeprefix(f"s3://{BUCKET}/images/"): row["features"][:2]
        for row in pipeline.rows(f"features/run={latest['run']}/", tmp_path)
    }
    published = {
        "Apple Pink Lady/r_271_100.jpg": (0.1960293, 0.113),
        "Apple Pink Lady/r_92_100.jpg": (0.17898463, 0.04),
        "Apple Pink Lady/r_262_100.jpg": (0.98299426, 0.01),
        "Cherry Wax Yellow/106_100.jpg": (0.1632067, 0.490),
        "Cherry Wax Yellow/250_100.jpg": (0.0, 0.672891),
        "Cherry Wax Yellow/r_33_100.jpg": (0.15166348, 0.17),
    }
    for name, (exact, start) in published.items():
        assert found[name][0] == pytest.approx(exact, abs=1e-4), name
        # The second was printed with fewer digits, cut rather than rounded.
        digits = len(str(start).split(".")[1])
        assert start <= found[name][1] + 1e-4 < start + 10**-digits + 2e-4, name


def test_progress_is_in_the_log_of_the_dag(pipeline: Pipeline, first: Run) -> None:
    count = len(pipeline.photographs)
    assert any(f"extract_features: {count} of {count} images" in line for line in first.log)


def test_without_new_images_no_cluster_is_created(pipeline: Pipeline, first: Run) -> None:
    again = pipeline.run()

    assert again.exit_code == 0
    assert again.started == ["find_new_images", "conclude_run"]
    assert pipeline.clusters() == ["TERMINATED"]


def test_a_failed_step_fails_the_run_ends_the_cluster_and_publishes_nothing(pipeline: Pipeline, first: Run) -> None:
    before = pipeline.latest()
    failed = pipeline.run(variance=0.7, spark_defaults={"spark.serializer": "no.such.Serializer"})

    assert failed.exit_code != 0
    assert "extract_features" in failed.started
    assert "reduce_dimensions" not in failed.started
    assert "publish" not in failed.started
    assert any("step extract_features" in error and "is FAILED" in error for error in failed.errors())
    assert pipeline.clusters() == ["TERMINATED", "TERMINATED"]
    assert pipeline.latest() == before


def test_a_run_on_fleets_extracts_only_new_images_and_reports_bad_ones(
    pipeline: Pipeline, first: Run, tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn"
    write_images(drawn, 1)
    bad = write_bad_images(drawn)
    new = [file for file in sorted(drawn.glob("*/*")) if file.parent.name in {"Apple Red", "Banana", "Kiwi", "Pear"}]
    for file in new:
        pipeline.upload(file, f"{file.parent.name}/new {file.name}")
    before = len(pipeline.photographs)

    second = pipeline.run(max_reject_share=0.6 if not pipeline.real else 0.05, **FLEETS)

    assert second.exit_code == 0, "\n".join(second.errors())
    latest = pipeline.latest()
    features = pipeline.rows(f"features/run={latest['run']}/", tmp_path)
    rejects = pipeline.rows(f"rejects/run={latest['run']}/", tmp_path)
    assert sorted(row["path"].rsplit("images/")[1] for row in features) == [
        f"{variety}/new 0_100.jpg" for variety in ("Apple Red", "Banana", "Kiwi", "Pear")
    ]
    assert {row["path"].rsplit("images/")[1]: row["reason"] for row in rejects} == {
        "Apple Red/new empty.jpg": "empty",
        "Banana/new truncated.jpg": "truncated",
        "Kiwi/new notes.jpg": "not_an_image",
        "Pear/new half a header.jpg": "truncated",
    }
    assert (latest["images"], latest["features"], latest["rejects"]) == (
        before + len(new),
        before + len(new) - bad,
        bad,
    )
    pca = pipeline.rows(f"results/run={latest['run']}/pca/", tmp_path)
    assert len(pca) == latest["features"]
    assert {len(row["features_pca"]) for row in pca} == {latest["components"]}
    assert set(pipeline.clusters()) == {"TERMINATED"}
    cluster = pipeline.emr.list_clusters()["Clusters"][0]["Id"]
    assert pipeline.emr.describe_cluster(ClusterId=cluster)["Cluster"]["InstanceCollectionType"] == "INSTANCE_FLEET"
    task_nodes = pipeline.emr.list_instances(ClusterId=cluster, InstanceFleetType="TASK")["Instances"]
    assert [(node["InstanceType"], node["Market"]) for node in task_nodes] == [("m5.xlarge", "SPOT")] * 3
    scaling = pipeline.emr.get_managed_scaling_policy(ClusterId=cluster)["ManagedScalingPolicy"]
    assert scaling["ComputeLimits"]["MaximumCapacityUnits"] == 8
    shutil.rmtree(drawn)


@pytest.mark.parametrize(
    ("fault", "times", "message"),
    [
        ("no-capacity", 1, r"cluster .*is TERMINAT(ING|ED_WITH_ERRORS)"),
        (
            "cluster-lost",
            2,
            r"two clusters were lost: .*Spot Instance was reclaimed.* that replaced it .*was reclaimed",
        ),
    ],
)
def test_a_cluster_that_never_works_fails_the_run_at_once(
    pipeline: Pipeline, first: Run, fault: str, times: int, message: str
) -> None:
    before, count = pipeline.latest(), len(pipeline.clusters())
    pipeline.aws.faults.add(fault=fault, times=times)
    failed = pipeline.run(variance=0.6)

    assert failed.exit_code != 0
    assert "publish" not in failed.started
    assert any(re.search(message, error) for error in failed.errors())
    assert len(pipeline.clusters()) == count + times
    assert set(pipeline.clusters()) <= {"TERMINATED", "TERMINATED_WITH_ERRORS"}
    assert pipeline.latest() == before


def test_credentials_that_s3_refuses_cost_nothing(pipeline: Pipeline, first: Run) -> None:
    before, clusters = pipeline.latest(), pipeline.clusters()
    pipeline.aws.faults.add(fault="s3-error", code="InvalidAccessKeyId")
    failed = pipeline.run(variance=0.6)
    pipeline.aws.faults.clear()

    assert failed.exit_code != 0
    assert failed.started == ["find_new_images", "conclude_run"], "without a second try"
    assert any("S3 refuses Airflow's credentials (InvalidAccessKeyId: " in error for error in failed.errors())
    assert (pipeline.latest(), pipeline.clusters()) == (before, clusters)


@pytest.mark.parametrize(("caller", "who"), [("airflow", "airflow"), ("local", "nodes")])
def test_the_policies_of_the_template_allow_what_was_done_and_nothing_else(
    pipeline: Pipeline, first: Run, caller: str, who: str
) -> None:
    policy = getattr(pipeline.stack, who)
    calls = recorded_calls(pipeline.calls.read_text(encoding="utf-8"), caller)

    assert calls
    assert [str(call) for call in calls if not allows([policy], call)] == [], "allow it in infra/template.yaml"
    unused = {label(grant) for grant in set(grants(policy)) - used_grants(policy, calls)}
    assert unused <= set(justified()[who]), "take it out of infra/template.yaml, or justify it in infra/justified.yaml"


def test_no_log_and_no_record_of_the_runs_above_has_credentials(pipeline: Pipeline, first: Run) -> None:
    """Of Airflow: its output, its logs, its database with XComs and rendered requests. Of the nodes: all in the bucket."""
    texts = {"the output of airflow": "\n".join(pipeline.logs).encode()}
    texts |= {str(file): file.read_bytes() for file in pipeline.airflow.home.rglob("*") if file.is_file()}
    for key in [key for prefix in ("logs/", "runs/", "results/", "artifacts/") for key in pipeline.keys(prefix)]:
        content = pipeline.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        texts[key] = gzip.decompress(content) if key.endswith(".gz") else content

    assert any(name.endswith("stdout.gz") for name in texts), "the logs of the steps"
    assert any(name.endswith("airflow.db") for name in texts)
    found = {(name, who) for name, text in texts.items() for who, one in SECRETS.items() if one.encode() in text}
    assert found == set()
    assert [name for name, text in texts.items() if CREDENTIALS.search(text)] == []
