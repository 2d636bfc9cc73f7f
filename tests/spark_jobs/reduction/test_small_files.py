"""Many small files of features, as a nightly run leaves them: few requests for each, many at once, in bounded memory."""

import json
import random
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_jobs import files
from spark_jobs.datasets import DataFile, feature_files
from spark_jobs.errors import DamagedFileError, JobError
from spark_jobs.reduction import feature_rows
from spark_jobs.reduction.feature_rows import FETCHED_AT_ONCE, Features, Piece, pack, read
from spark_jobs.reduction.keys import Keys, sources
from spark_jobs.schemas import FEATURES


def encoded(name: str, rows: int, width: int = 2) -> bytes:
    values = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)  # nothing to compress
    table = [
        {"path": f"{name} {row}", "label": "Fig", "etag": "1", "model_id": "net", "features": values[row]}
        for row in range(rows)
    ]
    stream = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(table, FEATURES), stream, use_dictionary=["label", "model_id"])
    return stream.getvalue().to_pybytes()


@pytest.fixture
def small(tmp_path: Path) -> Features:
    """A hundred files of twenty rows."""
    for number in range(100):
        file = tmp_path / f"run={number:03}/part-0.parquet"
        file.parent.mkdir()
        file.write_bytes(encoded(f"{number:03}", 20))
    return Features(feature_files(f"file://{tmp_path}"))


def paths(features: Features) -> list[str]:
    [task] = features.tasks(1, 1, 10**6)
    return [path for batch in read(task) for path in batch["path"].to_pylist()]


