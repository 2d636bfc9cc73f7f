"""The same results on S3: read with Arrow's client from the address that AWS_ENDPOINT_URL names."""

import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
from pyarrow import fs

from app.published import load, read_latest
from app.storage import Storage, StorageError
from tests.app.conftest import Bucket
from tests.conftest import PROJECT


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    command = [PROJECT / ".venv/airflow/bin/python", "-m", "local_emr", "--port", "0", "--exit-with-parent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        lines = iter(process.stdout)
        url = next(line.split(" ready on ")[1].split()[0] for line in lines if " ready on " in line)
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "local")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
        yield url
        process.terminate()


@pytest.mark.parametrize("prefix", ["", "/out/put"])
def test_a_bucket_is_read_as_its_copy_is(bucket: Bucket, endpoint: str, prefix: str) -> None:
    address = endpoint.removeprefix("http://")
    s3 = fs.S3FileSystem(scheme="http", endpoint_override=address, region="eu-west-3", allow_bucket_creation=True)
    s3.create_dir(bucket.name)
    where = f"{bucket.name}{prefix}"
    for folder in ("features", "models", "results"):
        fs.copy_files(str(bucket.folder / folder), f"{where}/{folder}", destination_filesystem=s3)
    fs.copy_files(str(bucket.folder / "images"), f"{bucket.name}/images", destination_filesystem=s3)
    on_s3, copied = Storage(f"s3://{where}/"), Storage(str(bucket.folder))
    found, wanted = (load(storage, read_latest(storage), np.float32) for storage in (on_s3, copied))

    assert found.paths == wanted.paths
    np.testing.assert_array_equal(found.vectors, wanted.vectors)
    image = on_s3.read_image(found.paths[0], found.root)
    assert image == copied.read_image(found.paths[0], found.root)
    with pytest.raises(FileNotFoundError):
        on_s3.read_image("s3://fruits/images/Lemon/gone.png", found.root)
    s3.create_dir("photos")  # images may lie in another bucket than the results
    fs.copy_files(str(bucket.folder / "images"), "photos", destination_filesystem=s3)
    assert on_s3.read_image(found.paths[0].replace(f"s3://{bucket.name}/images/", "s3://photos/"), found.root) == image


def test_an_endpoint_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")

    with pytest.raises(StorageError, match=r"fruits/results/latest\.json cannot be read"):
        Storage("s3://fruits").read("results/latest.json")
