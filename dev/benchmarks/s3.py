"""Images in S3, with a latency of one's choice: local_emr in its own process."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.jobs import conf
from benchmarks.samples import PROJECT
from sample_data import write_manifest
from spark_jobs import uris
from spark_jobs.extraction.reading import ManifestRow

BUCKET = "bench"


class S3:
    """A bucket that answers `latency` milliseconds late."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "eu-west-3",
        }
        settings = {
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            "spark.hadoop.fs.s3a.endpoint": endpoint,
            "spark.hadoop.fs.s3a.endpoint.region": "eu-west-3",
            "spark.hadoop.fs.s3a.path.style.access": "true",
        }
        self.submit = conf(settings)

    def upload(self, images: Sequence[Path], folder: Path) -> Path:
        """Put images into the bucket and return a local manifest of them."""
        os.environ |= self.environment
        fs, _ = uris.filesystem("s3://")
        fs.mkdir(BUCKET, region_name="eu-west-3")
        rows = []
        for image in images:
            key = f"images/{image.parent.name}/{image.name}"
            etag = fs.call_s3("put_object", Bucket=BUCKET, Key=key, Body=image.read_bytes())["ETag"].strip('"')
            rows.append(ManifestRow(f"s3://{BUCKET}/{key}", image.parent.name, etag, image.stat().st_size))
        return write_manifest(folder, rows)

    def latency(self, milliseconds: int) -> None:
        """Delay every answer from now on."""
        self._request("DELETE", None)
        if milliseconds:
            self._request("POST", {"fault": "s3-latency", "milliseconds": milliseconds})

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