def test_rows_stay_in_order_whichever_answer_comes_first(small: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, read_file = random.Random(0), files.read

    def late(path: str) -> bytes:
        time.sleep(seconds.uniform(0, 0.01))
        return read_file(path)

    monkeypatch.setattr(files, "read", late)
    some = Features(small.files, {3: pack(np.arange(20)), 4: pack(np.array([0, 19]))})
    unused = {f"003 {row}" for row in range(20)} | {"004 0", "004 19"}
    assert paths(some) == [path for path in paths(small) if path not in unused]
    assert paths(small) == [f"{number:03} {row}" for number in range(100) for row in range(20)]


class Watched:
    """What is fetched and not yet read to its end, at any time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: Counter[str] = Counter()
        self.most_bytes = self.most_files = 0
        self._lock = threading.Lock()
        fetch, batches = Piece.fetch, Piece.batches

        def watched_fetch(piece: Piece) -> bytes | None:
            with self._lock:
                self.held[piece.file.uri] = piece.fetched_bytes
                self.most_bytes = max(self.most_bytes, self.held.total())
                self.most_files = max(self.most_files, len(self.held))
            time.sleep(0.005)
            return fetch(piece)

        def watched_batches(piece: Piece, content: bytes | None) -> Iterator[pa.RecordBatch]:
            yield from batches(piece, content)
            with self._lock:
                del self.held[piece.file.uri]

        monkeypatch.setattr(Piece, "fetch", watched_fetch)
        monkeypatch.setattr(Piece, "batches", watched_batches)


def test_many_small_files_are_fetched_at_once_but_not_more(small: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    assert len(paths(small)) == 2000
    assert watched.most_files == FETCHED_AT_ONCE


@pytest.mark.parametrize("fit", [1, 3.5, 8])
def test_the_bytes_of_fetched_files_are_bounded(small: Features, monkeypatch: pytest.MonkeyPatch, fit: float) -> None:
    largest = max(file.size for file in small.files)
    monkeypatch.setattr(feature_rows, "WHOLE_BYTES", int(fit * largest))
    watched = Watched(monkeypatch)
    assert len(paths(small)) == 2000
    assert watched.most_files == int(fit)
    assert watched.most_bytes <= feature_rows.WHOLE_BYTES


def test_a_large_file_is_not_fetched_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in (("a", 5), ("b", 3000), ("c", 5)):
        (tmp_path / f"part-{name}.parquet").write_bytes(encoded(name, rows))
    features = Features(feature_files(f"file://{tmp_path}"))
    monkeypatch.setattr(feature_rows, "WHOLE_BYTES", 10_000)
    read_files: list[str] = []
    read_file = files.read
    monkeypatch.setattr(files, "read", lambda path: read_files.append(Path(path).name) or read_file(path))
    watched = Watched(monkeypatch)
    assert len(paths(features)) == 3010
    assert watched.most_files == 1
    assert read_files == ["part-a.parquet", "part-c.parquet"]


def test_rows_of_small_files_come_in_large_batches(small: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_rows, "BATCH_ROWS", 110)
    [task] = small.tasks(1, 1, 10**6)
    assert [batch.num_rows for batch in read(task)] == [60] * 33 + [20]


def test_large_batches_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_rows, "BATCH_ROWS", 10)
    given = [pa.record_batch({"row": range(rows)}) for rows in (10, 5, 4, 10, 1, 2)]
    joined = list(feature_rows._joined(given))
    assert [batch.num_rows for batch in joined] == [10, 5, 4, 10, 3]
    assert all(one is other for one, other in zip(joined[:2], given[:2], strict=True))
    assert pa.Table.from_batches(joined).equals(pa.Table.from_batches(given).combine_chunks())


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (lambda file: file.unlink(), JobError, "not found"),
        (lambda file: file.write_bytes(file.read_bytes()[:4] + bytes(600)), DamagedFileError, "cannot be read"),
        (lambda file: file.write_bytes(b"x" * file.stat().st_size), DamagedFileError, "cannot be read"),
    ],
    ids=["gone", "cut", "other content"],
)
def test_of_many_the_file_that_cannot_be_read_is_named(
    small: Features, tmp_path: Path, damage: Callable[[Path], Any], kind: type[Exception], said: str
) -> None:
    damage(tmp_path / "run=050/part-0.parquet")
    with pytest.raises(kind, match=rf"run=050/part-0\.parquet: {said}"):
        paths(small)
    with pytest.raises(kind, match=rf"run=050/part-0\.parquet: {said}"):
        Keys.read(sources([], small.files, []))


@pytest.fixture
def requests(endpoint: str) -> Iterator[Callable[[], int]]:
    """Say how many requests for objects below `small/` the endpoint has answered."""
    url = f"{endpoint}/_local_emr/faults"
    rule = json.dumps({"fault": "s3-latency", "milliseconds": 0, "key": "small/*", "method": "[GH]E*"}).encode()
    urllib.request.urlopen(urllib.request.Request(url, rule, method="POST")).close()

    def count() -> int:
        with urllib.request.urlopen(url) as answer:
            [found] = json.load(answer)["faults"]
        return found["hits"]

    yield count
    urllib.request.urlopen(urllib.request.Request(url, method="DELETE")).close()


def test_requests_for_each_small_file(s3: Any, requests: Callable[[], int]) -> None:
    """One for the footer, one for the keys, one in each pass: all that grows with the number of small runs."""
    for number in range(20):
        s3.put_object(Bucket="fruits", Key=f"small/run={number:02}/part-0.parquet", Body=encoded(f"{number}", 20, 1280))

    found = feature_files("s3://fruits/small")
    assert 100_000 < found[0].size < 110_000
    assert requests() == 20
    keys = Keys.read(sources([], found, []))
    assert len(keys.features) == 400
    assert requests() == 40
    assert len(paths(Features(found))) == 400
    assert requests() == 60


def test_of_a_large_file_the_keys_are_read_and_little_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "part-0.parquet").write_bytes(encoded("large", 1000, 1280))
    found = feature_files(f"file://{tmp_path}")
    monkeypatch.setattr(files, "read", None)
    assert len(Keys.read(sources([], found, [])).features) == 1000


def test_a_file_without_rows_is_not_read_for_keys(tmp_path: Path) -> None:
    """As most runs leave one of rejects; the files of features keep their numbers, of which positions are made."""
    for name, rows in (("a", 2), ("b", 0), ("c", 1)):
        (tmp_path / f"part-{name}.parquet").write_bytes(encoded(name, rows))
    features = feature_files(f"file://{tmp_path}")
    found = sources([], features, [DataFile("file:///empty", (), 1000), DataFile("file:///without rows", (0,), 1000)])
    assert [(source.file, source.number) for source in found] == [(features[0], 0), (features[2], 2)]


def test_a_file_of_unknown_size_is_opened(tmp_path: Path) -> None:
    (tmp_path / "part-0.parquet").write_bytes(encoded("a", 3))
    file = DataFile(f"file://{tmp_path}/part-0.parquet", (3,))
    assert file.fetch(2**30) is None
    assert paths(Features([file])) == ["a 0", "a 1", "a 2"]
