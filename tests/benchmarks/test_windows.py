"""The windows of a long run: what counts as flat."""

import math

from benchmarks.windows import windows


def test_rates_are_of_full_windows_and_the_first_does_not_count_as_steady() -> None:
    samples = [
        (float(second), images, 900.0 + second) for second, images in [(5, 100), (65, 700), (125, 1900), (185, 3160)]
    ]
    figures = windows([*samples, (190.0, 3200, 2000.0)], 60)

    assert figures == {"rates": [10.0, 20.0, 21.0], "rates_spread": 0.024, "driver_mb": [965, 1025, 1085]}


def test_a_run_without_a_second_window_has_no_spread() -> None:
    assert math.isnan(windows([(0.0, 1, 1.0), (70.0, 100, 1.0)], 60)["rates_spread"])
    assert windows([], 60)["rates"] == []
