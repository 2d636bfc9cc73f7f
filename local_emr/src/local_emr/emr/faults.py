"""Faults on demand: rules that say what fails, when, and how often.

A rule is a JSON object with a `fault`, that kind's own fields, and any of the fields that choose its targets. The
README lists them; `KINDS` is the same list for the code.
"""

import random
import threading
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from local_emr.s3_errors import S3_ERRORS

REQUIRED = float("nan")  # the default of a number that every rule must give

# kind -> fields that it takes, with their defaults, whose type is the field's
KINDS: dict[str, dict[str, Any]] = {
    "s3-error": {"status": 503, "code": ""},  # S3's code for the status, if none is named
    "s3-drop": {"after_bytes": 0},
    "s3-latency": {"milliseconds": REQUIRED},
    "throttle": {},
    "lost-answer": {},
    "no-capacity": {},
    "step-exit": {"exit_code": 1, "after_seconds": 0.0},
    "step-kill": {"signal": 9, "after_seconds": 0.0},
    "worker-kill": {"after_seconds": 0.0},
    "kill-node": {"after_seconds": 0.0},
    "spot-interruption": {"after_seconds": 0.0},
    "kill-executor": {"after_seconds": 0.0},
    "kill-application-master": {"after_seconds": 0.0},
    "node-without-credentials": {"after_seconds": 0.0},
    "node-without-packages": {"after_seconds": 0.0},
    "cluster-lost": {"after_seconds": 0.0},
}
# Fields that choose the targets, by kind: shell patterns matched against the request, the cluster or the step.
SELECTORS: dict[str, tuple[str, ...]] = {
    "s3-error": ("method", "bucket", "key"),
    "s3-drop": ("method", "bucket", "key"),
    "s3-latency": ("method", "bucket", "key"),
    "throttle": ("operation",),
    "lost-answer": ("operation",),
    "no-capacity": ("cluster",),
    "step-exit": ("cluster", "step"),
    "step-kill": ("cluster", "step"),
    "worker-kill": ("cluster", "step"),
    "kill-node": ("cluster", "step"),
    "spot-interruption": ("cluster", "step"),
    "kill-executor": ("cluster", "step"),
    "kill-application-master": ("cluster", "step"),
    "node-without-credentials": ("cluster", "step"),
    "node-without-packages": ("cluster", "step"),
    "cluster-lost": ("cluster", "step"),
}
# Kinds that hit requests: only there a share makes sense, and a count in time.
REQUEST_KINDS = frozenset({"s3-error", "s3-drop", "s3-latency", "throttle", "lost-answer"})
MOST = 10**9  # of a number without a limit of its own: longer times than that cannot be waited for
LIMITS = {"share": (0, 1), "times": (1, MOST), "status": (300, 599), "exit_code": (0, 255), "signal": (1, 64)}


class FaultError(ValueError):
    """An invalid rule; the message says why."""


