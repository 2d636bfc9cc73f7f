"""Serve the page: python -m app RESULTS [--host 127.0.0.1] [--port 8090]."""

import argparse
import logging
import socket
import sys

import uvicorn

from app.follower import Follower
from app.settings import Settings
from app.web import create_app


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m app", description=__doc__)
    parser.add_argument("results", help="s3://bucket, s3://bucket/prefix or a folder: what holds results/latest.json")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument(
        "--poll-seconds", type=float, default=Settings.poll_seconds, help="how often to look for results"
    )
    parser.add_argument(
        "--per-minute", type=int, default=Settings.per_minute, help="photographs that one address may send in a minute"
    )
    return parser.parse_args()


def main() -> int:
    """Serve until SIGINT or SIGTERM; return the exit code."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((arguments.host, arguments.port))
        except OSError as error:
            print(
                f"app: port {arguments.port} of {arguments.host} cannot be used ({error.strerror}): stop what is there, "
                "or name another one (make app PORT=8091)",
                file=sys.stderr,
            )
            return 2
    settings = Settings(arguments.results, poll_seconds=arguments.poll_seconds, per_minute=arguments.per_minute)
    app = create_app(settings, Follower(settings))
    print(f"Which fruit is this? http://{arguments.host}:{arguments.port} (Ctrl+C stops it)", flush=True)
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        log_level="warning",
        server_header=False,
        limit_concurrency=100,
        timeout_graceful_shutdown=5,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
