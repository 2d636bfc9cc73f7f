"""Progress of a running extraction: images done, rate, rejects, time left."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

from pyspark import Accumulator, SparkContext

from spark_jobs import uris
from spark_jobs.errors import JobError

log = logging.getLogger("extract_features")


class Progress:
    """Accumulators that the tasks add to, and a thread of the driver that logs them while they change.

    The lines are meant to be parsed as well:
    `progress images=500 total=2000 rejects=3 rate=226.1/s left=7s`.

    Args:
        context: creates the accumulators.
        total: images in the manifest.
        reused: images of it that an earlier attempt has done.
        interval: minimum seconds between two lines.
        uri: a JSON document to keep up to date as well, for whoever cannot see the log; its `message` is for people.
    """

    def __init__(
        self, context: SparkContext, total: int, reused: int = 0, interval: float = 5.0, uri: str | None = None
    ) -> None:
        self.images: Accumulator[int] = context.accumulator(0)
        self.rejects: Accumulator[int] = context.accumulator(0)
        self.cpu_seconds: Accumulator[float] = context.accumulator(0.0)
        self.slot_seconds: Accumulator[float] = context.accumulator(0.0)
        self._total = total
        self._reused = reused
        self._interval = interval
        self._uri = uri
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._report, name="progress", daemon=True)
        self._started = time.monotonic()

    def __enter__(self) -> Self:
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
        done, rejects = images + self._reused, self.rejects.value
        left = f", {(self._total - done) / rate:.0f} s left" if rate and done < self._total else ""
        message = f"{done:,} of {self._total:,} images, {rejects:,} rejects, {rate:.0f} images/s{left}"
        try:
            figures = {"images": done, "total": self._total, "rejects": rejects}
            now = {"images_now": images, "seconds": round(seconds, 1)}
            uris.write_json(self._uri, {"message": message, **figures, **now})
        except JobError as error:  # best effort: progress must not stop the work
            log.warning("progress cannot be written to %s: %s", self._uri, error)

    def line(self, images: int, rejects: int, seconds: float) -> str:
        """Return the line that says how far the job is after `images` in `seconds`."""
        rate = images / seconds if seconds else 0.0
        done = images + self._reused
        left = (self._total - done) / rate if rate else 0.0
        return f"progress images={done} total={self._total} rejects={rejects} rate={rate:.1f}/s left={left:.0f}s"

    def summary(self, rejects: int, seconds: float) -> str:
        """Return the closing line.

        It has three kinds of time: `wall_seconds` of the pass, `slot_seconds` for which tasks held a core whether or
        not they used it, and `cpu_seconds` of the tasks' Python processes, which `core_seconds_per_1000` images is a share of.

        Args:
            rejects: in the whole manifest.
            seconds: of the pass.
        """
        images = self.images.value
        rate = images / seconds if seconds else 0.0
        cost = 1000 * self.cpu_seconds.value / images if images else 0.0
        return (
            f"done images={self._total} features={self._total - rejects} rejects={rejects} reused={self._reused}"
            f" wall_seconds={seconds:.1f} rate={rate:.1f}/s slot_seconds={self.slot_seconds.value:.1f}"
            f" cpu_seconds={self.cpu_seconds.value:.1f} core_seconds_per_1000={cost:.2f}"
        )
