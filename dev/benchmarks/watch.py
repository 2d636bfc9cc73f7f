"""What a running extraction tells of itself, and what its driver and its workers take."""

import json
import threading
import time
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.memory import worker_peak
from benchmarks.windows import Sample, windows

INTERVAL = 1.0


class Watch:
    """Follows the progress of a step and the memory of its driver for the time of the block.

    Args:
        s3: a client.
        bucket: of the document of progress.
        key: of that document.
        script: in the command of the driver's JVM and of its Python process.
    """

    def __init__(self, s3: Any, bucket: str, key: str, script: str) -> None:
        self._s3, self._bucket, self._key, self._script = s3, bucket, key, script
        self._samples: list[Sample] = []
        self._worker_mb = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def figures(self, window: float) -> dict[str, Any]:
        """Return the figures of `windows`, of windows of so many seconds, the largest worker's MB, and the samples."""
        begin = self._samples[0][0] if self._samples else 0.0
        worker = round(self._worker_mb) or float("nan")  # none was seen: no /proc
        samples = [(round(seconds - begin, 1), images, round(mb)) for seconds, images, mb in self._samples]
        return {**windows(self._samples, window), "worker_peak_mb": worker, "samples": samples}

    def _follow(self) -> None:
        last = 0
        while not self._done.wait(INTERVAL):
            images = self._images()
            if images > last:
                last = images
                self._samples.append((time.monotonic(), images, self._megabytes()))

    def _images(self) -> int:
        try:
            return int(json.load(self._s3.get_object(Bucket=self._bucket, Key=self._key)["Body"])["images"])
        except (self._s3.exceptions.ClientError, ValueError):
            return 0

    def _megabytes(self) -> float:
        total = 0
        for process in psutil.Process().children(recursive=True):
            self._worker_mb = max(self._worker_mb, worker_peak(process.pid))
            try:
                command = process.cmdline()
                if any(self._script in word for word in command) and command[0].endswith(("/java", "/python")):
                    total += process.memory_info().rss
            except (psutil.Error, IndexError):
                continue
        return total / 2**20
