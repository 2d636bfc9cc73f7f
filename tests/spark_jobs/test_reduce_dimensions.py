"""The job as it is started, on the folders that earlier jobs leave."""

import io
import json
import os
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pytest
from pyspark.sql import SparkSession

from spark_jobs import files, reduce_dimensions
from spark_jobs.checksums import Checksums
from spark_jobs.errors import JobError
from spark_jobs.reduction import distributed
from spark_jobs.schemas import FEATURES, INVENTORY, PCA, REJECTS
from tests.conftest import PROJECT

NETWORK = "mobilenetv2-0123456789abcdef-224-v1"
LABELS = ("Açaí 100%", "Apple 'Pink Lady'", "Plum=3")


def image(index: int, size: int = 100) -> dict:
    label = LABELS[index % len(LABELS)]
    return {"path": f"s3://fruits/{label}/r_{index}.jpg", "label": label, "etag": f"etag {index}", "size": size}


def synthetic(rows: int, width: int = 1280) -> np.ndarray:
    """Features with a few strong directions, as a network's have, and 30 that never fire."""
    generator = np.random.default_rng(rows)
    features = generator.normal(size=(rows, 8)) @ generator.normal(size=(8, width))
    features = np.maximum(features + 0.3 * generator.normal(size=(rows, width)), 0)
    features[:, :30] = 0
    return features.astype(np.float32)


class Bucket:
    """The folders of one pipeline, and the job on them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def inventory(self, *indices: int) -> None:
        now = datetime.now(UTC)
        self._write("inventory", INVENTORY, [image(index) | {"last_modified": now} for index in indices])

    def features(self, run: str, rows: np.ndarray, first: int = 0, model_id: str = NETWORK) -> None:
        size = {"width": 100, "height": 100}
        images = [image(first + index) | size | {"model_id": model_id} for index in range(len(rows))]
        self._write(
            f"features/run={run}", FEATURES, [row | {"features": x} for row, x in zip(images, rows, strict=True)]
        )

    def rejects(self, run: str, reasons: dict[int, str]) -> None:
        rows = [image(index, 0) | {"reason": reason, "detail": "why"} for index, reason in reasons.items()]
        self._write(f"rejects/run={run}", REJECTS, rows)
        (self.root / f"rejects/run={run}/_SUCCESS").touch()

    def _write(self, folder: str, schema: pa.Schema, rows: list[dict]) -> None:
        path = self.root / folder
        path.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), path / "part-0.parquet")

    def reduce(self, *options: str, output: str = "results", network: str = NETWORK) -> dict:
        folders = ("--inventory", f"{self.root}/inventory", "--features", f"file://{self.root}/features")
        reduce_dimensions.main([*folders, "--output", f"{self.root}/{output}", "--model", network, *options])
        return json.loads((self.root / output / "report.json").read_text())

    def vectors(self, output: str = "results") -> pa.Table:
        return pq.read_table(self.root / output / "pca")


@pytest.fixture
def bucket(tmp_path: Path, spark: SparkSession) -> Bucket:
    return Bucket(tmp_path / "my fruits 100%")


def test_features_of_two_runs_become_vectors_a_model_and_a_report(bucket: Bucket) -> None:
    rows = synthetic(60)
    bucket.inventory(*range(62))
    bucket.features("1", rows[:40])
    bucket.features("2", rows[35:], first=35)
    bucket.rejects("1", {60: "empty"})
    read = sum(file.stat().st_size for file in (bucket.root / "features").rglob("*.parquet"))
    (bucket.root / "features/run=1/notes.txt").write_text("another program's")
    report = bucket.reduce("--rejects", str(bucket.root / "rejects"), "--run", "manual__1")

    vectors = bucket.vectors()
    assert vectors.schema.remove_metadata() == PCA
    assert len(list((bucket.root / "results/pca").glob("*.parquet"))) == 1
    assert vectors["path"].to_pylist() == sorted(image(index)["path"] for index in range(60))

    standardized = (rows.astype(float) - rows.mean(axis=0, dtype=float))[:, 30:] / rows.std(
        axis=0, ddof=1, dtype=float
    )[30:]
    shares = np.linalg.svd(standardized, compute_uv=False) ** 2 / 59 / 1250
    expected = int(np.searchsorted(np.cumsum(shares), 0.8)) + 1
    assert len(vectors["features_pca"][0]) == expected

    assert report["run"] == "manual__1"
    assert report["model_id"] == NETWORK
    assert (report["images"], report["features"], report["rejects"]) == (62, 60, 2)
    assert report["rejects_by_reason"] == {"empty": 1, "not processed": 1}
    assert report["components"] == expected
    assert report["explained_variance"] == pytest.approx(np.cumsum(shares)[expected - 1], abs=1e-10)
    np.testing.assert_allclose(report["variance_curve"], np.cumsum(shares)[:59], atol=1e-10)
    assert report["constant_features"] == 30
    assert report["versions"]["spark"] == pyspark.__version__
    assert set(report["timings"]) >= {"select", "moments", "components", "save", "project"}
    assert report["sizes"]["features_bytes"] == read
    assert report["sizes"]["pca_files"] == 1
    assert report["sizes"]["pca_bytes"] == sum(
        f.stat().st_size for f in (bucket.root / "results/pca").glob("*.parquet")
    )
    for folder in ("pca", "model"):
        found = [file for file in (bucket.root / "results" / folder).rglob("*") if file.is_file()]
        sizes = {str(file.relative_to(bucket.root / "results" / folder)): file.stat().st_size for file in found}
        visible = {name: size for name, size in sizes.items() if not Path(name).name.startswith(("_", "."))}
        said = {name: (facts["size"], facts["etag"]) for name, facts in report["written"][folder].items()}
        assert said == {name: (size, "") for name, size in visible.items()}
    vectors = pq.read_table(bucket.root / "results/pca")
    [facts] = report["written"]["pca"].values()
    assert facts.items() >= {"rows": len(vectors), **asdict(Checksums.of(vectors, "features_pca"))}.items()


def bytes_read_by_workers() -> int:
    """What Spark's Python workers have read so far: files, and what comes with a task."""

    def below(pid: int) -> int:
        process = Path(f"/proc/{pid}")
        children = [int(child) for task in process.glob("task/*/children") for child in task.read_text().split()]
        is_worker = b"pyspark.daemon" in (process / "cmdline").read_bytes()
        own = int((process / "io").read_text().split()[1]) if is_worker else 0
        return own + sum(map(below, children))

    return below(os.getpid())


