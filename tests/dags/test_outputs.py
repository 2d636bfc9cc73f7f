"""What a run's steps have written is read back and judged."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import datasets, outputs
from fruit_features.checks import OutputError
from fruit_features.layout import Location
from fruit_features.outputs import Outputs
from fruit_features.run import Run
from fruit_features.workspace import workspace

FILES = 20


def write(hook: S3Hook, where: Location, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    datasets.write(datasets.filesystem(hook), where, pa.Table.from_pylist(rows, schema))


def image(number: int) -> dict[str, Any]:
    return {"path": f"s3://fruits/images/A/{number}.jpg", "label": "A", "etag": "e", "size": 5}


@pytest.fixture
def extracted(hook: S3Hook, make_run: Callable[..., Run]) -> Outputs:
    """A run whose images each have a file of features, but the last, which is a reject."""
    run = make_run()
    write(hook, run.layout.manifest, datasets.INVENTORY, [image(number) for number in range(FILES + 1)])
    for number in range(FILES):
        put_features(hook, run, number)
    rejects = [{**image(FILES), "reason": "truncated", "detail": ""}]
    write(hook, run.layout.run_rejects / "part-0.parquet", datasets.REJECTS, rejects)
    for folder in (run.layout.run_features, run.layout.run_rejects):
        hook.load_bytes(b"", (folder / "_SUCCESS").key, "fruits")
    return Outputs(hook, run)


def put_features(hook: S3Hook, run: Run, number: int, *, model_id: str = "m", value: float = 0.5) -> None:
    row = {**image(number), "model_id": model_id, "width": 1, "height": 1, "features": [value] * 1280}
    write(hook, run.layout.run_features / f"part-{number:02}.parquet", datasets.FEATURES, [row])


def check(extracted: Outputs) -> None:
    with workspace() as work:
        outputs.check_run_outputs(extracted, "m", work)


def test_what_adds_up_passes_and_a_worker_reads_the_features_of_a_few_files(
    extracted: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    monkeypatch.setattr(outputs.checks, "check_feature_batch", lambda batch, *_: read.append(batch.num_rows))

    check(extracted)

    assert sum(read) == outputs.SAMPLED_FILES


@pytest.mark.parametrize(
    ("broken", "message"),
    [({"model_id": "other"}, "not made by the network m"), ({"value": float("nan")}, "that is not finite")],
)
def test_a_defect_that_many_files_have_is_found_in_the_sample(
    hook: S3Hook, extracted: Outputs, broken: dict[str, Any], message: str
) -> None:
    for number in range(FILES - outputs.SAMPLED_FILES + 1):
        put_features(hook, extracted.run, number, **broken)

    with pytest.raises(OutputError, match=message):
        check(extracted)


def test_an_image_that_is_in_neither_is_named(hook: S3Hook, extracted: Outputs) -> None:
    hook.delete_objects("fruits", (extracted.run.layout.run_features / "part-03.parquet").key)

    with pytest.raises(OutputError, match=r"1 image\(s\) of the manifest are in neither .* e\.g\. '.*/A/3\.jpg'"):
        check(extracted)


def test_one_file_of_another_network_among_many_is_found(hook: S3Hook, extracted: Outputs) -> None:
    for number in range(FILES):  # whichever of them a sample leaves out
        put_features(hook, extracted.run, number, model_id="other")
        with pytest.raises(
            OutputError, match=rf"1 image\(s\), e\.g\. '.*/A/{number}\.jpg', were not made by the network m"
        ):
            check(extracted)
        put_features(hook, extracted.run, number)
