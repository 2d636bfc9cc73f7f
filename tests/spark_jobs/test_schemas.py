"""The contracts: exact columns, and a clear word about any other."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from pyspark.sql import SparkSession

from spark_jobs import schemas
from spark_jobs.schemas import check_files, read_dataset, spark_schema
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
    assert read_dataset(spark, f"file://{rejects}", schemas.REJECTS, "rejects").columns == schemas.REJECTS.names
    assert check_files(f"file://{rejects}", schemas.REJECTS, "rejects") == 1


def test_every_difference_is_named_at_once(spark: SparkSession, rejects: Path) -> None:
    expected = r"inventory file://.*: wrong columns: last_modified: expected timestamp, found no such column$"
    with pytest.raises(JobError, match=expected):
        read_dataset(spark, f"file://{rejects}", schemas.INVENTORY, "inventory")
    with pytest.raises(JobError, match=expected):
        check_files(f"file://{rejects}", schemas.INVENTORY, "inventory")


def test_what_is_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "part-0.parquet").write_text("not Parquet")

    with pytest.raises(JobError, match=r"manifest file://.*: cannot be read"):
        check_files(f"file://{tmp_path}", schemas.MANIFEST, "manifest")


def test_what_is_not_there(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"manifest file://.*/nothing: cannot be read: .*PATH_NOT_FOUND"):
        read_dataset(spark, f"file://{tmp_path}/nothing", schemas.MANIFEST, "manifest")


def test_a_single_file_will_do(rejects: Path) -> None:
    assert check_files(f"file://{rejects}/part-0.parquet", schemas.REJECTS, "rejects") == 1
