"""The passes over all features, on real Spark."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spark_jobs.checksums import Checksums
from spark_jobs.datasets import DataFile
from spark_jobs.errors import JobError
from spark_jobs.reduction import distributed, folders
from spark_jobs.reduction.distributed import FAN_IN, project, sampled, scan, vectors
from spark_jobs.reduction.feature_rows import COLUMNS, Features, pack
from spark_jobs.schemas import FEATURES, PCA

from .test_moments import WIDTH, assert_moments_of, ordinary
from .test_pca import badly_scaled, fit_rows

Stored = Callable[[np.ndarray, int], Features]


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """Makes features of rows, of which each task reads as many as the second argument says."""

    def store(rows: np.ndarray, of_a_task: int) -> Features:
        monkeypatch.setattr(distributed, "LEAST_ROWS", of_a_task)
        monkeypatch.setattr(distributed, "MOST_ROWS", of_a_task)
        images = [
            {"path": f"s3://b/{index:05}.jpg", "label": f"label {index}", "features": row.tolist()}
            for index, row in enumerate(rows)
        ]
        file = tmp_path / "part-0.parquet"
        pq.write_table(pa.Table.from_pylist(images, FEATURES), file)
        return Features([DataFile(f"file://{file}", (len(rows),), file.stat().st_size)])

    return store


@pytest.mark.parametrize("of_a_task", [16, 4, 1], ids=["one task", "few", "more than the fan-in"])
def test_one_pass_finds_the_moments_whatever_the_tasks(spark: SparkSession, stored: Stored, of_a_task: int) -> None:
    rows = ordinary(16)
    assert_moments_of(scan(spark.sparkContext, stored(rows, of_a_task), WIDTH).moments, rows)


def test_the_sum_does_not_depend_on_which_task_ends_first(spark: SparkSession, stored: Stored) -> None:
    features = stored(ordinary(100), 4)
    first, second = (scan(spark.sparkContext, features, WIDTH).moments.scatter.tobytes() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("of_a_task", [4000, 200], ids=["one task", "more than the fan-in"])
def test_the_same_pass_takes_a_sample(spark: SparkSession, stored: Stored, of_a_task: int) -> None:
    rows = ordinary(4000)
    found = scan(spark.sparkContext, stored(rows, of_a_task), WIDTH, 500)
    assert_moments_of(found.moments, rows)
    sample = found.sample.sort_by("path").to_pylist()
    assert 430 < len(sample) < 570
    numbers = [int(row["label"].removeprefix("label ")) for row in sample]
    assert [row["path"] for row in sample] == [f"s3://b/{number:05}.jpg" for number in numbers]
    np.testing.assert_array_equal(np.array([row["features"] for row in sample], np.float32), rows[numbers])


def test_a_sample_is_about_as_large_as_asked_and_always_the_same() -> None:
    paths = pa.array([f"s3://fruits/{number}" for number in range(4000)])
    assert 430 < sampled(paths, 500 / 4000).sum() < 570
    np.testing.assert_array_equal(sampled(paths[::-1], 0.125)[::-1], sampled(paths, 0.125))
    assert sampled(paths, 1.0).all()
    assert not sampled(paths, 0.0).any()


def test_the_driver_merges_few_partial_matrices_however_many_tasks(spark: SparkSession, stored: Stored) -> None:
    context = spark.sparkContext
    features = stored(ordinary(96), 4)
    context.setJobGroup("fan-in", "moments")
    scan(context, features, WIDTH)
    context.setJobGroup("other", "")

    tracker = context.statusTracker()
    stages = [
        tracker.getStageInfo(stage)
        for job in tracker.getJobIdsForGroup("fan-in")
        for stage in tracker.getJobInfo(job).stageIds
    ]
    assert max(stage.numTasks for stage in stages if stage) == 24
    last = max((stage for stage in stages if stage), key=lambda stage: stage.stageId)
    assert last.numTasks <= FAN_IN


def test_workers_use_one_blas_thread_each(spark: SparkSession) -> None:
    def threads(_: int) -> str | None:
        import os

        return os.environ.get("OMP_NUM_THREADS")

    assert spark.sparkContext.parallelize([0], 1).map(threads).collect() == ["1"]


def test_invalid_rows_are_left_out_counted_and_named(spark: SparkSession, stored: Stored) -> None:
    rows = ordinary(40)
    for index, value in ((3, np.nan), (20, np.inf), (21, -np.inf), (39, np.nan)):
        rows[index, index % WIDTH] = value
    moments = scan(spark.sparkContext, stored(rows, 14), WIDTH).moments

    assert moments.invalid == 4
    assert moments.invalid_paths == ("s3://b/00003.jpg", "s3://b/00020.jpg", "s3://b/00021.jpg")
    assert_moments_of(moments, rows[np.isfinite(rows).all(axis=1)])


def test_no_rows_have_no_moments(spark: SparkSession) -> None:
    found = scan(spark.sparkContext, Features([]), WIDTH, 10)
    assert (found.moments.count, found.moments.invalid) == (0, 0)
    assert found.moments.scatter.shape == (WIDTH, WIDTH)
    assert found.sample.num_rows == 0


def test_projecting_standardizes_and_rotates(spark: SparkSession, stored: Stored, tmp_path: Path) -> None:
    data = badly_scaled(60, 20)
    pca = fit_rows(data, components=5).pca
    output = tmp_path / "pca"
    output.mkdir()
    for name in ("part-00007.parquet", "part-00001-0123456789abcdef.parquet", "_SUCCESS"):
        (output / name).write_bytes(b"of an earlier attempt")
    facts = project(spark.sparkContext, stored(data, 60), pca, f"file://{output}")

    [name] = facts
    assert sorted(file.name for file in output.iterdir()) == ["_SUCCESS", name]
    assert spark.read.parquet(str(output)).dtypes == [
        ("path", "string"),
        ("label", "string"),
        ("features_pca", "array<float>"),
    ]
    written = pq.read_table(output)
    checksums = Checksums.of(written, "features_pca")
    assert name == f"part-00000-{checksums.content[:16]}.parquet"
    assert facts[name] == {"size": (output / name).stat().st_size, "etag": "", "rows": 60, **asdict(checksums)}
    assert written.schema.remove_metadata() == PCA
    assert written["path"].to_pylist() == [f"s3://b/{index:05}.jpg" for index in range(60)]
    assert written["label"][4].as_py() == "label 4"
    vectors = np.array(written["features_pca"].to_pylist())
    exact = data.astype(np.float64)
    varying = np.delete(np.arange(20), [4, 9])
    standardized = (exact - exact.mean(axis=0))[:, varying] / exact.std(axis=0, ddof=1)[varying]
    np.testing.assert_allclose(vectors, standardized @ pca.components[varying], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.cov(vectors.T), np.diag(pca.explained_variance_ratio * 18), atol=1e-5)


def test_vectors_that_do_not_add_up_are_an_error(spark: SparkSession, stored: Stored, tmp_path: Path) -> None:
    data = badly_scaled(60, 20)
    features = stored(data, 60)
    beyond = Features(features.files, {0: pack(np.array([60]))})
    with pytest.raises(JobError, match="60 vectors of 59 images were written"):
        project(spark.sparkContext, beyond, fit_rows(data, components=5).pca, f"file://{tmp_path}/pca")
    assert not (tmp_path / "pca/_SUCCESS").exists()


def act_late(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something just before the files are compared with what the tasks have written."""

    def clear(uri: str, is_own: Any, written: Any = None) -> None:
        if written:
            act()
        whole(uri, is_own, written)

    whole = folders.clear
    monkeypatch.setattr(folders, "clear", clear)


