"""What reduce_dimensions has written is read back and judged."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import datasets, outputs
from fruit_features.checks import OutputError
from fruit_features.checksums import FileChecksums
from fruit_features.output_files import Outputs
from fruit_features.run import Plan, Run
from fruit_features.workspace import workspace

FILES = 9  # of two images each
PLAN = Plan(images=2 * FILES, new=2 * FILES, model_id="m", model_exported=True, pca_model=None, needs_cluster=True)


class Reduced:
    """A run with results: its report, and how to change what is there."""

    def __init__(self, hook: S3Hook, run: Run) -> None:
        self.hook = hook
        self.outputs = Outputs(hook, run)
        self.folder = run.layout.run_results
        self.facts: dict[str, dict[str, Any]] = {}
        images = [
            {"path": f"s3://fruits/images/A/{number:02}.jpg", "label": "A", "etag": "e", "size": 5}
            for number in range(2 * FILES)
        ]
        self._write(run.layout.inventory, images, datasets.INVENTORY)
        features = [{**image, "model_id": "m", "features": [0.5] * 1280} for image in images]
        self._write(run.layout.run_features / "part-0.parquet", features, datasets.FEATURES)
        hook.load_bytes(b"", (run.layout.run_features / "_SUCCESS").key, "fruits")
        for number in range(FILES):
            self.put(number, [2 * number, 2 * number + 1])
        for name in ("pca/_SUCCESS", "model/stages/0/part-0.parquet", "model/_SUCCESS"):
            hook.load_bytes(b"content", (self.folder / name).key, "fruits")
        self.said = dict(self.facts)

    def put(self, number: int, images: list[int], *, vector: tuple[float, ...] = (0.5, 1.5)) -> None:
        """Write a file of vectors."""
        rows = [
            {"path": f"s3://fruits/images/A/{image:02}.jpg", "label": "A", "features_pca": vector} for image in images
        ]
        name = f"part-{number:05}.parquet"
        self._write(self.folder / "pca" / name, rows, datasets.PCA)
        found = FileChecksums()
        for batch in pa.Table.from_pylist(rows, datasets.PCA).to_batches():
            found.add(batch)
        listed = self.outputs.listed(self.folder / "pca")[name]
        self.facts[name] = {
            "size": listed.size,
            "etag": listed.etag,
            "rows": found.rows,
            "images": found.images,
            "content": found.content,
        }

    def _write(self, where: Any, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        datasets.write(datasets.filesystem(self.hook), where, pa.Table.from_pylist(rows, schema))

    @property
    def report(self) -> dict[str, Any]:
        """What reduce_dimensions says."""
        model = self.outputs.listed(self.folder / "model")["stages/0/part-0.parquet"]
        said = {"pca": self.said, "model": {"stages/0/part-0.parquet": {"size": model.size, "etag": model.etag}}}
        return {"components": 2, "variance_curve": [0.5, 0.9], "written": said}

    def check(self, report: dict[str, Any] | None = None) -> int:
        with workspace() as work:
            outputs.collect_inventory(self.outputs, "m", work)
            return outputs.check_results(self.outputs, PLAN, "m", report or self.report, work)


@pytest.fixture
def reduced(hook: S3Hook, make_run: Callable[..., Run]) -> Reduced:
    return Reduced(hook, make_run())


def opened(reduced: Reduced, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return the list that will hold each file of vectors that is opened, and how many columns are read."""
    found: list[tuple[str, int]] = []
    whole = reduced.outputs.rows

    def rows(dataset: Any, name: str, schema: Any, columns: list[str]) -> Any:
        found.append((name, len(columns)))
        return whole(dataset, name, schema, columns)

    monkeypatch.setattr(reduced.outputs, "rows", rows)
    return found


def test_what_the_cluster_says_spares_reading_all_vectors(reduced: Reduced, monkeypatch: pytest.MonkeyPatch) -> None:
    read = opened(reduced, monkeypatch)

    assert reduced.check() == 2 * FILES
    assert len(read) == outputs.SAMPLED_VECTOR_FILES < FILES


