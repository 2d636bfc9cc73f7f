"""Reading ahead: order, bounds on memory, and a reason for whatever cannot be read."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from sample_data import list_file
from spark_jobs.extraction import reading
from spark_jobs.extraction.reading import Content, ManifestRow, batches, file_etag, read_ahead, read_many
from spark_jobs.extraction.rejects import Reason, Rejected

AWKWARD_NAMES = [
    "r_1 100%.jpg",
    "été+=#?.jpg",
    'it\'s "q".jpg',
    "🍎.jpg",
    "a%20b.jpg",
    "[a]*{b}.jpg",
    "::y.jpg",
    "a\\b.jpg",
]


def of_size(*sizes: int) -> list[ManifestRow]:
    return [ManifestRow(f"file:///{number}", "Kiwi", None, size) for number, size in enumerate(sizes)]


def test_batches_grow_from_a_handful_to_the_full_number() -> None:
    lengths = [len(batch) for batch in batches(of_size(*[1000] * 200))]

    assert lengths == [8, 16, 32, 64, 64, 16]


def test_batches_are_bounded_by_bytes_and_a_larger_image_has_its_own() -> None:
    half, larger = reading.BATCH_BYTES // 2, reading.BATCH_BYTES * 2
    sizes = [[source.size for source in batch] for batch in batches(of_size(half, half, half, larger, 1, 1))]

    assert sizes == [[half, half], [half], [larger], [1, 1]]


def test_order_is_kept_and_at_most_one_batch_is_read_ahead() -> None:
    sources = of_size(*[1] * 100)
    read_batches: list[int] = []

    def read(batch: Sequence[ManifestRow]) -> list[Content]:
        read_batches.append(len(batch))
        return [source.path.encode() for source in batch]

    outcomes = read_ahead(sources, read)
    first = next(outcomes)
    threads_reading_ahead = [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]
    rest = list(outcomes)

    assert [source for source, _ in [first, *rest]] == sources
    assert all(content == source.path.encode() for source, content in [first, *rest])
    assert read_batches == [8, 16, 32, 44]
    assert len(threads_reading_ahead) == 1


def test_an_image_of_more_than_a_batch_is_read_when_all_before_it_are_done() -> None:
    large = reading.BATCH_BYTES + 1
    read_sizes: list[int | None] = []

    def read(batch: Sequence[ManifestRow]) -> list[Content]:
        read_sizes.extend(row.size for row in batch)
        return [b"x"] * len(batch)

    seen = [(row.size, list(read_sizes)) for row, _ in read_ahead(of_size(1, large, large, 2, 3), read)]
    small, first, second, *_ = seen

    assert small == (1, [1])
    assert first == (large, [1, large])
    assert second[1] in ([1, large, large], [1, large, large, 2, 3])  # a batch of small ones is read meanwhile
    assert [size for size, _ in seen] == [1, large, large, 2, 3]


def test_a_slow_consumer_holds_two_batches_at_most() -> None:
    started: list[int] = []

    def read(batch: Sequence[ManifestRow]) -> list[Content]:
        started.append(len(batch))
        return [b"x"] * len(batch)

    outcomes = read_ahead(of_size(*[1] * 1000), read)
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]

    assert started == [8, 16]


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_files_of_any_name_are_read(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"content")

    assert read_many([list_file(file)]) == [b"content"]


def reason(content: Content) -> Reason:
    assert isinstance(content, Rejected)
    return content.reason


def test_each_failure_takes_its_own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    for name, size in (("good", 10), ("gone", 10), ("changed", 10), ("large", 101)):
        (tmp_path / name).write_bytes(bytes(size))
    sources = [list_file(tmp_path / name) for name in ("gone", "good", "changed", "large")]
    (tmp_path / "gone").unlink()
    (tmp_path / "changed").write_bytes(bytes(11))

    gone, good, changed, large, folder = read_many([*sources, ManifestRow(f"file://{tmp_path}", None, None, None)])

    assert good == bytes(10)
    assert [reason(content) for content in (gone, changed, large, folder)] == [
        Reason.NOT_FOUND,
        Reason.CHANGED,
        Reason.TOO_LARGE,
        Reason.NOT_FOUND,
    ]


def test_a_file_larger_than_listed_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    file = tmp_path / "grown"
    file.write_bytes(bytes(1000))

    assert reason(read_many([ManifestRow(f"file://{file}", None, None, 10)])[0]) == Reason.TOO_LARGE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.touch(mode=0o000)

    assert reason(read_many([list_file(file)])[0]) == Reason.ACCESS_DENIED


def test_an_etag_of_another_kind_is_not_compared(tmp_path: Path) -> None:
    file = tmp_path / "image"
    file.write_bytes(b"content")

    assert read_many([ManifestRow(f"file://{file}", None, "9b2cf535f27731c974343645a3985328", 7)]) == [b"content"]


def test_a_files_etag_changes_with_its_content() -> None:
    assert file_etag(1_700_000_000_000_000_000, 7) == "17979cfe362a0000-7"
    assert len({file_etag(1, 7), file_etag(2, 7), file_etag(1, 8)}) == 3
