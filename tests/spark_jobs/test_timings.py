"""Phases of a job, timed and logged."""

import logging
import time

import pytest

from spark_jobs.timings import Timings

log = logging.getLogger("timings-test")


def test_phases_are_kept_and_logged_as_they_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, log.name)
    timings = Timings(log)
    with timings("outer"):
        found = timings.call("inner", divmod, 7, 2)
        time.sleep(0.01)

    assert found == (3, 1)
    assert list(timings.seconds) == ["inner", "outer"]
    assert timings.seconds["outer"] >= 0.01
    assert [record.message for record in caplog.records] == ["inner: 0.0 s", "outer: 0.0 s"]


def test_a_phase_that_fails_has_no_time() -> None:
    timings = Timings(log)
    with pytest.raises(ZeroDivisionError):
        timings.call("broken", divmod, 1, 0)

    assert timings.seconds == {}
