"""Which chunks need not be computed again, and what is proven before an output is marked as finished."""

import json
from dataclasses import asdict
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pytest

from spark_jobs import uris
from spark_jobs.checksums import Checksums, images_checksum
from spark_jobs.errors import JobError
from spark_jobs.extraction.chunks import Chunk
from spark_jobs.extraction.driver import run_extraction
from spark_jobs.extraction.feature_file import encode
from spark_jobs.extraction.outputs import Outputs, check_reject_share
from spark_jobs.stored import Stored

from .test_feature_file import features, reject

CHUNKS = [Chunk(f"part-{index:06}-{index:016x}.parquet", "m", 10 * index, 10) for index in range(7)]


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    (tmp_path / "features").mkdir()
    return Outputs(f"file://{tmp_path}/features", f"file://{tmp_path}/rejects")


def write(outputs: Outputs, chunk: Chunk, content: bytes) -> Path:
    file = Path(outputs.features.removeprefix("file://")) / chunk.name
    file.write_bytes(content)
    return file


def test_whole_chunks_are_kept_and_others_deleted(outputs: Outputs, caplog: pytest.LogCaptureFixture) -> None:
    whole, with_reject, short, cut_off, of_another, transient, one_transient = CHUNKS
    kept = [write(outputs, whole, encode(features(10), [], "m"))]
    kept += [write(outputs, with_reject, encode(features(9), [reject(1)], "m"))]
    closed = {"reason": "access_denied"}
    kept += [write(outputs, one_transient, encode(features(9), [reject(1) | closed], "m"))]  # for the next run
    deleted = [write(outputs, short, encode(features(9), [], "m"))]
    deleted += [write(outputs, cut_off, encode(features(10), [], "m")[:-9])]
    deleted += [write(outputs, of_another, encode(features(10), [], "another"))]
    deleted += [write(outputs, transient, encode(features(8), [reject(1) | closed, reject(2) | closed], "m"))]

    assert outputs.committed(CHUNKS, "m", {}) == {whole.name, with_reject.name, one_transient.name}
    assert all(file.exists() for file in kept)
    assert not any(file.exists() for file in deleted)
    for text in ("9 features and 0 rejects of m for 10 images", "not a whole Parquet file", "may have passed"):
        assert text in caplog.text


def test_what_is_proven_gives_the_rejects_in_order(outputs: Outputs) -> None:
    for number, chunk in enumerate(CHUNKS):
        write(outputs, chunk, encode(features(9), [reject(number)], "m"))

    files = outputs.proven(CHUNKS, "m", {})
    assert list(files) == [chunk.name for chunk in CHUNKS]
    assert [one for file in files.values() for one in file.rejects] == [reject(number) for number in range(7)]


def test_a_missing_chunk_is_named(outputs: Outputs) -> None:
    with pytest.raises(JobError, match=rf"{CHUNKS[0].name}: not found"):
        outputs.proven(CHUNKS[:1], "m", {})


def test_a_chunk_of_other_images_is_named(outputs: Outputs) -> None:
    write(outputs, CHUNKS[0], encode(features(11), [], "m"))

    with pytest.raises(JobError, match=rf"{CHUNKS[0].name}: 11 features and 0 rejects of m for 10 images of m"):
        outputs.proven(CHUNKS[:1], "m", {})


def test_a_chunk_that_was_replaced_since_it_was_written_is_named(outputs: Outputs) -> None:
    for chunk in CHUNKS[:3]:
        write(outputs, chunk, encode(features(10), [], "m"))
    whole = outputs.proven(CHUNKS[:3], "m", {})
    # The other one is an earlier attempt's.
    written = {chunk.name: whole[chunk.name].stored for chunk in CHUNKS[1:3]}

    assert outputs.proven(CHUNKS[:3], "m", written) == whole
    others = {name: stored._replace(etag="another") for name, stored in written.items()}
    with pytest.raises(JobError, match=rf"{CHUNKS[1].name}: .* was there, this job has written Stored\(.*another"):
        outputs.proven(CHUNKS[:3], "m", others)
    assert outputs.committed(CHUNKS[:3], "m", {}) == {CHUNKS[0].name}, "the next attempt must not take them for its own"


def close(outputs: Outputs, chunks: list[Chunk] = CHUNKS) -> None:
    files = outputs.proven(chunks, "m", {})
    rejects = [one for file in files.values() for one in file.rejects]
    outputs.close("m", files, rejects, outputs.write_rejects(rejects))


