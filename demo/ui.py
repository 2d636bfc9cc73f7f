"""``make ui``: Airflow with its UI, and the local AWS endpoint with images in its bucket. Ctrl+C ends both."""

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from demo.local_airflow import PROJECT, LocalAirflow
from demo.stage import BUCKET, DemoError, client, fill_bucket
from local_aws import LocalAws


@contextlib.contextmanager
def aws_environment() -> Iterator[Mapping[str, str]]:
    """Variables of the endpoint that AWS_ENDPOINT_URL names, or of one of our own for as long as the block runs."""
    if os.environ.get("AWS_ENDPOINT_URL"):
        yield {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        return
    with LocalAws(port=5555) as aws:
        yield aws.environment()


def kept_weights(endpoint_url: str) -> str | None:
    """URI of the weights in the bucket, if it is there and was filled to the end."""
    s3 = client("s3", endpoint_url)
    try:
        listing = s3.list_objects_v2(Bucket=BUCKET, Prefix="weights/")
    except s3.exceptions.NoSuchBucket:
        return None
    keys = [item["Key"] for item in listing.get("Contents", [])]
    return f"s3://{BUCKET}/{keys[0]}" if keys else None


def main() -> int:
    """Start everything; return Airflow's exit code."""
    parser = argparse.ArgumentParser(prog="demo.ui", description=__doc__)
    parser.add_argument("--images", help="folder of variety folders, or several joined with ':'")
    parser.add_argument("--weights", help="Keras MobileNetV2 weights without top, HDF5")
    parser.add_argument("--host", default="127.0.0.1", help="address that the UI listens on")
    parser.add_argument("--port", default="8080", help="its port")
    arguments = parser.parse_args()
    with aws_environment() as aws:
        endpoint_url = aws["AWS_ENDPOINT_URL"]
        try:
            # An endpoint that keeps its data has them already; the weights were uploaded last.
            weights = kept_weights(endpoint_url) or fill_bucket(
                endpoint_url, arguments.images, arguments.weights, print
            )
        except DemoError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 2
        airflow = LocalAirflow(PROJECT / ".airflow", aws, poll_seconds=2)
        airflow.migrate()
        environment = {
            **airflow.environment,
            "AIRFLOW__API__HOST": arguments.host,
            "AIRFLOW__API__PORT": arguments.port,
            "AIRFLOW__API__BASE_URL": f"http://localhost:{arguments.port}",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://localhost:{arguments.port}/execution/",
            # Nobody but this machine reaches it, so nobody has to log in.
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "FRUITS_BUCKET": BUCKET,
            "FRUITS_WEIGHTS": weights,
        }
        print(
            f"local AWS on {endpoint_url}; Airflow will be on http://localhost:{arguments.port} (Ctrl+C ends both)",
            flush=True,
        )
        command = [str(Path(sys.executable).with_name("airflow")), "standalone"]
        with subprocess.Popen(command, env=environment) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                return process.wait()


if __name__ == "__main__":
    sys.exit(main())
