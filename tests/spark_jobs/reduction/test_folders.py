import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spark_jobs import uris
from spark_jobs.errors import JobError
from spark_jobs.reduction import folders
from spark_jobs.stored import Stored

is_own: Callable[[str], object] = re.compile(r"part-\d\.parquet|_SUCCESS").fullmatch


def laid(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")
    return f"file://{folder}"


def left(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_only_files_of_our_own_naming_are_deleted(tmp_path: Path) -> None:
    others = [".part-1.parquet.crc", "_temporary/0/part-1.parquet"]  # nobody reads them
    uri = laid(tmp_path, "part-1.parquet", "part-2.parquet", "_SUCCESS", *others)
    folders.clear(uri, is_own)
    assert left(tmp_path) == others


def test_what_this_attempt_has_written_is_kept(tmp_path: Path) -> None:
    uri = laid(tmp_path, "part-1.parquet", "part-2.parquet")
    folders.clear(uri, is_own, {"part-2.parquet": Stored(7, "")})
    assert left(tmp_path) == ["part-2.parquet"]


@pytest.mark.parametrize("name", ["notes.txt", "copy.parquet", "deeper/part-1.parquet"])
def test_what_readers_would_read_and_we_have_not_written_is_named(tmp_path: Path, name: str) -> None:
    uri = laid(tmp_path, "part-1.parquet", name)
    with pytest.raises(
        JobError, match=rf"{re.escape(name)}: not written by this job, but readers .*: move it elsewhere"
    ):
        folders.clear(uri, is_own)
    assert left(tmp_path) == sorted([name, "part-1.parquet"])


def test_no_folder_is_an_empty_one(tmp_path: Path) -> None:
    folders.clear(f"file://{tmp_path}/absent", is_own)


def test_what_is_not_there_any_more_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"part-2\.parquet: nothing is there, this job has written Stored\(size=7, "):
        folders.clear(laid(tmp_path, "part-1.parquet"), is_own, {"part-2.parquet": Stored(7, "")})


def test_what_something_else_has_replaced_is_named(s3: Any) -> None:
    written = {
        name: uris.write_bytes(f"s3://fruits/mine/{name}", b"content") for name in ("part-1.parquet", "part-2.parquet")
    }
    folders.clear("s3://fruits/mine", is_own, written)
    uris.write_bytes("s3://fruits/mine/part-2.parquet", b"another")
    with pytest.raises(
        JobError, match=r"mine/part-2\.parquet: Stored\(size=7, .* is there, .*: something else writes into"
    ):
        folders.clear("s3://fruits/mine", is_own, written)
