"""Timings that a machine's own drift does not decide: alternating rounds, medians of ratios within a round."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from benchmarks import machine

T = TypeVar("T")

Figures = dict[str, float]


class SkippedError(Exception):
    """A row cannot be measured here; the message says why, and what to do about it."""


def alternating(rounds: int, sides: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Call every side once a round, in turn forwards and backwards, and return what each returned, by round.

    What warms the machine up, or takes it away for a while, meets all sides alike.
    """
    found: dict[str, list[T]] = {name: [] for name in sides}
    for number in range(rounds):
        seconds = {}
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            started = time.monotonic()
            found[name].append(sides[name]())
            seconds[name] = time.monotonic() - started
            machine.look()
        say(f"round {number + 1} of {rounds}: " + ", ".join(f"{name} {taken:.1f} s" for name, taken in seconds.items()))
    return found


def say(text: str) -> None:
    """Print a line of progress within a row."""
    print(f"  {text}", flush=True)


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of the ratios of each round."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))


def differences(more: Sequence[float], less: Sequence[float]) -> list[float]:
    """Return by how much `more` is more than `less`, by round.

    Raises:
        SkippedError: in most rounds it is less, so that the noise of this machine is larger than what is measured.
    """
    found = [one - other for one, other in zip(more, less, strict=True)]
    if statistics.median(found) <= 0:
        raise SkippedError("more work took less time: something else was at work; try again when the machine is quiet")
    return found
