"""What `make demo` reads and prints; tests/dags/test_end_to_end.py runs the whole pipeline in the same way."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from demo.__main__ import Console, copy_bucket, follow
from demo.bucket import BUCKET, REGION, DemoError, client, image_files
from demo.local_airflow import LocalAirflow
from local_emr import LocalEmr


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def keys(folders: str) -> list[str]:
    return [key for key, _ in image_files(folders)]


def test_a_folder_of_varieties(tmp_path: Path) -> None:
    make(tmp_path, "Apple/1.jpg", "Pear Abate/2.jpg")

    assert keys(str(tmp_path)) == ["Apple/1.jpg", "Pear Abate/2.jpg"]


def test_folders_of_single_varieties(tmp_path: Path) -> None:
    make(tmp_path, "Apple/1.jpg", "Pear Abate/2.jpg", "Kiwi/3.jpg")

    assert keys(f"{tmp_path}/Apple:{tmp_path}/Pear Abate") == ["Apple/1.jpg", "Pear Abate/2.jpg"]


def test_colliding_keys_raise(tmp_path: Path) -> None:
    make(tmp_path, "Training/Apple/1.jpg", "Test/Apple/1.jpg")

    with pytest.raises(DemoError, match=r"Training/Apple/1\.jpg and .*Test/Apple/1\.jpg would overwrite each other"):
        image_files(f"{tmp_path}/Training:{tmp_path}/Test")


def test_image_beside_the_variety_folders_keeps_its_key(tmp_path: Path) -> None:
    make(tmp_path, "Apple/1.jpg", "stray.jpg")  # find_new_images reports it

    assert keys(str(tmp_path)) == ["Apple/1.jpg", "stray.jpg"]


@pytest.mark.parametrize(
    ("name", "message"), [("nowhere", "there is no such folder"), ("empty", "the folder is empty")]
)
def test_missing_or_empty_folder_raises(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(DemoError, match=f"IMAGES={tmp_path}/{name}: {message}"):
        image_files(f"{tmp_path}/{name}")


LOG = """\
2026-11-22T11:17:10.3Z [info     ] [DAG TEST] starting task_id=find_new_images map_index=-1 [airflow.sdk.definitions.dag] loc=d
2026-11-22T11:17:11.3Z [info     ] 354 images under images/, 354 of them new [airflow.task.hooks] loc=inventory.py:1
2026-11-22T11:17:12.3Z [info     ] [DAG TEST] starting task_id=wait_for_cluster map_index=-1 [airflow.sdk.definitions.dag] loc=d
2026-11-22T11:17:13.3Z [info     ] [DAG TEST] starting task_id=wait_for_cluster map_index=-1 [airflow.sdk.definitions.dag] loc=d
2026-11-22T11:17:14.3Z [info     ] extract_features: 5 of 9 images, 0 rejects [emr_triggers.EmrStepTrigger] loc=e
airflow.sdk.exceptions.AirflowFailException: step extract_features (s-1) is FAILED: error: no disk
"""


def test_follow_prints_tasks_once_and_progress_and_returns_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failures = follow(LOG.splitlines(), tmp_path / "log", Console())

    shown = [line.split(" s  ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "find_new_images",
        "    354 images under images/, 354 of them new",
        "wait_for_cluster",
        "    5 of 9 images, 0 rejects",
    ]
    assert failures == ["step extract_features (s-1) is FAILED: error: no disk"]
    assert (tmp_path / "log").read_text() == LOG


def test_the_copy_of_the_bucket_has_what_the_application_needs(tmp_path: Path) -> None:
    needed = ["images/Kiwi/1 %.jpg", "features/run=a/part-1.parquet", "models/m/model.tflite", "results/latest.json"]
    needed.append("results/run=b/inventory.parquet")
    with LocalEmr(port=0) as aws:
        aws.reset()
        s3 = client("s3", aws.endpoint_url)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        for key in [*needed, "logs/x", "runs/b/inventory/inventory.parquet", "results/run=a/inventory.parquet"]:
            s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
        copy_bucket(s3, "b", tmp_path)

    copied = [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()]
    assert sorted(copied) == sorted(needed)
    assert (tmp_path / needed[0]).read_text() == needed[0]


def test_a_part_of_airflow_waits_until_another_has_written(tmp_path: Path) -> None:
    url = LocalAirflow(tmp_path, {}).environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    with create_engine(url).connect() as database:
        assert database.execute(text("PRAGMA busy_timeout")).scalar() == 60_000
    assert (tmp_path / "airflow.db").exists()
