"""The job end to end, on real Spark and the real network."""

import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from sample_data import list_file, write_manifest
from spark_jobs import extract_features, schemas
from spark_jobs.errors import JobError
from spark_jobs.extraction import chunks
from spark_jobs.extraction.reading import ManifestRow
from spark_jobs.extraction.rejects import Reason
from tests.conftest import PROJECT

Run = Callable[..., None]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Ten images under awkward names, one of them twice."""
    folder = tmp_path / "images" / "Kiwi 100% (ñ+=#'\")"
    folder.mkdir(parents=True)
    for number in range(9):
        image = Image.linear_gradient("L").rotate(40 * number).convert("RGB")
        image.save(folder / f"🥝 {number}%20.jpg")
    shutil.copy(folder / "🥝 8%20.jpg", folder / "the same again")
    return folder


@pytest.fixture
def run(spark: SparkSession, tmp_path: Path, model_pointer: Path) -> Run:
    def run(manifest: str | Path, *options: str, to: Path = tmp_path) -> None:
        extract_features.main(
            [
                *(f"--manifest={manifest}", f"--model={model_pointer}", *options),
                *(f"--features=file://{to}/features", f"--rejects=file://{to}/rejects"),
            ]
        )

    return run


def table(folder: Path, schema: pa.Schema, *, finished: bool = True) -> list[dict[str, Any]]:
    """The rows of an output, which must hold exactly the contract's columns."""
    assert (folder / "_SUCCESS").exists() == finished
    content = pq.read_table(folder)
    assert content.schema.names == schema.names
    assert [field.type for field in content.schema] == [field.type for field in schema]
    return content.to_pylist()


def data_files(folder: Path) -> list[str]:
    return [file.name for file in folder.glob("[!._]*")]


def test_every_image_is_in_features(run: Run, tmp_path: Path, images: Path, model_pointer: Path) -> None:
    sources = [list_file(file) for file in sorted(images.iterdir())]
    run(write_manifest(tmp_path / "manifest", sources))
    features, rejects = table(tmp_path / "features", schemas.FEATURES), table(tmp_path / "rejects", schemas.REJECTS)

    assert rejects == []
    assert sorted((row["path"], row["label"], row["etag"], row["size"]) for row in features) == sorted(
        (source.path, source.label, source.etag, source.size) for source in sources
    )
    assert {row["model_id"] for row in features} == {json.loads(model_pointer.read_text())["model_id"]}
    assert {(row["width"], row["height"]) for row in features} == {(256, 256)}
    values = np.array([row["features"] for row in features])
    assert values.shape == (10, 1280)
    assert np.isfinite(values).all()
    by_name = {row["path"].rpartition("/")[2]: row["features"] for row in features}
    assert by_name["the same again"] == by_name["🥝 8%20.jpg"] != by_name["🥝 7%20.jpg"]
    assert len(data_files(tmp_path / "features")) == len(data_files(tmp_path / "rejects")) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features", "images", "manifest", "rejects"]


def bad_images(folder: Path) -> Iterator[tuple[ManifestRow, Reason]]:
    """One image of each kind that cannot be used on a disk, as it was listed; test_reading_s3 has the rest."""
    good = (folder / "🥝 1%20.jpg").read_bytes()
    contents = {
        Reason.EMPTY: b"",
        Reason.NOT_AN_IMAGE: b"Dear reader,",
        Reason.TRUNCATED: good[:1000],
        Reason.UNSUPPORTED: b"II*\x00" + bytes(100),
        Reason.NOT_FOUND: good,
        Reason.CHANGED: good,
    }
    for reason, content in contents.items():
        file = folder / f"{reason}.jpg"
        file.write_bytes(content)
        yield list_file(file), reason
    (folder / "not_found.jpg").unlink()
    (folder / "changed.jpg").write_bytes(good + b"x")


def test_every_other_image_is_in_rejects(run: Run, tmp_path: Path, images: Path) -> None:
    good = [list_file(file) for file in sorted(images.iterdir())]
    bad = list(bad_images(images))
    run(write_manifest(tmp_path / "manifest", [*(source for source, _ in bad), *good]), "--max-reject-share", "0.4")
    features, rejects = table(tmp_path / "features", schemas.FEATURES), table(tmp_path / "rejects", schemas.REJECTS)

    assert {row["path"] for row in features} == {source.path for source in good}
    assert {(row["path"], row["etag"], row["reason"]) for row in rejects} == {
        (source.path, source.etag, reason) for source, reason in bad
    }
    assert all(row["detail"] for row in rejects)


