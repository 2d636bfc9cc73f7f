"""What a run's steps have written is read back and judged."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException

from fruit_features import datasets, outputs
from fruit_features.checks import OutputError
from fruit_features.checksums import FileChecksums
from fruit_features.layout import Location
from fruit_features.output_files import Outputs
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


def facts(extracted: Outputs, folder: Location, name: str) -> dict[str, Any]:
    """What the step says of a file that is there."""
    where, found = folder / name, FileChecksums()
    with extracted.files.open_input_file(where.path) as source:
        for batch in pq.read_table(source).to_batches():
            found.add(batch)
    head = extracted.hook.get_conn().head_object(Bucket=where.bucket, Key=where.key)
    said = {"size": head["ContentLength"], "etag": head["ETag"].strip('"'), "rows": found.rows, "images": found.images}
    return said if folder == extracted.run.layout.run_rejects else said | {"content": found.content}


def mark(extracted: Outputs, *, model_id: str = "m", **changed: dict[str, Any]) -> None:
    """Mark the outputs as finished, as extract_features does; `changed` is what it says else of `part_…`."""
    layout = extracted.run.layout
    for folder in (layout.run_features, layout.run_rejects):
        names = [name for name in extracted.listed(folder) if name != "_SUCCESS"]
        said = {name: facts(extracted, folder, name) | changed.get(name[:7].replace("-", "_"), {}) for name in names}
        document = {"model_id": model_id, "files": said}
        extracted.hook.load_bytes(json.dumps(document).encode(), (folder / "_SUCCESS").key, "fruits", replace=True)


@pytest.fixture
def marked(extracted: Outputs) -> Outputs:
    """The same run, of this version: its step says what it has written."""
    mark(extracted)
    return extracted


def test_what_the_cluster_says_spares_reading_the_keys_of_all_files(
    marked: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    whole = marked.rows
    monkeypatch.setattr(marked, "rows", lambda of, name, *rest: (opened.append(name), whole(of, name, *rest))[1])
    monkeypatch.setattr(outputs, "check_rows", lambda *_: pytest.fail("reads the keys of all files"))

    check(marked)

    assert len(opened) == outputs.SAMPLED_FILES + 1  # and the rejects


def put_copy(hook: S3Hook, run: Run, of: str = "part-04.parquet", to: str = "part-03.parquet") -> None:
    """Copy a file of features: to another's name, as if the two had been exchanged."""
    folder = run.layout.run_features
    hook.copy_object((folder / of).key, (folder / to).key, "fruits", "fruits")


REPLACED = {
    "by another network's": lambda hook, run: put_features(hook, run, 3, model_id="other"),
    "by one with another vector": lambda hook, run: put_features(hook, run, 3, value=0.25),
    "by one with other images": put_copy,
}


@pytest.mark.parametrize("replace", REPLACED.values(), ids=REPLACED)
def test_a_file_that_was_replaced_since_is_named(
    hook: S3Hook, marked: Outputs, monkeypatch: pytest.MonkeyPatch, replace: Callable[[S3Hook, Run], None]
) -> None:
    """Whichever files a sample has: a listing shows it."""
    monkeypatch.setattr(outputs, "SAMPLED_FILES", 0)
    replace(hook, marked.run)

    with pytest.raises(
        OutputError, match=r"1 file\(s\) are not what the step has written, e\.g\. part-03\.parquet"
    ) as raised:
        check(marked)
    for line in (
        "invariant  the files of a dataset are those",
        "expected   2",
        "found      2",
        "ETag",
        "look at    s3://",
    ):
        assert line in str(raised.value)


def test_a_file_that_is_gone_or_has_come_since_is_named(hook: S3Hook, marked: Outputs) -> None:
    folder = marked.run.layout.run_features
    put_copy(hook, marked.run, to="part-99.parquet")
    with pytest.raises(
        OutputError, match=r"1 file\(s\) are there that the step has not written, e\.g\. part-99\.parquet"
    ):
        check(marked)
    hook.delete_objects("fruits", [(folder / f"part-{name}.parquet").key for name in ("03", "99")])
    with pytest.raises(OutputError, match=r"1 file\(s\) are not there any more, e\.g\. part-03\.parquet"):
        check(marked)


