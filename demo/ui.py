"""`make ui`: Airflow with its UI, and the local AWS endpoint with images in its bucket. Ctrl+C ends both.

The bucket, its results and the record of clusters are kept below AIRFLOW_HOME, as Airflow keeps its runs. The endpoint runs what
it is sent: `--host` opens Airflow's UI to others, never the endpoint, which answers no web page but its own.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from demo.airflow_server import AirflowServer
from demo.bucket import BUCKET, DemoError, fill_bucket, queue_of_new_images
from demo.local_airflow import PROJECT, LocalAirflow
from demo.local_spark import SPARK
from demo.ports import only_user_of, require_free
from local_emr import LocalEmr

DAG_ID = "fruit_features"
INTERRUPTED = 130  # exit code after Ctrl+C


@contextlib.contextmanager
def aws_environment(port: int, data_dir: Path) -> Iterator[Mapping[str, str]]:
    """Yield the variables of the endpoint that AWS_ENDPOINT_URL names, else of a new one that ends with the block."""
    if os.environ.get("AWS_ENDPOINT_URL"):
        yield {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        return
    require_free("127.0.0.1", port, "the local AWS endpoint", "make ui ENDPOINT_PORT=<another>")
    with LocalEmr(port=port, spark=SPARK, data_dir=data_dir) as aws:
        yield aws.environment()


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="demo.ui", description=__doc__)
    parser.add_argument("--images", help="folder of variety folders, or several joined with ':'")
    parser.add_argument("--weights", help="Keras MobileNetV2 weights without top, HDF5")
    parser.add_argument("--host", default="127.0.0.1", help="address that the UI listens on")
    parser.add_argument("--port", type=int, default=8080, help="port of the UI")
    parser.add_argument("--endpoint-port", type=int, default=5555, help="port of the local AWS endpoint")
    parser.add_argument("--home", type=Path, default=PROJECT / ".airflow", help="AIRFLOW_HOME")
    parser.add_argument("--notify", metavar="URL", help="failed and late runs are told to this webhook")
    parser.add_argument("--deadline-hours", type=float, default=1, help="when a run is late, with --notify")
    parser.add_argument("--events", action="store_true", help="new images in the bucket start a run by themselves")
    return parser.parse_args()


def server_settings(host: str, port: int, weights: str) -> dict[str, str]:
    """Return what `airflow standalone` needs besides the settings of every local Airflow."""
    return {
        "AIRFLOW__API__HOST": host,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://localhost:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://localhost:{port}/execution/",
        # It listens on this machine only, so no login is needed.
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        # A worker each, from the start. The DAG's longest tasks are deferred, so that few run at once.
        "AIRFLOW__CORE__PARALLELISM": "4",
        # A laptop that runs Spark beside it answers late; a start that is given up after 5 s blocks its task for minutes.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "FRUITS_BUCKET": BUCKET,
        "FRUITS_WEIGHTS": weights,
    }


def notify_settings(url: str, deadline_hours: float) -> dict[str, str]:
    """Return what makes failed and late runs known to a webhook."""
    return {
        "AIRFLOW_CONN_FRUITS_WEBHOOK": json.dumps({"conn_type": "http", "host": url}),
        "FRUITS_NOTIFY_CONN": "fruits_webhook",
        "FRUITS_DEADLINE_HOURS": str(deadline_hours),
    }


def link_settings(endpoint_url: str) -> dict[str, str]:
    """Return where the links of Airflow's tasks lead: to the endpoint's own pages."""
    cluster = f"{endpoint_url}/_local_emr/clusters/{{cluster}}"
    step = f"{cluster}/steps/{{step}}"
    return {
        "FRUITS_CLUSTER_LINK": cluster,
        "FRUITS_STEP_LOG_LINK": step,
        "FRUITS_SPARK_HISTORY_LINK": f"{step}/spark-history",
    }


def event_settings(endpoint_url: str) -> dict[str, str]:
    """Return what makes new images start a run; the sweep is set to a day that hardly ever comes: it would only surprise here."""
    return {"FRUITS_QUEUE_URL": queue_of_new_images(endpoint_url), "FRUITS_SCHEDULE": "0 0 29 2 *"}


def guide(aws: Mapping[str, str], server: AirflowServer, home: Path, log: Path) -> str:
    """Return the lines that a person needs to begin."""
    credentials = " ".join(f"{name}={aws[name]}" for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID") if name in aws)
    return f"""
Airflow       {server.url}/dags/{DAG_ID}: press Trigger
local AWS     {aws["AWS_ENDPOINT_URL"]}/_local_emr/, kept in {os.path.relpath(home)} until `make clean`
more images   drop a folder of them on {aws["AWS_ENDPOINT_URL"]}/_local_emr/s3/{BUCKET}/images/, or
              {credentials} AWS_SECRET_ACCESS_KEY=local aws s3 cp kiwi.jpg s3://{BUCKET}/images/Kiwi/
Airflow's log {os.path.relpath(log)}
Ctrl+C        stops all of it"""


def serve(arguments: argparse.Namespace) -> int:
    """Start the endpoint and Airflow and watch them; return the exit code.

    Raises:
        DemoError: something cannot start.
    """
    home: Path = arguments.home
    started = time.monotonic()
    require_free(arguments.host, arguments.port, "Airflow's UI", "make ui PORT=<another>")
    with only_user_of(home), aws_environment(arguments.endpoint_port, home / "aws") as aws:
        endpoint_url = aws["AWS_ENDPOINT_URL"]
        print(f"local AWS on {endpoint_url}; starting Airflow", flush=True)
        weights = fill_bucket(endpoint_url, arguments.images, arguments.weights, lambda line: print(line, flush=True))
        airflow = LocalAirflow(home, aws, poll_seconds=2)
        airflow.migrate()
        log = home / "ui.log"
        environment = airflow.environment | server_settings(arguments.host, arguments.port, weights)
        environment |= link_settings(endpoint_url)
        if arguments.events:
            environment |= event_settings(endpoint_url)
        if arguments.notify:
            environment |= notify_settings(arguments.notify, arguments.deadline_hours)
        with AirflowServer(environment, arguments.port, log) as server:
            server.wait_until_ready(DAG_ID)
            print(f"ready after {time.monotonic() - started:.0f} s\n{guide(aws, server, home, log)}", flush=True)
            ended = server.wait_until_it_ends()
        raise DemoError(f"{ended} has ended by itself, so all of Airflow was stopped: see {log}")


def main() -> int:
    """Serve until Ctrl+C, SIGTERM or the end of a part; return the exit code."""
    # SIGINT too: a shell without job control has its background jobs ignore it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return serve(parse_arguments())
    except KeyboardInterrupt:
        return INTERRUPTED
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
