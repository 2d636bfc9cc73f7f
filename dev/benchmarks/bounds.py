"""What a figure is held against."""

import operator
from dataclasses import dataclass
from typing import Literal

COMPARE = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True)
class Bound:
    """The bound of one figure.

    Attributes:
        sign: at least or at most; None: shown to explain other figures, without a bound.
        value: the bound.
        meaning: what is measured, against what.
        machine: the value depends on how fast the machine is, so the bound is an indication and no verdict.
    """

    sign: Literal["≥", "≤"] | None
    value: float
    meaning: str
    machine: bool = False

    def holds(self, value: float) -> bool:
        return self.sign is None or COMPARE[self.sign](value, self.value)

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}" if self.sign else ""


Bounds = dict[str, Bound]


def at_least(value: float, meaning: str) -> Bound:
    return Bound("≥", value, meaning)


def at_most(value: float, meaning: str) -> Bound:
    return Bound("≤", value, meaning)


def indication(sign: Literal["≥", "≤"], value: float, meaning: str) -> Bound:
    """Return a bound that the machine has a say in."""
    return Bound(sign, value, meaning, machine=True)


def shown(meaning: str) -> Bound:
    """Return no bound: the figure explains others."""
    return Bound(None, 0, meaning)
