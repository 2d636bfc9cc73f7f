"""One kind of name for files and objects; test_reading_s3 has S3's side."""

from pathlib import Path

import pytest

from spark_jobs import storage
from spark_jobs.sessions import JobError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/a/b", "file:///a/b"),
        ("/a/b/", "file:///a/b"),
        ("file:///a b#c?d%20", "file:///a b#c?d%20"),
        ("s3://b/k k/", "s3://b/k k"),
        ("s3a://b/k", "s3://b/k"),
    ],
)
def test_uris_are_plain_text(given: str, expected: str) -> None:
    assert storage.normalize(given) == expected


def test_plain_paths_are_below_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert storage.normalize("a/b") == f"file://{tmp_path}/a/b"


def test_joining_and_parting() -> None:
    assert storage.join("s3://b/models/", "m-1", "model.tflite") == "s3://b/models/m-1/model.tflite"
    assert storage.parent("s3://b/models/m-1/") == "s3://b/models"


@pytest.mark.parametrize("name", ["plain", "100% (ñ) [a]*{b}?#", "🍎 'q' \"q\""])
def test_json_comes_back_under_any_name(tmp_path: Path, name: str) -> None:
    uri = f"file://{tmp_path}/new folder/{name}.json"
    storage.write_json(uri, {"label": "Pêche"})

    assert storage.read_json(uri) == {"label": "Pêche"}
    assert storage.exists(uri)
    assert "Pêche" in (tmp_path / "new folder" / f"{name}.json").read_text()


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="nothing: not found"):
        storage.read_bytes(f"{tmp_path}/nothing")


def test_reading_what_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("{")

    with pytest.raises(JobError, match="text: not JSON"):
        storage.read_json(f"{tmp_path}/text")


def test_a_scheme_nobody_knows() -> None:
    with pytest.raises(JobError, match="gopher://x: no filesystem for gopher"):
        storage.filesystem("gopher://x")


def test_deleting_a_folder_and_what_is_not_there(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/a/b/c", b"")
    for _ in range(2):
        storage.delete(f"{tmp_path}/a")

    assert list(tmp_path.iterdir()) == []


def test_only_empty_folders_are_deleted_as_such(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    storage.write_bytes(f"{tmp_path}/full/file", b"")
    for name in ("empty", "full", "missing"):
        storage.delete_empty_folder(f"{tmp_path}/{name}")

    assert [path.name for path in tmp_path.iterdir()] == ["full"]
