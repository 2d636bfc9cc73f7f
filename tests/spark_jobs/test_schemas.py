"""The contracts: exact columns, and a clear word about any other."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from pyspark.sql import SparkSession

from spark_jobs import schemas
from spark_jobs.schemas import check_files, count_rows, read_files, spark_schema
from spark_jobs.sessions import JobError


def test_the_contracts() -> None:
    image = ["path", "label", "etag", "size"]

    assert schemas.MANIFEST.names == [*image, "last_modified"]
    assert schemas.FEATURES.names == [*image, "model_id", "width", "height", "features"]
    assert schemas.REJECTS.names == [*image, "reason", "detail"]
    assert schemas.PCA.names == ["path", "label", "features_pca"]
    assert spark_schema(schemas.FEATURES).simpleString() == (
        "struct<path:string,label:string,etag:string,size:bigint,model_id:string,width:int,height:int,features:array<float>>"
    )


@pytest.fixture
def rejects(tmp_path: Path) -> Path:
    folder = tmp_path / "rejects {a} [b]* 100%"
    folder.mkdir()
    columns = {name: [name] for name in reversed(schemas.REJECTS.names)} | {"size": [1], "more": [1]}
    parquet.write_table(pa.table(columns), folder / "part-0.parquet")
    (folder / "_SUCCESS").touch()
    return folder


def test_columns_come_in_the_contracts_order_under_any_name(spark: SparkSession, rejects: Path) -> None:
    check_files(f"file://{rejects}", schemas.REJECTS, "rejects")
    [row] = read_files(spark, f"file://{rejects}", schemas.REJECTS).collect()

    assert row.asDict() == {name: name for name in schemas.REJECTS.names} | {"size": 1}


def test_rows_of_all_runs_are_counted_and_read_without_their_folders_names(spark: SparkSession, rejects: Path) -> None:
    root = rejects.parent / "root"
    for run in ("run=1", "run=b"):
        (root / run).mkdir(parents=True)
        shutil.copy(rejects / "part-0.parquet", root / run)

    assert count_rows(f"file://{root}", schemas.REJECTS, "rejects") == 2
    assert read_files(spark, f"file://{root}", schemas.REJECTS).columns == schemas.REJECTS.names


def test_every_difference_is_named_at_once(rejects: Path) -> None:
    expected = r"inventory file://.*: wrong columns: last_modified: expected timestamp, found no such column$"
    with pytest.raises(JobError, match=expected):
        check_files(f"file://{rejects}", schemas.INVENTORY, "inventory")


def test_what_is_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "part-0.parquet").write_text("not Parquet")

    with pytest.raises(JobError, match=r"manifest file://.*: cannot be read"):
        check_files(f"file://{tmp_path}", schemas.MANIFEST, "manifest")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"manifest file://.*/nothing: no Parquet file there"):
        check_files(f"file://{tmp_path}/nothing", schemas.MANIFEST, "manifest")


def test_a_single_file_will_do(rejects: Path) -> None:
    assert count_rows(f"file://{rejects}/part-0.parquet", schemas.REJECTS, "rejects") == 1
