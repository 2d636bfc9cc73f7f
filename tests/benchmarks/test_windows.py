"""The windows of a long run: what counts as flat."""

import math
import random
from collections.abc import Sequence

import pytest

from benchmarks.windows import Sample, windows


def counted(rates: Sequence[float], seconds: float = 60, at_once: int = 1, every: float = 5) -> list[Sample]:
    """Return what a run of such rates, each for so long, shows of itself: whole tasks only, every few seconds."""
    samples: list[Sample] = []
    images = 0.0
    for step in range(int(len(rates) * seconds / every) + 1):
        samples.append((step * every, int(images // at_once) * at_once, 900.0))
        images += every * rates[min(int(step * every / seconds), len(rates) - 1)]
    return samples


def test_rates_are_of_full_windows_and_those_of_the_first_minute_do_not_count() -> None:
    samples = [
        (float(second), images, 900.0 + second) for second, images in [(5, 100), (65, 700), (125, 1900), (185, 3160)]
    ]
    figures = windows([*samples, (245.0, 4360, 1145.0), (250.0, 4400, 1150.0)], 60)

    assert figures["rates"] == [20.0, 21.0, 20.0]
    assert figures["driver_mb"] == [1025, 1085, 1145]
    assert figures["rates_spread"] == 0.05
    assert figures["driver_growth"] == pytest.approx(1150 / 1025, abs=1e-3)


def test_a_run_of_fewer_than_three_windows_says_nothing() -> None:
    found = windows(counted([200, 200, 200]), 60)
    assert found["rates"] == [200.0, 200.0]
    assert all(math.isnan(found[name]) for name in ("rate_drift", "rates_spread", "rates_granularity", "driver_growth"))
    assert windows([], 60)["rates"] == []


def test_short_windows_make_the_time_that_is_left_out_as_short() -> None:
    assert len(windows(counted([200]), 10)["rates"]) == 5


@pytest.mark.parametrize("at_once", [1, 782])
@pytest.mark.parametrize("lost", [0.0, 0.1])
def test_a_rate_that_falls_is_seen_through_the_tasks_that_are_counted_whole(lost: float, at_once: int) -> None:
    rates = [210 * (1 - lost * minute / 16) for minute in range(17)]
    found = windows(counted(rates, at_once=at_once), 180)

    assert found["rate_drift"] == pytest.approx(-lost, abs=0.015)
    assert found["rates_granularity"] == pytest.approx(at_once * (2 if at_once > 1050 else 1) / (210 * 180), abs=0.03)


def test_a_rate_that_jumps_about_drifts_nowhere_but_is_not_even() -> None:
    found = windows(counted([200, 200, 100, 200, 100, 200]), 60)

    assert abs(found["rate_drift"]) < 0.05
    assert found["rates_spread"] == pytest.approx(0.5, abs=0.01)


def test_noise_of_a_neighbor_is_no_drift() -> None:
    noise = random.Random(0)
    found = windows(counted([200 + noise.uniform(-10, 10) for _ in range(96)], seconds=10), 180)

    assert abs(found["rate_drift"]) < 0.03