def test_what_an_attempt_that_was_given_up_writes_late_does_not_count(
    spark: SparkSession, stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has cut the rows otherwise, for other slots."""
    data, output = badly_scaled(60, 20), tmp_path / "pca"
    pca = fit_rows(data, components=5).pca

    def of(some: np.ndarray) -> tuple[str, bytes]:
        folder = tmp_path / f"{len(some)} rows"
        [name] = project(spark.sparkContext, stored(some, 60), pca, f"file://{folder}")
        return name, (folder / name).read_bytes()

    (half, of_half), (same, content) = of(data[:30]), of(data)
    act_late(monkeypatch, lambda: [(output / half).write_bytes(of_half), (output / same).write_bytes(content)])
    facts = project(spark.sparkContext, stored(data, 60), pca, f"file://{output}")
    assert half != same
    assert list(facts) == [same]
    assert sorted(file.name for file in output.iterdir()) == ["_SUCCESS", same]


def test_a_file_that_was_replaced_since_its_task_wrote_it_is_named(
    spark: SparkSession, stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, output = badly_scaled(60, 20), tmp_path / "pca"
    act_late(monkeypatch, lambda: [file.write_bytes(b"other") for file in output.glob("part-*")])
    with pytest.raises(JobError, match=r"pca/part-00000-.*: Stored\(size=5, .* is there, this job has written"):
        project(spark.sparkContext, stored(data, 60), fit_rows(data, components=5).pca, f"file://{output}")
    assert not (output / "_SUCCESS").exists()


def test_a_file_of_another_program_is_named_and_left(spark: SparkSession, stored: Stored, tmp_path: Path) -> None:
    data, other = badly_scaled(60, 20), tmp_path / "pca/mine.parquet"
    other.parent.mkdir()
    other.touch()
    with pytest.raises(JobError, match=r"pca/mine\.parquet: not written by this job"):
        project(spark.sparkContext, stored(data, 60), fit_rows(data, components=5).pca, f"file://{tmp_path}/pca")
    assert list(other.parent.iterdir()) == [other]


def test_an_image_too_far_from_the_fit_is_named() -> None:
    """A feature that hardly varied in the fit, and does now: its vector overflows float32."""
    data = badly_scaled(60, 20)
    pca = fit_rows(data, components=5).pca
    rows = data[:2].astype(np.float32)
    rows[1, 0] = np.float32(3e38)
    narrow = replace(pca, scale=np.where(np.arange(20) == 0, 1e-3, pca.scale))
    batch = pa.RecordBatch.from_pylist(
        [{"path": f"s3://b/{index}.jpg", "label": "A", "features": row.tolist()} for index, row in enumerate(rows)],
        COLUMNS,
    )
    with pytest.raises(
        JobError, match=r"^s3://b/1\.jpg: its vector has a number that is not finite: .* \(the param refit\)$"
    ):
        vectors([batch], narrow)
