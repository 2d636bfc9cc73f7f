"""What a running extraction tells: images done, rate, rejects, time left."""

import logging
import threading
import time
from types import TracebackType

from pyspark import Accumulator, SparkContext

from spark_jobs import storage
from spark_jobs.sessions import JobError

log = logging.getLogger("extract_features")


class Progress:
    """Counters that the tasks add to, and a thread of the driver that logs them while they change.

    Tasks report as they end, so the numbers move task by task. The lines are made to be parsed as well:
    `progress images=500 total=2000 rejects=3 rate=226.1/s left=7s`.

    Args:
        context: whose accumulators count.
        total: images in the manifest.
        interval: seconds between two lines at least.
        uri: a JSON document to keep up to date too, for whoever cannot see the log; its `message` is for people.
    """

    def __init__(self, context: SparkContext, total: int, interval: float = 5.0, uri: str | None = None):
        self.images: Accumulator[int] = context.accumulator(0)
        self.rejects: Accumulator[int] = context.accumulator(0)
        self.core_seconds: Accumulator[float] = context.accumulator(0.0)
        self._total = total
        self._interval = interval
        self._uri = uri
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._report, name="progress", daemon=True)
        self._started = time.monotonic()

    def __enter__(self) -> "Progress":
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if kind is None:
            self._publish(self.images.value, time.monotonic() - self._started)

    def _report(self) -> None:
        reported = 0
        while not self._done.wait(self._interval):
            if self.images.value != reported:
                reported = self.images.value
                seconds = time.monotonic() - self._started
                log.info(self.line(reported, self.rejects.value, seconds))
                self._publish(reported, seconds)

    def _publish(self, images: int, seconds: float) -> None:
        if not self._uri:
            return
        rate = images / seconds if seconds else 0.0
        left = f", {(self._total - images) / rate:.0f} s left" if rate and images < self._total else ""
        rejects = self.rejects.value
        message = f"{images:,} of {self._total:,} images, {rejects:,} rejects, {rate:.0f} images/s{left}"
        try:
            storage.write_json(
                self._uri, {"message": message, "images": images, "total": self._total, "rejects": rejects}
            )
        except JobError as error:  # nice to have: it must not stop the work
            log.warning("progress cannot be written to %s: %s", self._uri, error)

    def line(self, images: int, rejects: int, seconds: float) -> str:
        """Return one line of progress after `seconds`."""
        rate = images / seconds if seconds else 0.0
        left = (self._total - images) / rate if rate else 0.0
        return f"progress images={images} total={self._total} rejects={rejects} rate={rate:.1f}/s left={left:.0f}s"

    def summary(self, images: int, rejects: int, seconds: float) -> str:
        """Return the closing line: what was done, and what 1,000 images cost in seconds of one core."""
        cost = 1000 * self.core_seconds.value / images if images else 0.0
        rate = images / seconds if seconds else 0.0
        return (
            f"done images={images} features={images - rejects} rejects={rejects} seconds={seconds:.1f}"
            f" rate={rate:.1f}/s core_seconds_per_1000={cost:.2f}"
        )
