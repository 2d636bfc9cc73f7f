"""What a job over S3 finds there: all that it reads and writes, as on EMR."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import s3
from benchmarks.jobs import Ran


def test_manifest_network_images_and_outputs_are_in_the_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects: dict[str, bytes] = {}
    extracted: list[tuple[str, ...]] = []

    def put(self: s3.S3, connection: object, path: str, body: bytes) -> str:
        objects[path.removeprefix("/")] = body
        return "etag"

    def extract(manifest: str, model: str, output: str, **_: object) -> Ran:
        extracted.append((manifest, model, output))
        return Ran(1, 1, 1, 1)

    monkeypatch.setattr(s3.S3, "_put", put)
    monkeypatch.setattr(s3, "extract", extract)
    image, network, pointer = tmp_path / "Pear/1.jpg", tmp_path / "model.tflite", tmp_path / "model.json"
    image.parent.mkdir()
    image.write_bytes(b"an image")
    network.write_bytes(b"a network")
    pointer.write_text(json.dumps({"model_id": "network", "uri": f"file://{network}"}))

    bucket = s3.S3("http://127.0.0.1:1")
    bucket.upload([image], pointer)
    local = bucket.manifest(1, tmp_path)
    bucket.extract(1)

    ((manifest, model, output),) = extracted
    assert all(uri.startswith("s3://bench/") for uri in (manifest, model, output))
    assert objects[json.loads(objects[model.removeprefix("s3://")])["uri"].removeprefix("s3://")] == b"a network"
    content = objects[f"{manifest.removeprefix('s3://')}/part-0.parquet"]
    assert pq.read_table(pa.BufferReader(content)).column("path").to_pylist() == ["s3://bench/images/Pear/1.jpg"]
    assert content == (local / "part-0.parquet").read_bytes()
