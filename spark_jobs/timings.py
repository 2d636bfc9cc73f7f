"""How long the phases of a job take."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Timings:
    """Durations of named phases, which may overlap.

    Attributes:
        log: gets a line at the end of each phase.
        seconds: by phase, in order of their ends.
    """

    log: logging.Logger
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Time the body as `phase`."""
        start = time.perf_counter()
        yield
        self.seconds[phase] = round(time.perf_counter() - start, 3)
        self.log.info("%s: %.1f s", phase, self.seconds[phase])

    def call(self, phase: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns, timed as `phase`: for calls that a thread pool makes."""
        with self(phase):
            return function(*args, **kwargs)