def test_too_many_rejects_fail_the_job_and_leave_its_outputs_unfinished(run: Run, tmp_path: Path, images: Path) -> None:
    for number in range(5):
        (images / f"{number}.txt").write_text("not an image")
    (images / "empty").touch()
    sources = [list_file(file) for file in sorted(images.iterdir())]

    with pytest.raises(JobError) as error:
        run(write_manifest(tmp_path / "manifest", sources))
    assert str(error.value) == (
        "6 of 16 images rejected, more than max_reject_share 0.05:"
        f" not_an_image 5 (file://{images}/0.txt, file://{images}/1.txt, file://{images}/2.txt);"
        f" empty 1 (file://{images}/empty)"
    )
    assert len(table(tmp_path / "features", schemas.FEATURES, finished=False)) == 10
    assert len(table(tmp_path / "rejects", schemas.REJECTS, finished=False)) == 6


def test_the_share_itself_is_allowed(run: Run, tmp_path: Path, images: Path) -> None:
    sources = [list_file(file) for file in sorted(images.iterdir())][:3]
    gone = ManifestRow(f"file://{images}/gone", "Kiwi", None, 10)
    run(write_manifest(tmp_path / "manifest", [*sources, gone]), "--max-reject-share", "0.25")

    assert len(table(tmp_path / "rejects", schemas.REJECTS)) == 1


def test_no_usable_image_fails_whatever_share_is_allowed(run: Run, tmp_path: Path) -> None:
    gone = [ManifestRow(f"file://{tmp_path}/{number}", "Kiwi", None, 10) for number in range(2)]

    with pytest.raises(JobError, match="2 of 2 images rejected, no image can be used: not_found 2"):
        run(write_manifest(tmp_path / "manifest", gone), "--max-reject-share", "1")
    assert table(tmp_path / "features", schemas.FEATURES, finished=False) == []


def test_an_empty_manifest_gives_empty_outputs(run: Run, tmp_path: Path) -> None:
    run(write_manifest(tmp_path / "manifest", []))

    assert table(tmp_path / "features", schemas.FEATURES) == []
    assert table(tmp_path / "rejects", schemas.REJECTS) == []


def test_a_second_run_replaces_the_first(run: Run, tmp_path: Path, images: Path) -> None:
    sources = [list_file(file) for file in sorted(images.iterdir())]
    run(write_manifest(tmp_path / "first", sources))
    run(write_manifest(tmp_path / "second", sources[:4]))

    assert len(table(tmp_path / "features", schemas.FEATURES)) == 4


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "IMAGES", (2, 2))


def summary(caplog: pytest.LogCaptureFixture) -> str:
    """What the last run said at its end."""
    return [record.message for record in caplog.records if record.message.startswith("done")][-1]


def test_tasks_share_the_images_and_progress_is_logged(
    run: Run, tmp_path: Path, images: Path, small_chunks: None, caplog: pytest.LogCaptureFixture
) -> None:
    sources = [list_file(file) for file in sorted(images.iterdir())]
    caplog.set_level(logging.INFO, "extract_features")
    run(write_manifest(tmp_path / "manifest", sources), "--progress", f"{tmp_path}/progress.json")

    assert len(table(tmp_path / "features", schemas.FEATURES)) == 10
    assert len(data_files(tmp_path / "features")) == 5
    assert summary(caplog).startswith("done images=10 features=10 rejects=0 reused=0 wall_seconds=")
    assert json.loads((tmp_path / "progress.json").read_text())["images"] == 10


def test_a_repeated_job_computes_only_what_is_missing_and_ends_the_same(
    run: Run, tmp_path: Path, images: Path, small_chunks: None, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a lost cluster: some chunks are there, no mark. Only the missing one's images may still be read."""
    caplog.set_level(logging.INFO, "extract_features")
    sources = [list_file(file) for file in sorted(images.iterdir())]
    manifest = write_manifest(tmp_path / "manifest", sources)
    run(manifest)
    before = {file.name: file.read_bytes() for file in (tmp_path / "features").iterdir()}
    lost = sorted((tmp_path / "features").glob("part-*"))[1]
    missing = pq.read_table(lost)["path"].to_pylist()
    for name in (lost.name, "_SUCCESS"):
        (tmp_path / "features" / name).unlink()
    for source in sources:
        if source.path not in missing:
            Path(source.path.removeprefix("file://")).unlink()
    run(manifest, "--progress", f"{tmp_path}/progress.json")

    assert {file.name: file.read_bytes() for file in (tmp_path / "features").iterdir()} == before
    assert summary(caplog).startswith("done images=10 features=10 rejects=0 reused=8 wall_seconds=")
    assert json.loads((tmp_path / "progress.json").read_text())["images"] == 10
    assert table(tmp_path / "rejects", schemas.REJECTS) == []


def test_a_manifest_with_other_columns_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "manifest").mkdir()
    pq.write_table(pa.table({"path": ["a"], "size": ["7"]}), tmp_path / "manifest/part-0.parquet")

    with pytest.raises(
        JobError, match=r"manifest file://.*: wrong columns: label: .*size: expected int64, found string"
    ):
        run(f"{tmp_path}/manifest")
    assert not (tmp_path / "features").exists()


