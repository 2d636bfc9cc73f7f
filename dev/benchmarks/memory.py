"""The memory of the processes below one."""

import re
import threading
from pathlib import Path


class PeakMemory:
    """Watches the Python workers below a process; Linux only, elsewhere it sees nothing."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._root = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            for pid in descendants(self._root):
                self.megabytes = max(self.megabytes, worker_peak(pid))


def descendants(root: int) -> set[int]:
    """Return the process and all below it."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def worker_peak(pid: int) -> float:
    """Return the most MB that a Python worker ever had; 0 for any other process."""
    try:
        if "pyspark.daemon" not in Path(f"/proc/{pid}/cmdline").read_text():
            return 0.0
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(peak[1]) / 1024 if peak else 0.0
