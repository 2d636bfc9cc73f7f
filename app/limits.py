"""How much one address may send."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

ADDRESSES = 10_000  # remembered: 2 MB


class RateLimit:
    """A bucket of `per_minute` tokens for each address, refilled at that rate.

    Args:
        per_minute: photographs in a minute, and at once.
        clock: seconds that only grow.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, address: str) -> float:
        """Take a token; return 0, or if there is none, the seconds until there will be one."""
        now = self._clock()
        with self._lock:
            tokens, since = self._buckets.pop(address, (self._size, now))
            tokens = min(self._size, tokens + (now - since) * self._per_second)
            wait = 0.0 if tokens >= 1 else (1 - tokens) / self._per_second
            self._buckets[address] = (tokens if wait else tokens - 1, now)
            if len(self._buckets) > ADDRESSES:
                self._buckets.popitem(last=False)
        return wait