@pytest.mark.parametrize("stale", [0, 20], ids=["all features count", "some are stale"])
def test_features_are_read_twice(bucket: Bucket, stale: int) -> None:
    rows = np.random.default_rng(0).normal(size=(400, 1280)).astype(np.float32)  # nothing to compress
    bucket.inventory(*range(400 - stale))
    bucket.features("1", rows[:200])
    bucket.features("2", rows[200:], first=200)
    stored = sum(file.stat().st_size for file in (bucket.root / "features").rglob("*.parquet"))
    bucket.reduce("--components", "3")  # the workers have imported their modules

    before = bytes_read_by_workers()
    bucket.reduce("--components", "3")
    assert 2 <= (bytes_read_by_workers() - before) / stored < 2.2


def test_of_features_the_driver_reads_the_keys_alone(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(400, 1280)).astype(np.float32)
    bucket.inventory(*range(400))
    bucket.features("1", rows)
    read = 0

    class Counted(io.FileIO):
        def readinto(self, buffer: memoryview) -> int:
            nonlocal read
            read += (count := super().readinto(buffer))
            return count

        def read(self, size: int = -1) -> bytes:
            nonlocal read
            read += len(content := super().read(size))
            return content

    monkeypatch.setattr(files, "open_for_reading", lambda path, size=None: Counted(path))
    bucket.reduce("--components", "3")
    assert 0 < read < 0.05 * rows.nbytes


