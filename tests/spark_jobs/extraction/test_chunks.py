"""Cutting the manifest: a pure function of its images, whatever their sizes; and reading a chunk's rows back."""

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sample_data import write_manifest
from spark_jobs.errors import JobError
from spark_jobs.extraction.chunks import BYTES, OWN_NAME, Chunk, Limits, cut, cut_manifest, read_chunk, tasks
from spark_jobs.extraction.reading import ManifestRow


def images(*sizes: int | None) -> list[ManifestRow]:
    return [ManifestRow(f"s3://b/{number}", "Kiwi", f"e{number}", size) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, 50),
        (49, 49),
        (51, 26),  # two of 26 rather than 50 and 1
        (316, 46),
        (12_800, 50),
        (100_000, 391),
        (512_000, 2_000),
        (10_000_000, 2_000),  # more files instead of longer ones
    ],
)
def test_chunks_grow_with_the_manifest_within_bounds(number: int, expected: int) -> None:
    assert Limits.of(number, 0).images == expected


def test_the_bytes_of_a_chunk_grow_likewise() -> None:
    assert [Limits.of(100, size).bytes for size in (0, 10**11, 10**13)] == [BYTES[0], 390_625_000, BYTES[1]]


@pytest.mark.parametrize("seed", range(20))
def test_any_sizes_are_cut_within_the_limits_without_a_gap(seed: int) -> None:
    chance = random.Random(seed)
    sizes = [chance.choice([0, 1, 10, 100, 1000, None]) for _ in range(chance.randrange(200))]
    limits = Limits(chance.randrange(1, 20), chance.randrange(1, 1500))
    lengths = [length for length, _ in cut(images(*sizes), limits, "m")]

    assert sum(lengths) == len(sizes)
    first = 0
    for length in lengths:
        held = [size or 0 for size in sizes[first : first + length]]
        assert 0 < length <= limits.images
        assert sum(held) <= limits.bytes or length == 1
        following = sizes[first + length : first + length + 1]
        assert not following or length == limits.images or sum(held) + (following[0] or 0) > limits.bytes
        first += length


def test_a_name_follows_from_the_images_and_the_network_alone() -> None:
    rows = images(1, 2, 3, 4)
    names = dict.fromkeys(digest for _, digest in cut(rows, Limits(2, 100), "m"))

    assert len(names) == 2
    assert dict.fromkeys(digest for _, digest in cut(rows, Limits(2, 100), "m")) == names
    assert not names.keys() & {digest for _, digest in cut(rows, Limits(2, 100), "another")}
    replaced = [ManifestRow("s3://b/0", "Kiwi", "another", 1), *rows[1:]]
    assert [digest in names for _, digest in cut(replaced, Limits(2, 100), "m")] == [False, True]


@pytest.fixture
def manifest(tmp_path: Path) -> list[str]:
    """Two files of 130 and 7 images, in row groups of 20."""
    for name, first, length in (("a", 0, 130), ("b", 130, 7)):
        folder = write_manifest(tmp_path / name, images(*range(first + length))[first:])
        table = pq.read_table(folder)
        pq.write_table(table, folder / "part-0.parquet", row_group_size=20)
    return [f"file://{tmp_path}/{name}/part-0.parquet" for name in ("a", "b")]


def test_every_row_is_read_back_once_and_in_order(manifest: list[str]) -> None:
    chunks = cut_manifest(manifest, "m")

    assert [(chunk.manifest, chunk.first, chunk.images) for chunk in chunks] == [
        (manifest[0], 0, 46),
        (manifest[0], 46, 46),
        (manifest[0], 92, 38),
        (manifest[1], 0, 7),
    ]
    assert len({chunk.name for chunk in chunks}) == 4
    assert all(OWN_NAME.fullmatch(chunk.name) for chunk in chunks)
    assert [row for chunk in chunks for row in read_chunk(chunk, "a job")] == images(*range(137))


def test_a_manifest_that_has_become_shorter_is_named(manifest: list[str]) -> None:
    *_, last = cut_manifest(manifest[:1], "m")
    file = Path(manifest[0].removeprefix("file://"))
    pq.write_table(pq.read_table(file).slice(0, 129), file, row_group_size=20)

    with pytest.raises(JobError, match=r"a/part-0\.parquet: has changed since the step began"):
        read_chunk(last, "another job")


def test_an_empty_manifest_is_one_chunk_without_images(tmp_path: Path) -> None:
    folder = write_manifest(tmp_path / "empty", [])
    [chunk] = cut_manifest([f"file://{folder}/part-0.parquet"], "m")

    assert chunk.images == 0
    assert read_chunk(chunk, "a job") == []


@pytest.mark.parametrize("slots", [2, 8, 100])
@pytest.mark.parametrize(("number", "length"), [(0, 50), (1, 50), (7, 46), (160, 50), (256, 400), (5000, 2000)])
def test_tasks_hold_every_chunk_in_order_and_get_shorter(number: int, length: int, slots: int) -> None:
    chunks = [Chunk(f"part-{index}", "m", 0, length) for index in range(number)]
    grouped = tasks(chunks, slots)
    lengths = [len(task) for task in grouped]

    assert [chunk for task in grouped for chunk in task] == chunks
    assert lengths == sorted(lengths, reverse=True)
    assert all(len(task) == 1 or length * len(task) <= 500 for task in grouped)
    assert lengths[-slots:] == [1] * min(slots, number)


def test_few_slots_have_few_tasks() -> None:
    """A slot does nothing between two tasks: 60 chunks in tasks for a large cluster took two cores 4 % longer."""
    chunks = [Chunk(f"part-{index}", "m", 0, 50) for index in range(60)]

    assert len(tasks(chunks, 2)) == 13
    assert len(tasks(chunks, 8)) == 32
