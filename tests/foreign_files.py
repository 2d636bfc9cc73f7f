"""Folders as runs, people and other programs leave them: both sides must agree on what counts in them."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

_IMAGE = {"label": "Fig", "etag": "e", "size": 1}
_FEATURES = _IMAGE | {"model_id": "net", "width": 1, "height": 1, "features": [0.5]}
_REJECT = _IMAGE | {"reason": "truncated", "detail": "why"}
_TYPES = {"size": pa.int64(), "width": pa.int32(), "height": pa.int32(), "features": pa.list_(pa.float32())}


def _parquet(path: str, row: dict, types: dict[str, pa.DataType] | None = None) -> bytes:
    row, kinds = {"path": path} | row, _TYPES | (types or {})
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in row])
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row], schema), stream)
    return stream.getvalue()


def _damaged(content: bytes) -> bytes:
    """A file of whose footer one byte is another one: Arrow calls that an OSError, as it does S3's failures."""
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for at in range(footer, len(content) - 8):
        changed = content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]
        try:
            pq.ParquetFile(io.BytesIO(changed))
        except pa.ArrowException:
            continue
        except OSError:
            return changed
    raise AssertionError("Arrow has other errors now")


_WHOLE = _parquet("not this one", _FEATURES)
LARGE = {"path": pa.large_string(), "features": pa.large_list(pa.float32())}  # as Polars writes them: the same Parquet

FEATURES = {
    "run=1/part-0.parquet": _parquet("finished run", _FEATURES),
    "run=1/_SUCCESS": b"",
    "run=2/part-000000-0123456789abcdef.parquet": _parquet("half-done run", _FEATURES),
    "run=2/part-1.parquet": _parquet("more columns", _FEATURES | {"more": "x"}),
    "run=2/part-2.parquet": _parquet("columns in another order", dict(reversed(_FEATURES.items()))),
    "run=2/part-3.parquet": _parquet("long strings and lists", _FEATURES, LARGE),
    "run=2/part-4.parquet": _parquet("dictionary", _FEATURES, {"label": pa.dictionary(pa.int32(), pa.string())}),
    # None of these counts.
    "run=2/notes.txt": b"Dear reader",
    "run=2/part-5.parquet": _WHOLE[:-20],
    "run=2/part-6.parquet": b"",
    "run=2/part-7.parquet": b"Dear reader",
    "run=2/part-8.parquet": _parquet("rejects", _REJECT),
    "run=2/part-9.parquet": _parquet("doubles", _FEATURES, {"features": pa.list_(pa.float64())}),
    "run=2/part-a.parquet": _damaged(_WHOLE),
    "run=2/copy.parquet": _WHOLE,
    "run=2/part-.parquet": _WHOLE,
    "run=2/part-0.parquet.bak": _WHOLE,
    "run=2/.part-0.parquet": _WHOLE,
    "run=2/_temporary/part-0.parquet": _WHOLE,
    "run=2/deeper/part-0.parquet": _WHOLE,
    "other/part-0.parquet": _WHOLE,
    "part-0.parquet": _WHOLE,
    "readme.txt": b"",
    "run=3/_SUCCESS": b"",
}
FEATURES_THAT_COUNT = [
    "columns in another order",
    "dictionary",
    "finished run",
    "half-done run",
    "long strings and lists",
    "more columns",
]

REJECTS = {
    "run=1/part-0.parquet": _parquet("finished run", _REJECT),
    "run=1/part-1.parquet": _parquet("features", _FEATURES),
    "run=1/part-2.parquet": _WHOLE[:-20],
    "run=1/notes.txt": b"Dear reader",
    "run=1/_SUCCESS": b"",
    "run=2/part-0.parquet": _parquet("half-done run", _REJECT),
    "part-0.parquet": _parquet("no run", _REJECT),
    "_SUCCESS": b"",
}
REJECTS_THAT_COUNT = ["finished run"]