def test_many_vectors_go_into_files_of_a_bounded_size(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.inventory(*range(60))
    bucket.features("1", synthetic(60))
    monkeypatch.setattr(distributed, "FILE_BYTES", 25 * 4 * 4)  # of 25 vectors of 4 components
    assert bucket.reduce("--components", "4")["sizes"]["pca_files"] == 3
    files = [pq.read_table(file)["path"].to_pylist() for file in (bucket.root / "results/pca").glob("*.parquet")]
    assert all(paths == sorted(paths) for paths in files)
    assert sorted(path for paths in files for path in paths) == sorted(image(index)["path"] for index in range(60))


def test_two_runs_on_the_same_data_agree_to_the_byte(bucket: Bucket) -> None:
    bucket.inventory(*range(50))
    bucket.features("1", synthetic(50))
    bucket.reduce(output="one")
    bucket.reduce(output="two")
    assert bucket.vectors("one").equals(bucket.vectors("two"))


def test_components_are_fixed_on_request(bucket: Bucket) -> None:
    bucket.inventory(*range(20))
    bucket.features("1", synthetic(20))
    report = bucket.reduce("--components", "3")
    assert report["components"] == 3
    assert {len(vector) for vector in bucket.vectors()["features_pca"].to_pylist()} == {3}


def test_more_components_than_the_data_has_become_as_many_as_it_has(bucket: Bucket) -> None:
    bucket.inventory(*range(20))
    bucket.features("1", synthetic(20))
    report = bucket.reduce("--components", "500")
    assert report["components"] == 19
    assert report["explained_variance"] == pytest.approx(1)


def test_new_images_go_into_the_existing_space(bucket: Bucket) -> None:
    rows = synthetic(80)
    bucket.inventory(*range(80))
    bucket.features("1", rows[:50])
    first = bucket.reduce("--run", "first", output="first")
    bucket.features("2", rows[50:], first=50)
    earlier = ("--pca-model", str(bucket.root / "first/model"), "--previous", str(bucket.root / "first"))
    report = bucket.reduce(*earlier, "--run", "second", output="second")

    before = {row["path"]: row["features_pca"] for row in bucket.vectors("first").to_pylist()}
    after = {row["path"]: row["features_pca"] for row in bucket.vectors("second").to_pylist()}
    assert (len(before), len(after)) == (50, 80)
    assert all(after[path] == vector for path, vector in before.items())
    assert report["components"] == first["components"]
    assert report["fitted"] == {"run": "first", "features": 50}
    assert report["previous"]["run"] == "first"
    assert report["previous"]["shift"] > 0
    assert 0 < report["explained_variance"] < first["explained_variance"], "the space was made for the first 50"

    third = bucket.reduce("--pca-model", str(bucket.root / "second/model"), output="third")
    assert third["fitted"] == {"run": "first", "features": 50}


def test_one_image_goes_into_an_existing_space(bucket: Bucket) -> None:
    rows = synthetic(30)
    bucket.inventory(*range(30))
    bucket.features("1", rows)
    bucket.reduce(output="first")

    alone = Bucket(bucket.root / "alone")
    alone.inventory(29)
    alone.features("1", rows[29:], first=29)
    report = alone.reduce("--pca-model", str(bucket.root / "first/model"))
    assert (report["features"], report["explained_variance"]) == (1, None)
    before = {row["path"]: row["features_pca"] for row in bucket.vectors("first").to_pylist()}
    (after,) = alone.vectors().to_pylist()
    np.testing.assert_allclose(after["features_pca"], before[after["path"]], rtol=1e-6)


def test_a_model_of_another_network_is_refused(bucket: Bucket) -> None:
    bucket.inventory(*range(20))
    bucket.features("1", synthetic(20))
    bucket.features("2", synthetic(20), model_id="another")
    bucket.reduce(output="first")
    with pytest.raises(JobError, match=f"fitted on features of {NETWORK}, these are of another"):
        bucket.reduce("--pca-model", str(bucket.root / "first/model"), network="another")


def test_the_network_may_be_named_by_a_pointer(bucket: Bucket) -> None:
    bucket.inventory(*range(20))
    bucket.features("1", synthetic(20))
    bucket.features("2", synthetic(20), model_id="another")
    pointer = bucket.root / "pointer.json"
    pointer.write_text(json.dumps({"model_id": "another", "uri": "s3://…"}))
    assert bucket.reduce("--components", "2", network=str(pointer))["model_id"] == "another"
    pointer.write_text("{}")
    with pytest.raises(JobError, match=r"pointer\.json: no model_id in it"):
        bucket.reduce(network=str(pointer))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (synthetic(1), "1 image with features: at least two are needed"),
        (np.tile(synthetic(1), (5, 1)), "the features of all 5 images are identical"),
        (
            synthetic(5) * np.where(np.arange(5) == 3, np.nan, 1)[:, None],
            "in 1 of 5 images: s3://fruits/Açaí 100%/r_3.jpg",
        ),
        (synthetic(5) + np.where(np.arange(5) == 1, np.inf, 0)[:, None], "in 1 of 5 images: s3://fruits/Apple 'Pink"),
        (synthetic(5, 1279), "in 5 of 5 images: s3://fruits/Açaí 100%/r_0.jpg"),
    ],
    ids=["one image", "identical images", "NaN", "infinity", "too few features"],
)
def test_what_cannot_be_reduced_is_a_clear_error(bucket: Bucket, rows: np.ndarray, message: str) -> None:
    bucket.inventory(*range(len(rows)))
    bucket.features("1", rows.astype(np.float32))
    with pytest.raises(JobError, match=message):
        bucket.reduce()


