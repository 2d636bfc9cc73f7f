"""Fixtures: `pytest -p local_aws.pytest_plugin`, or import them in a conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local_aws.server import LocalAws
from local_aws.settings import Timing

# Long enough that a test can see every state, short enough that nobody waits.
QUICK = Timing(starting=0.3, bootstrapping=0.2, terminating=0.3, idle_scale=0.01, kill_grace=2.0)


@pytest.fixture(scope="session")
def local_aws_server() -> Iterator[LocalAws]:
    """One endpoint for the session; its clusters change state within a second, IdleTimeout counts in 1/100 s."""
    with LocalAws(timing=QUICK) as aws:
        yield aws


@pytest.fixture
def local_aws(local_aws_server: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    """The endpoint, empty and without faults, and the environment of AWS clients pointing at it."""
    local_aws_server.reset()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    for name, value in local_aws_server.environment().items():
        monkeypatch.setenv(name, value)
    yield local_aws_server
    local_aws_server.reset()
