"""What the figures were measured on, and whether anything else was at work there."""

import os
import platform
import re
import statistics
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Instructions that decide how fast LiteRT's kernels are: of x86, then of arm64.
FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "asimddp", "sve", "sve2")

# What tells one generation of processors from another: x86's, then arm64's.
GENERATION = ("cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU revision")

CPUINFO = Path("/proc/cpuinfo")
STAT = Path("/proc/stat")
MOMENT = 0.3  # seconds: 60 ticks of two cores
_seen: list[float] = []  # by `look`, since the row began


@dataclass(frozen=True)
class Machine:
    """The processor's name and generation, which of `FLAGS` it has, and how many of its cores this process may use."""

    cpu: str
    flags: str
    cores: int

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} core{'s' * (self.cores != 1)} ({self.flags or 'flags unknown'})"


def this_machine(cpuinfo: str | None = None) -> Machine:
    """Describe this machine, from Linux's /proc/cpuinfo where there is one."""
    if cpuinfo is None:
        cpuinfo = CPUINFO.read_text() if CPUINFO.exists() else ""
    name = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    listed = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    has = set(listed[1].split()) if listed else set()
    cpu = name[1].strip() if name else platform.processor() or platform.machine()
    # A virtual machine may tell no more than "AMD EPYC" of quite different processors; these numbers are of one generation.
    numbers = [re.search(rf"^{field}\s*:\s*(\S+)$", cpuinfo, re.MULTILINE) for field in GENERATION]
    if any(numbers):
        cpu += f" {'/'.join(number[1] for number in numbers if number)}"
    return Machine(cpu, " ".join(flag for flag in FLAGS if flag in has), usable_cores())


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float:
    """Return the load average of the last minute; a benchmark's own work is in it."""
    return round(os.getloadavg()[0], 2)


def others(seconds: float = 1.0) -> float:
    """Return the share of all cores that others used while this process slept; 0 where Linux does not say.

    Called between rows, when nothing of ours runs. Time that the hypervisor gave to other guests counts.
    """
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    total = sum(after) - sum(before)
    idle = after[3] + after[4] - before[3] - before[4]  # idle, waiting for a disk
    return round(1 - idle / total, 2) if total else 0.0


def look() -> None:
    """Look for a moment at what others do. For between two runs of a row, when nothing of ours is at work.

    It cannot be told while a run is: the daemon of Spark's Python workers, like Ray's, leaves no trace of what they took.
    """
    _seen.append(others(MOMENT))


class Conditions:
    """Measures from now on what a row is measured under."""

    def __init__(self) -> None:
        self._began, self._load, self._others = datetime.now(UTC), load(), others()
        _seen.clear()
        self._started, self._ticks = time.monotonic(), _ticks()

    def stolen(self) -> float:
        """Return the share of all cores that the hypervisor has given to other guests; 0 where Linux does not say.

        It takes nothing from a guest that waits, so that `others` cannot see it.
        """
        passed = [now - then for now, then in zip(_ticks(), self._ticks, strict=True)]
        return round(passed[7] / sum(passed), 2) if sum(passed) else 0.0

    def so_far(self) -> dict[str, Any]:
        """Return the attributes of `table.Measured` that are not about figures."""
        seconds, stolen = time.monotonic() - self._started, self.stolen()
        return {
            "began": self._began.isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "load": (self._load, load()),
            "others": (self._others, others()),
            "between": round(statistics.median(_seen), 2) if _seen else 0.0,
            "stolen": stolen,
        }


def _ticks() -> list[int]:
    """Return what all cores did: user, nice, system, idle, iowait, irq, softirq, steal."""
    return [int(value) for value in STAT.read_text().split("\n", 1)[0].split()[1:9]] if STAT.exists() else [0] * 8
