"""The rate and the memory of a long run: do they drift, and how far are they from even?"""

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

FIRST = 60.0  # seconds in which workers start; left out
FEWEST = 3  # windows that a statement needs

Sample = tuple[float, int, float]  # seconds, images, MB


def windows(samples: Sequence[Sample], window: float) -> dict[str, Any]:
    """Cut samples into windows, after the first minute (or window, if that is shorter); return what they say.

    Returns:
        `rates` and `driver_mb`: images/s, and the MB at the end, of each full window.
        `rate_drift`: what a straight line through the rate gains from end to end, as a share of its middle; negative if it falls.
        `rates_spread`: how far a window's rate is from the median.
        `rates_granularity`: images that were counted at once at most, as a share of a window's: what of the spread says nothing.
        `driver_growth`: the MB at the end over the most that there were in the second minute.
        NaN in place of these four where there are fewer than three windows.
    """
    first = min(FIRST, window)
    steady = [sample for sample in samples if sample[0] - samples[0][0] >= first]
    ends = [steady[0]] if steady else []
    for sample in steady:
        if sample[0] - ends[-1][0] >= window:
            ends.append(sample)
    pairs = list(pairwise(ends))
    rates = [(after[1] - before[1]) / (after[0] - before[0]) for before, after in pairs]
    statements = dict.fromkeys(("rate_drift", "rates_spread", "rates_granularity", "driver_growth"), float("nan"))
    if len(rates) >= FEWEST:
        middle = statistics.median(rates)
        at_once = max(after[1] - before[1] for before, after in pairwise(steady))
        statements = {
            "rate_drift": drift(steady),
            "rates_spread": max(abs(rate / middle - 1) for rate in rates),
            "rates_granularity": at_once / (middle * window),
            "driver_growth": steady[-1][2] / max(mb for seconds, _, mb in steady if seconds - steady[0][0] <= first),
        }
    return {
        "rates": [round(rate, 1) for rate in rates],
        "driver_mb": [round(sample[2]) for sample in ends[1:]],
        **{name: round(value, 3) for name, value in statements.items()},
    }


def drift(samples: Sequence[Sample]) -> float:
    """Return the change of the rate from the first sample to the last, as a share of its mean.

    A rate on a straight line is images on a parabola. That is fitted (least squares) to the images counted so far, not a line to
    the rates of windows: these would have the error of two counts each, and a task's images are counted all at once.
    """
    begin, end = samples[0][0], samples[-1][0]
    times = [(seconds - begin) / (end - begin) for seconds, _, _ in samples]
    images = [count for _, count, _ in samples]
    squares = [time * time for time in times]
    line = statistics.linear_regression(times, squares)
    bend = [square - line.slope * time - line.intercept for time, square in zip(times, squares, strict=True)]
    curvature = sum(value * count for value, count in zip(bend, images, strict=True)) / sum(
        value * value for value in bend
    )
    return 2 * curvature / statistics.linear_regression(times, images).slope
