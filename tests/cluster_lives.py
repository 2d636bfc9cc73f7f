"""How long the clusters of a whole run live on after their work, for the table of `make test-faults`; none may be left."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from fault_tests import LIVED_ON

WHOLE_RUNS = ("pipeline", "drawn_pipeline", "live", "airflow")  # fixtures on which the DAG runs, with a client of EMR
ALIVE = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING"]
ENDS_WITHIN = 60  # seconds after a test, in which a run may still be at its teardown


@pytest.fixture(autouse=True)
def clusters_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Record the most seconds between a cluster's last step and its end; fail where one has not ended."""
    name = next((name for name in WHOLE_RUNS if name in request.fixturenames), None)
    if name is None:
        yield
        return
    found = request.getfixturevalue(name)
    emr = getattr(found, "api", found).emr
    began = datetime.now(UTC)
    yield
    deadline = time.monotonic() + ENDS_WITHIN
    while alive := emr.list_clusters(ClusterStates=ALIVE)["Clusters"]:
        assert time.monotonic() < deadline, f"alive when the test is over: {[cluster['Name'] for cluster in alive]}"
        time.sleep(0.5)
    if ended := emr.list_clusters(CreatedAfter=began)["Clusters"]:
        request.node.user_properties.append((LIVED_ON, round(max(lived_on(emr, cluster) for cluster in ended), 1)))


def lived_on(emr: Any, cluster: dict[str, Any]) -> float:
    """Return the seconds from the end of a cluster's last step, or from its creation, to its own end."""
    life = cluster["Status"]["Timeline"]
    steps = [step["Status"]["Timeline"] for step in emr.list_steps(ClusterId=cluster["Id"])["Steps"]]
    idle_since = max((step["EndDateTime"] for step in steps if "EndDateTime" in step), default=life["CreationDateTime"])
    return float((life["EndDateTime"] - idle_since).total_seconds())
