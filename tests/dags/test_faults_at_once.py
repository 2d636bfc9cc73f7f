"""One whole run that meets many faults at once, of which none may fail it; and the run after it.

Real Airflow and real Spark on the local endpoint, in a bucket that has published results.
"""

import io

import pytest
from PIL import Image

from tests.dags.pipeline import BUCKET, Pipeline
from tests.dags.published import (
    assert_extracted_once,
    assert_no_cluster,
    at_start_of,
    column,
    put_image,
    put_new_images,
    read,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
ODD_NAMES = ["Kiwi 100% (ñ)/a b.jpg", "Kiwi/a+b=c&d.jpg", 'Kiwi/it\'s "ripe".jpg', "Kiwi/%41.jpg", "Kiwi/é#1?.jpg"]


def bomb() -> bytes:
    content = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(content, "PNG")
    return content.getvalue()


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def leave_half_a_model(pipeline: Pipeline) -> None:
    """As an interrupted export does, before there is a pointer to it."""
    for key in pipeline.keys("models/"):
        if key.endswith(".json"):
            pipeline.s3.delete_object(Bucket=BUCKET, Key=key)
        else:
            pipeline.s3.put_object(Bucket=BUCKET, Key=key, Body=half(read(pipeline, key)))


def test_a_run_outlasts_them_and_rejects_what_cannot_be_used(pipeline: Pipeline) -> None:
    before, clusters = pipeline.latest(), len(pipeline.clusters())
    leave_half_a_model(pipeline)
    for name in ODD_NAMES:
        put_image(pipeline, name)
    slow, dropped, denied, cut = put_new_images(pipeline, 4)
    unusable = {
        "Kiwi/bomb.png": (bomb(), "too_large"),
        "Kiwi/empty.jpg": (b"", "empty"),
        "Kiwi/notes.jpg": (b"no image", "not_an_image"),
        cut: (half(read(pipeline, f"images/{cut}")), "truncated"),
    }
    for name, (content, _) in unusable.items():
        pipeline.s3.put_object(Bucket=BUCKET, Key=f"images/{name}", Body=content)
    pipeline.s3.put_object(Bucket=BUCKET, Key="features/notes.txt", Body=b"of a person")
    faults = pipeline.aws.faults
    rules = [
        faults.add(fault="s3-error", status=503, method="GET", key=f"images/{slow}", times=3),
        faults.add(fault="s3-drop", after_bytes=1000, method="GET", key=f"images/{dropped}", times=1),
        faults.add(fault="s3-error", code="AccessDenied", method="GET", key=f"images/{denied}"),
        faults.add(fault="s3-drop", after_bytes=1000, method="GET", key="features/*.parquet", times=2),
        faults.add(fault="lost-answer", operation="RunJobFlow", times=1),
        faults.add(fault="lost-answer", operation="AddJobFlowSteps", times=2),
        faults.add(fault="throttle", operation="ListClusters", times=2),
        faults.add(fault="throttle", operation="DescribeCluster", times=2),
        faults.add(fault="throttle", operation="DescribeStep", share=0.5),
        faults.add(fault="throttle", operation="TerminateJobFlows", times=3),
        faults.add(fault="s3-drop", after_bytes=1, method="PUT", key="results/latest.json", times=1),  # it is written
    ]

    def lose_the_cluster() -> None:
        rules.append(faults.add(fault="cluster-lost", times=1))

    run = pipeline.run(watch=at_start_of("reduce_dimensions", lose_the_cluster), max_reject_share=0.9)
    met = [rule.description() for rule in rules if not rule.hits]
    faults.clear()

    assert run.exit_code == 0, "\n".join(run.errors())
    assert met == [], "faults that the run has not met"
    assert_no_cluster(pipeline)
    assert len(pipeline.clusters()) == clusters + 2, "one, and one in the place of that which was lost"
    latest = pipeline.latest()
    reasons = dict(zip(column_of(pipeline, latest, "path"), column_of(pipeline, latest, "reason"), strict=True))
    expected = {name: reason for name, (_, reason) in unusable.items()} | {denied: "access_denied"}
    assert {path.split("/images/")[1]: reason for path, reason in reasons.items()} == expected
    found = {path.split("/images/")[1] for path in column(pipeline, f"features/run={latest['run']}/", "path")}
    assert found == {*ODD_NAMES, slow, dropped}
    assert latest["features"] == before["features"] + len(found)

    again = pipeline.run(max_reject_share=0.9)

    assert again.exit_code == 0, "\n".join(again.errors())
    assert_no_cluster(pipeline)
    assert_extracted_once(pipeline)
    after = pipeline.latest()
    assert [path.split("/images/")[1] for path in column(pipeline, f"features/run={after['run']}/", "path")] == [denied]
    vectors = [path.split("/images/")[1] for path in column(pipeline, f"results/run={after['run']}/pca/", "path")]
    listed = {key.removeprefix("images/") for key in pipeline.keys("images/")}
    assert sorted(vectors) == sorted(listed - set(unusable))
    assert after["rejects"] == len(unusable)


def column_of(pipeline: Pipeline, latest: dict[str, str], name: str) -> list[str]:
    return column(pipeline, f"rejects/run={latest['run']}/", name)
