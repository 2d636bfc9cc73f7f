"""`make ui`: Airflow with its UI, and the local AWS endpoint with images in its bucket. Ctrl+C ends both."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from demo.bucket import BUCKET, DemoError, client, fill_bucket
from demo.local_airflow import PROJECT, LocalAirflow
from demo.local_spark import SPARK
from local_emr import LocalEmr


@contextlib.contextmanager
def aws_environment(port: int) -> Iterator[Mapping[str, str]]:
    """Yield the variables of the endpoint that AWS_ENDPOINT_URL names, else of a new one on `port` that ends with the block."""
    if os.environ.get("AWS_ENDPOINT_URL"):
        yield {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        return
    with LocalEmr(port=port, spark=SPARK) as aws:
        yield aws.environment()


def uploaded_weights(endpoint_url: str) -> str | None:
    """Return the URI of the weights in the bucket; None unless the bucket was filled completely."""
    s3 = client("s3", endpoint_url)
    try:
        listing = s3.list_objects_v2(Bucket=BUCKET, Prefix="weights/")
    except s3.exceptions.NoSuchBucket:
        return None
    keys = [item["Key"] for item in listing.get("Contents", [])]
    return f"s3://{BUCKET}/{keys[0]}" if keys else None


def run_until_interrupted(command: Sequence[str], environment: Mapping[str, str], grace_seconds: float = 15) -> int:
    """Run a command until it ends, or until Ctrl+C or SIGTERM; return its exit code.

    The command gets a session of its own. In the terminal's process group each component of Airflow would get the terminal's
    SIGINT and, a moment later, SIGTERM from `airflow standalone`; the second signal interrupts the handler of the first while
    it holds a lock, and the component never ends.

    Args:
        command: the program and its arguments.
        environment: its environment variables.
        grace_seconds: how long it may take to stop after the signal; then its whole session is killed.
    """
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # SIGINT too: a shell without job control has its background jobs ignore it
        signal.signal(number, signal.default_int_handler)
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl+C must not interrupt the clean-up
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_seconds)
            return 130
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what is left of the session


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="demo.ui", description=__doc__)
    parser.add_argument("--images", help="folder of variety folders, or several joined with ':'")
    parser.add_argument("--weights", help="Keras MobileNetV2 weights without top, HDF5")
    parser.add_argument("--host", default="127.0.0.1", help="address that the UI listens on")
    parser.add_argument("--port", default="8080", help="port of the UI")
    parser.add_argument("--endpoint-port", type=int, default=5555, help="port of the local AWS endpoint")
    parser.add_argument("--home", type=Path, default=PROJECT / ".airflow", help="AIRFLOW_HOME")
    return parser.parse_args()


def standalone_environment(host: str, port: str, weights: str) -> dict[str, str]:
    """Return what `airflow standalone` needs besides the settings of every local Airflow."""
    return {
        "AIRFLOW__API__HOST": host,
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__BASE_URL": f"http://localhost:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://localhost:{port}/execution/",
        # It listens on this machine only, so no login is needed.
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "FRUITS_BUCKET": BUCKET,
        "FRUITS_WEIGHTS": weights,
    }


def main() -> int:
    """Start the endpoint and Airflow; return Airflow's exit code."""
    arguments = parse_arguments()
    with aws_environment(arguments.endpoint_port) as aws:
        endpoint_url = aws["AWS_ENDPOINT_URL"]
        try:
            # A persistent endpoint may be filled already; weights are uploaded last.
            weights = uploaded_weights(endpoint_url) or fill_bucket(
                endpoint_url, arguments.images, arguments.weights, print
            )
        except DemoError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 2
        airflow = LocalAirflow(arguments.home, aws, poll_seconds=2)
        airflow.migrate()
        url = f"http://localhost:{arguments.port}"
        print(f"local AWS on {endpoint_url}; Airflow will be on {url} (Ctrl+C stops both)", flush=True)
        command = [str(Path(sys.executable).with_name("airflow")), "standalone"]
        environment = airflow.environment | standalone_environment(arguments.host, arguments.port, weights)
        return run_until_interrupted(command, environment)


if __name__ == "__main__":
    sys.exit(main())