def test_rejects_that_were_replaced_since_are_named(hook: S3Hook, marked: Outputs) -> None:
    rejects = [{**image(FILES), "reason": "corrupt", "detail": ""}]
    write(hook, marked.run.layout.run_rejects / "part-0.parquet", datasets.REJECTS, rejects)

    with pytest.raises(OutputError, match=r"rejects/run=.*: 1 file\(s\) are not what the step has written"):
        check(marked)


@pytest.mark.parametrize(
    ("broken", "message"),
    [({"model_id": "other"}, "the step has used the network other, not m"), ({"value": float("inf")}, "is not finite")],
)
def test_what_the_step_itself_does_wrong_is_found(
    hook: S3Hook, extracted: Outputs, broken: dict[str, Any], message: str
) -> None:
    for number in range(FILES):
        put_features(hook, extracted.run, number, **broken)
    mark(extracted, model_id=broken.get("model_id", "m"))

    with pytest.raises(OutputError, match=message):
        check(extracted)


def test_files_that_add_up_but_have_exchanged_their_images_are_found_in_the_sample(
    extracted: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "SAMPLED_FILES", FILES)
    first, second = (
        facts(extracted, extracted.run.layout.run_features, f"part-0{number}.parquet") for number in (3, 4)
    )
    mark(extracted, part_03={"images": second["images"]}, part_04={"images": first["images"]})

    with pytest.raises(OutputError, match=r"part-0[34]\.parquet: its checksum of images is .*, the step .* says"):
        check(extracted)


def test_a_vector_that_is_not_what_was_computed_is_found_in_the_sample(
    extracted: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "SAMPLED_FILES", FILES)
    mark(extracted, part_07={"content": "0" * 64})

    with pytest.raises(OutputError, match=r"part-07\.parquet: its checksum of numbers is "):
        check(extracted)


def test_an_image_that_the_cluster_has_lost_is_named(hook: S3Hook, extracted: Outputs) -> None:
    hook.delete_objects("fruits", (extracted.run.layout.run_features / "part-03.parquet").key)
    mark(extracted)

    with pytest.raises(OutputError, match=r"1 image\(s\) of the manifest are in neither .* e\.g\. '.*/A/3\.jpg'"):
        check(extracted)


def test_what_the_cluster_says_must_add_up_as_its_rows_do(extracted: Outputs) -> None:
    mark(extracted, part_03={"images": "0" * 16})

    with pytest.raises(OutputError, match="does not add up to the images it was given, though their rows do"):
        check(extracted)


def test_a_file_of_an_earlier_version_among_them_is_judged_by_its_rows(hook: S3Hook, extracted: Outputs) -> None:
    """A run that began with an earlier version: the chunks that are finished have no checksums."""
    mark(extracted, part_03={"images": None, "content": None})
    check(extracted)
    hook.delete_objects("fruits", (extracted.run.layout.run_features / "part-04.parquet").key)
    mark(extracted, part_03={"images": None, "content": None})

    with pytest.raises(OutputError, match=r"are in neither .* e\.g\. '.*/A/4\.jpg'"):
        check(extracted)


def test_a_mark_that_is_no_account_of_files_is_damaged(hook: S3Hook, extracted: Outputs) -> None:
    for content in (
        b"finished!",
        b'{"model_id": "m", "files": ["part-03.parquet"]}',
        b'{"model_id": "m", "files": {"a": {}}}',
    ):
        hook.load_bytes(content, (extracted.run.layout.run_features / "_SUCCESS").key, "fruits", replace=True)
        with pytest.raises(AirflowFailException, match="_SUCCESS is damaged"):
            check(extracted)
