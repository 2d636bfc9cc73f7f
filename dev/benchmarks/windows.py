"""The rate and the memory of a long run, window by window."""

import statistics
from typing import Any


def windows(samples: list[tuple[float, int, float]], window: float) -> dict[str, Any]:
    """Cut samples of seconds, images and MB into windows; return the rate and the MB at the end of each full one.

    Of the windows but the first, in which workers start, `rates_spread` is how far their rates are from the median, `rate_kept`
    what the last third of them makes of the first third's median, `driver_growth` the last one's memory over the first one's.
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
    third = -(-len(steady) // 3)
    kept = statistics.median(steady[-third:]) / statistics.median(steady[:third]) if len(steady) > 1 else float("nan")
    return {
        "rates": rates,
        "rates_spread": round(spread, 3),
        "rate_kept": round(kept, 3),
        "driver_mb": megabytes,
        "driver_growth": round(megabytes[-1] / megabytes[1], 3) if len(megabytes) > 2 else float("nan"),
    }
