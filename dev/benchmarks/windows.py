"""The rate and the memory of a long run, window by window."""

import statistics
from typing import Any


def windows(samples: list[tuple[float, int, float]], window: float) -> dict[str, Any]:
    """Cut samples of seconds, images and MB into windows; return the rate and the MB at the end of each full one.

    `rates_spread` is how far the rates are from their median; the first window is left out, as workers start in it.
    """
    rates, megabytes = [], []
    begin = samples[0] if samples else (0.0, 0, 0.0)
    for sample in samples:
        if sample[0] - begin[0] >= window:
            rates.append(round((sample[1] - begin[1]) / (sample[0] - begin[0]), 1))
            megabytes.append(round(sample[2]))
            begin = sample
    steady = rates[1:]
    middle = statistics.median(steady) if steady else 0.0
    spread = max(abs(rate / middle - 1) for rate in steady) if steady and middle else float("nan")
    return {"rates": rates, "rates_spread": round(spread, 3), "driver_mb": megabytes}
