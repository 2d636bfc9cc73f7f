"""One kind of name for files and objects; test_reading_s3 has S3's side."""

from pathlib import Path

import pytest

from spark_jobs import uris
from spark_jobs.errors import JobError
from spark_jobs.stored import Stored


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
    assert uris.normalize(given) == expected


def test_plain_paths_are_below_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert uris.normalize("a/b") == f"file://{tmp_path}/a/b"


def test_joining() -> None:
    assert uris.join("s3://b/models/", "m-1", "model.tflite") == "s3://b/models/m-1/model.tflite"


@pytest.mark.parametrize("name", ["plain", "100% (ñ) [a]*{b}?#", "🍎 'q' \"q\""])
def test_json_comes_back_under_any_name(tmp_path: Path, name: str) -> None:
    uri = f"file://{tmp_path}/new folder/{name}.json"
    uris.write_json(uri, {"label": "Pêche"})

    assert uris.read_json(uri) == {"label": "Pêche"}
    assert uris.exists(uri)
    assert "Pêche" in (tmp_path / "new folder" / f"{name}.json").read_text()


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="nothing: not found"):
        uris.read_bytes(f"{tmp_path}/nothing")


def test_reading_what_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("{")

    with pytest.raises(JobError, match="text: not JSON"):
        uris.read_json(f"{tmp_path}/text")


def test_a_scheme_nobody_knows() -> None:
    with pytest.raises(JobError, match="gopher://x: gopher:// is not supported"):
        uris.read_bytes("gopher://x")


def test_of_two_writers_the_first_stays(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/new folder/file"

    assert uris.create(uri, b"first") == Stored(5, "")
    assert uris.create(uri, b"second") is None
    assert uris.read_bytes(uri) == b"first"
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["file"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").touch()

    for write in (uris.write_bytes, uris.create):
        with pytest.raises(JobError, match=r"/file/inside: cannot be written"):
            write(f"{tmp_path}/file/inside", b"content")
    with pytest.raises(JobError, match=r"/taken: cannot be written"):
        uris.write_bytes(f"{tmp_path}/taken", b"content")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]


def test_the_end_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")

    assert uris.read_end(f"{tmp_path}/file", 3) == (b"789", Stored(10, ""))
    assert uris.read_end(f"{tmp_path}/file", 30) == (b"0123456789", Stored(10, ""))
    with pytest.raises(JobError, match="nothing: not found"):
        uris.read_end(f"{tmp_path}/nothing", 3)


def test_files_are_listed_by_their_paths_in_the_folder(tmp_path: Path) -> None:
    for name in ("b", "a/c", "a/d e%20"):
        uris.write_bytes(f"{tmp_path}/x/{name}", b"content")

    assert uris.list_files(f"{tmp_path}/x") == {"a/c": 7, "a/d e%20": 7, "b": 7}
    assert uris.list_files(f"{tmp_path}/nothing") == {}


def test_deleting_takes_a_file_never_a_folder(tmp_path: Path) -> None:
    uris.write_bytes(f"{tmp_path}/a/b", b"")
    with pytest.raises(JobError, match=r"/a: cannot be deleted"):
        uris.delete_file(f"{tmp_path}/a")
    for _ in range(2):
        uris.delete_file(f"{tmp_path}/a/b")

    assert list((tmp_path / "a").iterdir()) == []
