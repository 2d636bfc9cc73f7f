"""The parts themselves: a run goes through them, and each is gone when it is killed, and back when it is started."""

import psutil
import pytest

from tests.live.conftest import Live
from tests.live.parts import COMMANDS, wait_for

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


def test_a_run_goes_through_the_parts(live: Live) -> None:
    run_id = live.api.trigger()

    assert live.api.wait(run_id, 600) == "success", live.api.tasks(run_id)
    assert live.api.clusters() == [("TERMINATED", ["reduce_dimensions", "extract_features", "export_model"])]
    assert live.database.query("SELECT count(*) FROM dag_run WHERE state = 'success'") == "1"


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("part", list(COMMANDS))
def test_a_part_that_is_killed_can_be_started_again(live: Live, part: str) -> None:
    own, *_ = before = live.parts.processes(part)
    live.parts.kill(part)
    wait_for(lambda: not any(map(alive, before)), f"all of the {part} is gone", 30)

    live.parts.start(part)
    assert live.parts.processes(part)[0] != own
