"""Fixtures: `pytest -p local_emr.pytest_plugin`, or import them in a conftest.py."""

from collections.abc import Iterator

import pytest

from local_emr.emr.settings import Timing
from local_emr.server import LocalEmr

# Long enough that a test can see every state, short enough that nobody waits.
QUICK = Timing(starting=0.3, bootstrapping=0.2, terminating=0.3, idle_scale=0.01, kill_grace=2.0)


@pytest.fixture(scope="session")
def local_emr_server() -> Iterator[LocalEmr]:
    """Serve one endpoint for the session; its clusters change state within a second, IdleTimeout counts in 1/100 s."""
    with LocalEmr(timing=QUICK) as aws:
        yield aws


@pytest.fixture
def local_emr(local_emr_server: LocalEmr, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEmr]:
    """Give the endpoint, empty and without faults, and the environment of AWS clients pointing at it."""
    local_emr_server.reset()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    for name, value in local_emr_server.environment().items():
        monkeypatch.setenv(name, value)
    yield local_emr_server
    local_emr_server.reset()