def test_of_an_earlier_version_only_the_paths_of_all_are_read(
    reduced: Reduced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what its files are, but not what is in them; one before that says nothing."""
    read = opened(reduced, monkeypatch)
    sizes = {name: {"size": facts["size"], "etag": facts["etag"]} for name, facts in reduced.said.items()}
    for written in ({"pca": sizes}, {}):
        read.clear()
        assert reduced.check(reduced.report | {"written": written}) == 2 * FILES
        assert [columns for _, columns in read] == [1] * FILES + [2] * outputs.SAMPLED_VECTOR_FILES


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([5], r"pca: 1 image\(s\) that have features are missing, e\.g\. '.*/A/04\.jpg'"),
        ([4, 5, 6], r"pca: '.*/A/06\.jpg' is there twice"),
        ([4, 5, 99], r"pca: '.*/A/99\.jpg' is not an image of the inventory that has features"),
        ([5, 6], r"pca: '.*/A/06\.jpg' is there twice"),
    ],
)
def test_what_the_step_itself_does_wrong_is_found(reduced: Reduced, images: list[int], message: str) -> None:
    reduced.put(2, images)
    reduced.said = dict(reduced.facts)

    with pytest.raises(OutputError, match=message):
        reduced.check()


def test_a_vector_that_is_not_what_was_computed_is_found_in_the_sample(
    reduced: Reduced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "SAMPLED_VECTOR_FILES", FILES)
    reduced.said["part-00003.parquet"] = reduced.facts["part-00003.parquet"] | {"content": "0" * 64}

    with pytest.raises(OutputError, match=r"part-00003\.parquet: its checksum of numbers is .*, the step .* says 000"):
        reduced.check()


@pytest.mark.parametrize(
    ("vector", "message"),
    [((0.5,), "does not have 2 numbers"), ((0.5, float("inf")), "a number .* that is not finite")],
)
def test_a_defect_that_many_files_have_is_found_in_the_sample(
    reduced: Reduced, vector: tuple[float, ...], message: str
) -> None:
    for number in range(FILES - outputs.SAMPLED_VECTOR_FILES + 1):
        reduced.put(number, [2 * number, 2 * number + 1], vector=vector)
    reduced.said = dict(reduced.facts)

    with pytest.raises(OutputError, match=message):
        reduced.check()


def test_what_the_cluster_says_must_add_up_as_its_rows_do(reduced: Reduced) -> None:
    reduced.said["part-00003.parquet"] = reduced.facts["part-00003.parquet"] | {"images": "0" * 16}

    with pytest.raises(OutputError, match="does not add up to the images it was given, though their rows do"):
        reduced.check()


@pytest.mark.parametrize("name", ["pca/part-00003.parquet", "model/stages/0/part-0.parquet"])
def test_a_file_that_was_replaced_since_is_named(reduced: Reduced, name: str) -> None:
    report = reduced.report
    reduced.hook.load_bytes(b"another", (reduced.folder / name).key, "fruits", replace=True)

    with pytest.raises(OutputError, match=r"1 file\(s\) are not what the step has written") as raised:
        reduced.check(report)
    assert f"example    {reduced.folder / name}" in str(raised.value)


@pytest.mark.parametrize(
    "name", ["pca/part-00001-0123456789abcdef.parquet", "pca/copy.parquet", "model/stages/0/part-1.parquet"]
)
def test_a_file_that_has_come_since_is_named(reduced: Reduced, name: str) -> None:
    """As a task of an attempt that was given up might write it, when its step is repeated and done."""
    report = reduced.report
    reduced.hook.load_bytes(b"late", (reduced.folder / name).key, "fruits")

    with pytest.raises(OutputError, match=r"1 file\(s\) are there that the step has not written") as raised:
        reduced.check(report)
    assert f"example    {reduced.folder / name}" in str(raised.value)


@pytest.mark.parametrize("name", ["pca/.part-0.crc", "pca/_temporary/0/part-0.parquet"])
def test_a_file_that_no_reader_reads_may_be_there(reduced: Reduced, name: str) -> None:
    reduced.hook.load_bytes(b"hidden", (reduced.folder / name).key, "fruits")

    assert reduced.check() == 2 * FILES