def test_marks_say_what_was_written(outputs: Outputs) -> None:
    contents = [encode(features(9), [reject(number)], "m") for number in range(7)]
    files = [write(outputs, chunk, content) for chunk, content in zip(CHUNKS, contents, strict=True)]
    close(outputs)

    said = json.loads((files[0].parent / "_SUCCESS").read_bytes())
    assert said["model_id"] == "m"
    checksums = asdict(Checksums.of(features(9)))
    assert said["files"] == {
        file.name: {"size": file.stat().st_size, "etag": "", "rows": 9} | checksums for file in files
    }
    [rejects] = json.loads(uris.read_bytes(f"{outputs.rejects}/_SUCCESS"))["files"].values()
    assert rejects["rows"] == 7
    assert rejects["images"] == images_checksum((f"s3://b/é{number}", "e") for number in range(7))
    assert rejects["size"] == len(uris.read_bytes(f"{outputs.rejects}/part-00000.parquet"))


def test_what_has_changed_since_it_was_marked_is_computed_again(
    outputs: Outputs, caplog: pytest.LogCaptureFixture
) -> None:
    for chunk in CHUNKS:
        write(outputs, chunk, encode(features(10), [], "m"))
    close(outputs)
    lighter = features(10).set_column(1, "label", pa.array(["Fig"] * 10))
    file = write(outputs, CHUNKS[2], encode(lighter.cast(features(1).schema), [], "m"))

    assert outputs.committed(CHUNKS, "m", outputs.marked()) == {chunk.name for chunk in CHUNKS} - {CHUNKS[2].name}
    assert not file.exists()
    assert f"{CHUNKS[2].name} is computed again: it has changed since it was written" in caplog.text
    outputs.open()
    assert not (file.parent / "_SUCCESS").exists()


def test_an_attempt_that_fails_while_it_looks_leaves_the_marks(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chunk in CHUNKS:
        write(outputs, chunk, encode(features(10), [], "m"))
    close(outputs)
    monkeypatch.setattr("spark_jobs.extraction.outputs.read_committed", Mock(side_effect=JobError("S3 fails")))
    with pytest.raises(JobError, match="S3 fails"):
        run_extraction(Mock(), CHUNKS, Mock(), outputs)
    assert uris.exists(f"{outputs.features}/_SUCCESS"), "the next attempt must know what was written"


def test_rejects_do_not_count_as_tries_before_the_features_are_marked(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = uris.write_bytes
    for chunk in CHUNKS:
        write(outputs, chunk, encode(features(10), [], "m"))

    def fail(uri: str, content: bytes) -> Stored:
        if uri == f"{outputs.features}/_SUCCESS":
            raise JobError("S3 fails")
        return write_bytes(uri, content)

    monkeypatch.setattr(uris, "write_bytes", fail)
    with pytest.raises(JobError, match="S3 fails"):
        close(outputs)
    assert not uris.exists(f"{outputs.rejects}/_SUCCESS")


@pytest.mark.parametrize("mark", [None, b"", b"Dear reader", b"[]", b'{"files": {"a": 1}}'])
def test_a_mark_that_says_nothing_of_files_is_taken_back_as_well(outputs: Outputs, mark: bytes | None) -> None:
    if mark is not None:
        uris.write_bytes(f"{outputs.features}/_SUCCESS", mark)

    assert outputs.marked() == {}
    outputs.open()
    assert not uris.exists(f"{outputs.features}/_SUCCESS")


def test_only_files_of_our_own_naming_are_deleted(outputs: Outputs) -> None:
    names = ["notes.txt", "part-0.parquet", "part-000009-00000000000000ff.parquet", CHUNKS[0].name]
    for name in names:
        write(outputs, Chunk(name, "m", 0, 0), b"")
    write(outputs, CHUNKS[0], encode(features(10), [], "m"))
    close(outputs, CHUNKS[:1])
    folder = Path(outputs.features.removeprefix("file://"))

    assert sorted(file.name for file in folder.iterdir()) == sorted(
        ["_SUCCESS", "notes.txt", "part-0.parquet", CHUNKS[0].name]
    )


def test_rejects_within_the_share_pass() -> None:
    check_reject_share([], 0, 0.05)
    check_reject_share([reject(1)], 20, 0.05)


def test_too_many_rejects_are_counted_by_reason() -> None:
    rejects = [reject(number) for number in range(5)] + [reject(9) | {"reason": "corrupt"}]

    with pytest.raises(JobError) as error:
        check_reject_share(rejects, 100, 0.05)
    assert str(error.value) == (
        "6 of 100 images rejected, more than max_reject_share 0.05:"
        " empty 5 (s3://b/é0, s3://b/é1, s3://b/é2); corrupt 1 (s3://b/é9)"
    )


def test_all_images_rejected_fail_whatever_the_share() -> None:
    with pytest.raises(JobError, match="2 of 2 images rejected, no image can be used"):
        check_reject_share([reject(1), reject(2)], 2, 1)
