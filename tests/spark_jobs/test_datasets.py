"""The contracts: exact columns, and a clear word about any other."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_jobs import schemas
from spark_jobs.datasets import DataFile, check_dataset, feature_files, reject_files
from spark_jobs.errors import JobError
from tests import foreign_files


def test_the_contracts() -> None:
    image = ["path", "label", "etag", "size"]

    assert schemas.MANIFEST.names == [*image, "last_modified"]
    assert schemas.FEATURES.names == [*image, "model_id", "width", "height", "features"]
    assert schemas.REJECTS.names == [*image, "reason", "detail"]
    assert schemas.PCA.names == ["path", "label", "features_pca"]


@pytest.fixture
def rejects(tmp_path: Path) -> Path:
    folder = tmp_path / "rejects {a} [b]* 100%"
    folder.mkdir()
    columns = {name: [name] for name in reversed(schemas.REJECTS.names)} | {"size": [1], "more": [1]}
    pq.write_table(pa.table(columns), folder / "part-0.parquet")
    (folder / "_SUCCESS").touch()
    return folder


def uris(files: Iterable[DataFile]) -> list[str]:
    return [file.uri for file in files]


def test_columns_may_come_in_another_order_under_any_name(rejects: Path) -> None:
    [file] = check_dataset(f"file://{rejects}", schemas.REJECTS, "rejects")

    assert file == DataFile(f"file://{rejects}/part-0.parquet", (1,), (rejects / "part-0.parquet").stat().st_size)


def test_every_difference_is_named_at_once(rejects: Path) -> None:
    expected = (
        r"inventory file://.*: wrong columns: last_modified: expected timestamp\[us, tz=UTC\], found no such column$"
    )
    with pytest.raises(JobError, match=expected):
        check_dataset(f"file://{rejects}", schemas.INVENTORY, "inventory")


def test_what_is_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "part-0.parquet").write_text("not Parquet")

    with pytest.raises(JobError, match=r"manifest file://.*/part-0.parquet: not a whole Parquet file"):
        check_dataset(f"file://{tmp_path}", schemas.MANIFEST, "manifest")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"manifest file://.*/nothing: no Parquet file there"):
        check_dataset(f"file://{tmp_path}/nothing", schemas.MANIFEST, "manifest")


def test_a_single_file_will_do(rejects: Path) -> None:
    file = f"file://{rejects}/part-0.parquet"
    assert check_dataset(file, schemas.REJECTS, "rejects") == [DataFile(file, (1,))]


def features(file: Path, path: str, schema: pa.Schema = schemas.FEATURES) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([{"path": path}], schema), file)
    return file


def rows_of(files: Iterable[DataFile]) -> list[str]:
    return sorted(
        path for file in uris(files) for path in pq.read_table(file.removeprefix("file://"))["path"].to_pylist()
    )


def test_features_of_every_run_count_finished_or_not(tmp_path: Path) -> None:
    features(tmp_path / "run=1/part-0.parquet", "a")
    (tmp_path / "run=1/_SUCCESS").touch()
    features(tmp_path / "run=2/part-000000-0123456789abcdef.parquet", "b")

    assert rows_of(feature_files(f"file://{tmp_path}")) == ["a", "b"]


def laid(files: dict[str, bytes], root: Path) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_what_is_no_whole_file_of_features_is_named_and_breaks_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = laid(foreign_files.FEATURES, tmp_path / "features [a]")

    assert rows_of(feature_files(f"file://{root}")) == foreign_files.FEATURES_THAT_COUNT
    ignored = (
        "run=2/notes.txt",
        *(f"run=2/part-{number}.parquet" for number in range(5, 10)),
        "part-0.parquet",
        "readme.txt",
    )
    for name in ignored:
        assert f"file://{root}/{name} does not count as features" in caplog.text


def test_what_is_no_whole_file_of_rejects_is_named_and_breaks_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = laid(foreign_files.REJECTS, tmp_path / "rejects")

    assert rows_of(reject_files(f"file://{root}")) == foreign_files.REJECTS_THAT_COUNT
    for name in ("run=1/part-1.parquet", "run=1/part-2.parquet"):
        assert f"file://{root}/{name} does not count as rejects" in caplog.text


def test_one_runs_folder_may_be_named_alone(tmp_path: Path) -> None:
    root = laid(foreign_files.FEATURES, tmp_path)
    assert uris(feature_files(f"file://{root}/run=1")) == [f"file://{root}/run=1/part-0.parquet"]


def test_no_features_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()

    with pytest.raises(JobError, match=r"features file://.*: no Parquet file there"):
        feature_files(f"file://{tmp_path}")


def test_rejects_of_unfinished_runs_do_not_count(rejects: Path) -> None:
    root = rejects.parent / "root"
    for run in ("run=1", "run=b"):
        (root / run).mkdir(parents=True)
        shutil.copy(rejects / "part-0.parquet", root / run)

    assert reject_files(f"file://{root}") == []
    (root / "run=b/_SUCCESS").touch()
    assert uris(reject_files(f"file://{root}")) == [f"file://{root}/run=b/part-0.parquet"]
    (root / "run=1/_SUCCESS").touch()
    assert uris(reject_files(f"file://{root}")) == [f"file://{root}/run={run}/part-0.parquet" for run in ("1", "b")]
    assert reject_files(f"file://{root}/nowhere") == []
