"""Kill what is left of the steps when the server is gone, however it ended: SIGKILL included.

`Reaper` starts this file as a program whose standard input is a pipe from the server. Lines `+<session>` and
`-<session>` say which process sessions are alive; the end of the pipe means that the server is dead.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def session_members(session: int) -> list[int]:
    """Return the process ids of a session: the step's process group and the groups its children made (Spark's Python daemon)."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(["/bin/ps", "-axo", "pid="], capture_output=True, text=True, check=False).stdout.split()
    else:
        listed = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    members = []
    for pid in map(int, listed):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == session:
                members.append(pid)
    return members


def signal_session(session: int, number: int) -> None:
    """Send a signal to every process of the session."""
    for pid in session_members(session):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


class Reaper:
    """The server's side of the pipe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the reaper: from now on the sessions it watches die with this process."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            start_new_session=True,  # the terminal's Ctrl-C is for the server
            env={"PATH": "/usr/bin:/bin"},
        )

    def watch(self, session: int) -> None:
        """Let this session die with the server from now on."""
        self._send(f"+{session}\n")

    def forget(self, session: int) -> None:
        """Stop watching a session that has ended by itself."""
        self._send(f"-{session}\n")

    def stop(self) -> None:
        """Let the reaper finish; wait for it."""
        with self._lock:
            assert self._process.stdin
            self._process.stdin.close()
        self._process.wait()

    def _send(self, line: str) -> None:
        with self._lock, contextlib.suppress(BrokenPipeError, ValueError):
            assert self._process.stdin
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


def main() -> None:
    """Read the pipe to its end, then kill the sessions that were still alive."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    for line in sys.stdin:
        (sessions.add if line[0] == "+" else sessions.discard)(int(line[1:]))
    for session in sessions:
        signal_session(session, signal.SIGTERM)
    deadline = time.monotonic() + 2
    while any(map(session_members, sessions)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for session in sessions:
        signal_session(session, signal.SIGKILL)


if __name__ == "__main__":
    main()
