"""Ports and folders that only one server can have: asked for before anything starts."""

import contextlib
import fcntl
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

from demo.bucket import DemoError


def require_free(host: str, port: int, use: str, remedy: str) -> None:
    """Make sure that a port can be listened on; 0 stands for any free one.

    Args:
        host: address to listen on.
        port: the port.
        use: what it is for.
        remedy: what else to type.

    Raises:
        DemoError: naming the port, who has it, and the remedy.
    """
    with socket.socket() as probe:
        # As servers do: connections of one that has just ended are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            raise DemoError(
                f"port {port}, for {use}, is taken{_owner(port)} ({error.strerror}): stop that, or {remedy}"
            ) from None


def _owner(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid:
                command = " ".join(psutil.Process(found.pid).cmdline())
                return f" by process {found.pid} ({command[:60]})"
    return ""


@contextlib.contextmanager
def only_user_of(home: Path) -> Iterator[None]:
    """Keep a folder to this process for the block: two schedulers on one database start every task twice.

    Raises:
        DemoError: another process has it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "in-use.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError(f"{home} is in use by another make ui: stop that one first") from None
        yield