def test_no_image_with_features_is_a_clear_error(bucket: Bucket) -> None:
    bucket.inventory(7, 8)
    bucket.features("1", synthetic(3))
    with pytest.raises(JobError, match="no image in the inventory has features"):
        bucket.reduce()


def test_no_features_at_all_are_a_clear_error(bucket: Bucket) -> None:
    bucket.inventory(7, 8)
    with pytest.raises(JobError, match="features: no Parquet file there"):
        bucket.reduce()


def test_a_network_without_features_is_a_clear_error(bucket: Bucket) -> None:
    bucket.inventory(7, 8)
    bucket.features("1", synthetic(3), first=6)
    with pytest.raises(JobError, match=r"no features of network absent: found \S+ \(3 rows\)"):
        bucket.reduce(network="absent")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--variance", "0"), "0 is not in (0, 1]"),
        (("--variance", "1.01"), "1.01 is not in (0, 1]"),
        (("--variance", "nan"), "nan is not in (0, 1]"),
        (("--variance", "much"), "invalid share value: 'much'"),
        (("--components", "0"), "0 is less than 1"),
        (("--components", "3", "--variance", "0.5"), "not allowed with argument"),
    ],
)
def test_arguments_are_checked_before_spark_starts(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        reduce_dimensions.main(["--inventory", "i", "--features", "f", "--output", "o", *options])
    assert message in capsys.readouterr().err


def test_the_published_figures_come_out_of_the_job(bucket: Bucket, reference_features: Path) -> None:
    rows = np.load(reference_features)["features"]
    bucket.inventory(*range(316))
    bucket.features("1", rows[:170])
    bucket.features("2", rows[160:], first=160)
    report = bucket.reduce()
    assert (report["features"], report["components"], report["constant_features"]) == (316, 40, 44)
    assert [round(share, 5) for share in report["variance_curve"][38:40]] == [0.79964, 0.80285]
    assert report["explained_variance"] == pytest.approx(0.80285, abs=5e-6)


def printed(code: str, *arguments: str) -> str:
    """Run code in a process of its own, as modules are imported once in a process."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(
    pyspark.__version__.startswith("4."),
    reason="Spark 4 imports pandas itself with the first string it hands to Java: pyspark.testing, which asks whether it is a test",
)
def test_the_driver_does_without_pandas(bucket: Bucket) -> None:
    bucket.inventory(*range(20))
    bucket.features("1", synthetic(20))
    code = (
        "import sys\n"
        "from spark_jobs import reduce_dimensions\n"
        "reduce_dimensions.main(sys.argv[1:])\n"
        "print('pandas' in sys.modules)"
    )
    arguments = ("--inventory", f"{bucket.root}/inventory", "--features", f"{bucket.root}/features")
    assert printed(code, *arguments, "--output", f"{bucket.root}/results") == "False\n"


def test_numpy_has_one_thread_in_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, spark_jobs.reduce_dimensions\nprint(len(os.listdir('/proc/self/task')))"
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")  # set here by the module itself
    threads = int(printed(code))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert int(printed(code)) == threads + 1
