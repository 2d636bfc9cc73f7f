"""Images in S3, with a latency of one's choice: local_emr in its own process."""

import http.client
import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from benchmarks.jobs import Ran, conf, extract
from benchmarks.samples import PROJECT
from sample_data import write_manifest
from spark_jobs.extraction.reading import ManifestRow

BUCKET = "bench"
REGION = "eu-west-3"


class S3:
    """A bucket on this machine that answers as late as one asks it to."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
        }
        settings = {
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            "spark.hadoop.fs.s3a.endpoint": endpoint,
            "spark.hadoop.fs.s3a.endpoint.region": REGION,
            "spark.hadoop.fs.s3a.path.style.access": "true",
        }
        self._submit = conf(settings)
        self._run = count()
        self._rows: list[ManifestRow] = []

    def upload(self, images: Sequence[Path], model: Path) -> None:
        """Put images into a new bucket, and the network that a pointer names."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.endpoint).netloc)
        location = (
            f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        )
        self._put(connection, f"/{BUCKET}", location.encode())
        for image in images:
            key = f"images/{image.parent.name}/{image.name}"
            etag = self._put(connection, f"/{BUCKET}/{urllib.parse.quote(key)}", image.read_bytes())
            self._rows.append(ManifestRow(f"s3://{BUCKET}/{key}", image.parent.name, etag, image.stat().st_size))
        pointer = json.loads(model.read_text())
        artifact = Path(urllib.parse.urlsplit(pointer["uri"]).path).read_bytes()
        pointer["uri"] = f"s3://{BUCKET}/model.tflite"
        self._put(connection, f"/{BUCKET}/model.tflite", artifact)
        self._put(connection, f"/{BUCKET}/model.json", json.dumps(pointer).encode())
        connection.close()

    def manifest(self, number: int, folder: Path) -> Path:
        """Return the manifest of the first images: a copy on this disk of what is in the bucket as well."""
        local = folder / f"manifest-s3-{number}"
        if not local.exists():
            write_manifest(local, self._rows[:number])
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.endpoint).netloc)
        for file in local.iterdir():
            self._put(connection, f"/{BUCKET}/{local.name}/{file.name}", file.read_bytes())
        connection.close()
        return local

    def extract(self, number: int) -> Ran:
        """Run extract_features on the first images, with all that it reads and writes in this bucket, into a new folder of it."""
        manifest, output = f"s3://{BUCKET}/manifest-s3-{number}", f"s3://{BUCKET}/output-{next(self._run)}"
        model = f"s3://{BUCKET}/model.json"
        return extract(manifest, model, output, submit=self._submit, environment=self.environment)

    def latency(self, milliseconds: int) -> None:
        """Delay every answer from now on."""
        self._request("DELETE", None)
        if milliseconds:
            self._request("POST", {"fault": "s3-latency", "milliseconds": milliseconds})

    def _put(self, connection: http.client.HTTPConnection, path: str, body: bytes) -> str:
        connection.request("PUT", path, body)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"PUT {path}: {response.status} {answer.decode(errors='replace')}")
        return response.getheader("ETag", "").strip('"')

    def _request(self, method: str, rule: dict[str, object] | None) -> None:
        data = json.dumps(rule).encode() if rule else None
        request = urllib.request.Request(f"{self.endpoint}/_local_emr/faults", data, method=method)
        urllib.request.urlopen(request).close()


@contextmanager
def s3() -> Iterator[S3]:
    """Serve S3 from 127.0.0.1 for the time of the block."""
    command = [str(PROJECT / ".venv/airflow/bin/python"), "-m", "local_emr", "--port", "0", "--exit-with-parent"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield S3(process.stdout.readline().split()[-1])
        finally:
            process.terminate()