def test_a_manifest_that_is_not_there(run: Run, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"manifest file://.*/nowhere: no Parquet file there"):
        run(f"{tmp_path}/nowhere")


def test_tensorflow_is_never_imported_by_workers(spark: SparkSession, model_pointer: Path) -> None:
    def modules(_: object) -> Iterator[list[str]]:
        import spark_jobs.extraction.worker  # noqa: F401

        yield [name for name in ("tensorflow", "keras") if name in sys.modules]

    assert spark.sparkContext.parallelize([0], 1).mapPartitions(modules).collect() == [[]]


def test_features_are_those_of_keras(
    run: Run,
    tmp_path: Path,
    real_images: Path,
    reference_features: Path,
) -> None:
    with np.load(reference_features) as reference:
        expected = dict(zip(map(str, reference["names"]), reference["features"], strict=True))
    files = [real_images / name.removeprefix("Test/") for name in expected]
    run(write_manifest(tmp_path / "manifest", map(list_file, files)))
    found = {
        f"Test/{row['label']}/{row['path'].rpartition('/')[2]}": row["features"]
        for row in table(tmp_path / "features", schemas.FEATURES)
    }

    assert found.keys() == expected.keys()
    assert len(found) == 316
    assert max(np.abs(np.array(found[name]) - expected[name]).max() for name in expected) <= 1e-4
    published = {
        "Apple Pink Lady/r_271_100": (0.1960293, 0.113),
        "Apple Pink Lady/r_92_100": (0.17898463, 0.04),
        "Apple Pink Lady/r_262_100": (0.98299426, 0.01),
        "Cherry Wax Yellow/106_100": (0.1632067, 0.490),
        "Cherry Wax Yellow/250_100": (0.0, 0.672891),
        "Cherry Wax Yellow/r_33_100": (0.15166348, 0.17),
    }
    for name, (first, second) in published.items():
        row = found[f"Test/{name}.jpg"]
        assert row[0] == pytest.approx(first, abs=1e-4)
        assert row[1] == pytest.approx(second, abs=1e-4 if second == 0.672891 else 0.01)  # others: published cut off


def test_spark_submit_on_a_cluster(tmp_path: Path, images: Path, model_pointer: Path) -> None:
    """Executors of their own, which get the jobs as --py-files; and the exit code of a run with rejects."""
    with zipfile.ZipFile(tmp_path / "jobs.zip", "w") as archive:
        for file in (PROJECT / "spark_jobs").rglob("*.*"):
            if "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(PROJECT))
    (images / "empty").touch()
    manifest = write_manifest(tmp_path / "manifest", [list_file(file) for file in sorted(images.iterdir())])
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SPARK_LOCAL_IP")}
    submit = [Path(sys.executable).parent / "spark-submit", "--master", "local-cluster[2,1,1024]"]
    submit += ["--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.driver.bindAddress=127.0.0.1"]
    submit += ["--py-files", "jobs.zip", PROJECT / "spark_jobs/extract_features.py"]
    result = subprocess.run(
        [*submit, "--manifest", manifest, "--model", model_pointer, "--features", "features", "--rejects", "rejects"],
        cwd=tmp_path,
        env=environment | {"PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    # Under spark-submit, what Python writes to stderr comes out of stdout.
    errors = [line for line in result.stdout.splitlines() if line.startswith("error: ")]

    assert result.returncode == 1
    assert errors == [
        "error: 1 of 11 images rejected, more than max_reject_share 0.05: empty 1 (file://" + f"{images}/empty)"
    ]
    assert "Traceback" not in result.stdout + result.stderr
    assert len(table(tmp_path / "features", schemas.FEATURES, finished=False)) == 10
    rejects = table(tmp_path / "rejects", schemas.REJECTS, finished=False)
    assert Counter(row["reason"] for row in rejects) == {"empty": 1}
