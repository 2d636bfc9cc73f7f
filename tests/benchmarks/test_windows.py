"""The windows of a long run: what counts as flat."""

import math

import pytest

from benchmarks.windows import windows


def test_rates_are_of_full_windows_and_the_first_does_not_count_as_steady() -> None:
    samples = [
        (float(second), images, 900.0 + second) for second, images in [(5, 100), (65, 700), (125, 1900), (185, 3160)]
    ]
    figures = windows([*samples, (190.0, 3200, 2000.0)], 60)

    assert figures == {
        "rates": [10.0, 20.0, 21.0],
        "rates_spread": 0.024,
        "rate_kept": 1.05,
        "driver_mb": [965, 1025, 1085],
        "driver_growth": 1.059,
    }


def test_a_run_without_a_second_window_has_no_spread() -> None:
    assert math.isnan(windows([(0.0, 1, 1.0), (70.0, 100, 1.0)], 60)["rates_spread"])
    assert windows([], 60)["rates"] == []


def test_a_rate_that_falls_and_memory_that_grows_are_seen() -> None:
    rates, seconds, images, samples = [50, 100, 102, 99, 95, 90, 80], 0, 0, [(0.0, 0, 0.0)]
    for number, rate in enumerate(rates):
        seconds, images = seconds + 60, images + 60 * rate
        samples.append((float(seconds), images, 1000.0 + 100 * number))
    figures = windows(samples, 60)

    assert figures["rate_kept"] == pytest.approx(85 / 101, abs=1e-3)
    assert figures["driver_growth"] == pytest.approx(1600 / 1100, abs=1e-3)