@dataclass
class Fault:
    """One rule. `share` of the matching requests are hit, `times` of them at most (None: all)."""

    id: str
    kind: str
    fields: dict[str, Any]
    selectors: dict[str, str]
    share: float = 1.0
    times: int | None = None
    hits: int = 0
    rng: random.Random = field(default_factory=random.Random, repr=False)
    lifted: threading.Event = field(default_factory=threading.Event, repr=False)

    def description(self) -> dict[str, Any]:
        """Return the rule as the admin route shows it."""
        return {
            "id": self.id,
            "fault": self.kind,
            **self.fields,
            **self.selectors,
            "share": self.share,
            "times": self.times,
            "hits": self.hits,
        }


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: dict[str, Fault] = {}
        self._count = 0

    def add(self, **rule: Any) -> Fault:
        """Put a rule in force.

        Raises:
            FaultError: the kind or a field is unknown, or a value is out of range.
        """
        kind = rule.pop("fault", None)
        if kind not in KINDS:
            raise FaultError(f"fault must be one of {', '.join(KINDS)}, not {kind!r}")
        share, times, seed = rule.pop("share", 1.0), rule.pop("times", None), rule.pop("seed", 0)
        share = _of_type("share", share, 1.0)
        if share < 1 and kind not in REQUEST_KINDS:
            raise FaultError(f"{kind} takes no share: it hits each of its targets once")
        times = None if times is None else _of_type("times", times, 1)
        selectors = {name: str(rule.pop(name)) for name in SELECTORS[kind] if name in rule}
        if kind == "s3-error" and "code" in rule and "status" not in rule:
            rule["status"] = _status_of(rule["code"])
        unknown = rule.keys() - KINDS[kind].keys()
        if unknown:
            raise FaultError(f"{kind} has no field {', '.join(sorted(unknown))}")
        missing = [name for name, default in KINDS[kind].items() if default is REQUIRED and name not in rule]
        if missing:
            raise FaultError(f"{kind} needs {', '.join(missing)}")
        fields = {name: _of_type(name, rule.get(name, default), default) for name, default in KINDS[kind].items()}
        with self._lock:
            self._count += 1
            fault = Fault(f"f-{self._count}", kind, fields, selectors, share, times, rng=random.Random(seed))  # noqa: S311
            self._rules[fault.id] = fault
        return fault

    def remove(self, fault_id: str) -> bool:
        """Lift one rule; return False where there is none of that id."""
        with self._lock:
            fault = self._rules.pop(fault_id, None)
        if fault:
            fault.lifted.set()
        return fault is not None

    def clear(self) -> None:
        """Lift every rule."""
        with self._lock:
            lifted = list(self._rules.values())
            self._rules.clear()
        for fault in lifted:
            fault.lifted.set()

    def list(self) -> list[dict[str, Any]]:
        """Return the rules in force, with how often each one hit."""
        with self._lock:
            return [fault.description() for fault in self._rules.values()]

    def match(
        self, kind: str, attributes: Mapping[str, str | tuple[str, ...]], exclude: AbstractSet[str] = frozenset()
    ) -> Fault | None:
        """Return the first rule of that kind that selects a target with these attributes, and count the hit.

        An attribute with several values (a cluster has an id and a name) matches by any of them.

        Args:
            kind: one of `KINDS`.
            attributes: of the possible target, by the names of that kind's selectors.
            exclude: ids of rules to pass over.
        """
        if not self._rules:
            return None
        with self._lock:
            for fault in self._rules.values():
                if fault.kind != kind or fault.id in exclude or (fault.times is not None and fault.hits >= fault.times):
                    continue
                if not all(_matches(pattern, attributes[name]) for name, pattern in fault.selectors.items()):
                    continue
                if fault.share < 1 and fault.rng.random() >= fault.share:
                    continue
                fault.hits += 1
                return fault
        return None


def _of_type(name: str, value: Any, default: Any) -> Any:
    """Return the value of a field as the type of its default: a rule that fails only when it hits would fail others' work.

    Raises:
        FaultError: it is of another type, or out of range.
    """
    if isinstance(default, str):
        if not isinstance(value, str):
            raise FaultError(f"{name} must be a text, not {value!r}")
        return value
    least, most = LIMITS.get(name, (0, MOST))
    kind = type(default)
    try:
        number = kind(value)
        fits = not isinstance(value, bool) and number == float(value) and least <= number <= most
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        what = "a whole number" if kind is int else "a number"
        within = f"{least} or more" if most == MOST else f"from {least} to {most}"
        raise FaultError(f"{name} must be {what}, {within}, not {value!r}")
    return number


def _status_of(code: Any) -> int:
    if not isinstance(code, str) or code not in S3_ERRORS:
        raise FaultError(f"s3-error needs the status of code {code!r}; known are {', '.join(S3_ERRORS)}")
    return S3_ERRORS[code][0]


def _matches(pattern: str, names: str | tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for name in ((names,) if isinstance(names, str) else names))
