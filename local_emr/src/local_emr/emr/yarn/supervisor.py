"""Run one daemon of YARN, and end with it and with everything that it has started.

A program: `supervisor.py COMMAND...`, whose standard input is a pipe from the server. A NodeManager starts each container in
a process session of its own, so that once it is dead neither sessions nor process groups lead to its containers. This process
is what the system gives their orphans to, so that all of them stay its descendants. It ends when the daemon does or when the
pipe is closed, which is what happens when the server ends, SIGKILL included.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def main() -> int:
    """Run the command to its end; return its exit code as a shell counts them."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Only the pipe ends it. Were they ignored, the daemon and its containers would ignore them as well.
        signal.signal(number, lambda *_: None)
    adopt_orphans()
    daemon = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == daemon.pid:
            break
    kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants; on Linux only, elsewhere the system's first process does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> None:
    """Kill every descendant of this process, those included that are being started; return when none is left."""
    while True:
        _kill_children()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:  # the system's word that there is none any more
            return
        time.sleep(0.02)


def _end_with_the_pipe() -> None:
    sys.stdin.read()
    _kill_children()  # the daemon's end is noticed by the main thread, which kills whoever is left


def _kill_children() -> None:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
