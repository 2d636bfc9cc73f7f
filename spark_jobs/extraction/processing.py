"""One image, from the content of its file to its features: in this process, or in one that it may take down with it."""

import multiprocessing
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from spark_jobs.errors import JobError
from spark_jobs.extraction.images import decode
from spark_jobs.extraction.mobilenet import Interpreter, ModelArtifact, ModelMetadata
from spark_jobs.extraction.rejects import Reason, Rejected

# What a child may take beyond what it has when it starts: the largest accepted image needs 0.6 GB (see `images`).
MEMORY_BYTES = 2**30
# Exit codes of a child that something else has ended, as the kernel does for want of memory, whatever the image is.
KILLED = (-signal.SIGKILL, -signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Processed:
    """What an image gives.

    Attributes:
        features: float32, (1280,).
        width: of the image, upright, in pixels.
        height: likewise.
    """

    features: npt.NDArray[np.float32]
    width: int
    height: int


ProcessImage = Callable[[bytes], Processed]  # from the content of a file; raises Rejected


class Network(Protocol):
    """A network: pixels, uint8 (224, 224, 3), to features, float32 (1280,)."""

    metadata: ModelMetadata

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the features of one image."""


def process(network: Network, content: bytes) -> Processed:
    """Decode an image and run the network on it.

    Raises:
        Rejected: `content` gives no image.
    """
    image = decode(content, network.metadata.input_size)
    return Processed(network.features(image.pixels), image.width, image.height)


class ChildProcess:
    """Processes images in a child of this process, so that one that ends its process is known, and costs itself alone.

    For the second attempt at a task, since a child takes time to start and memory for a second network. It starts with the
    first image, and again after a death.

    Args:
        artifact: the network.
    """

    def __init__(self, artifact: ModelArtifact) -> None:
        self._artifact = artifact
        self._child: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def process(self, content: bytes) -> Processed:
        """Do what the function `process` does.

        Raises:
            Rejected: `content` gives no image, or ended the child.
            JobError: no child can be started.
        """
        answer = self._answer(content)
        if answer in KILLED:
            answer = self._answer(content)
        if isinstance(answer, Processed):
            return answer
        if isinstance(answer, int):
            detail = f"the process that decoded it ended with exit code {answer}"
            raise Rejected(Reason.CRASHED_WORKER, detail)
        raise Rejected(*answer)

    def _answer(self, content: bytes) -> "Processed | tuple[Reason, str] | int":
        """Return what the child says of an image, or its exit code."""
        pipe = self._started()
        try:
            pipe.send_bytes(content)
            answer: Processed | tuple[Reason, str] = pipe.recv()
        except (EOFError, OSError):
            return self._end()
        return answer

    def _started(self) -> Connection:
        if self._pipe is None:
            spawning = multiprocessing.get_context("spawn")  # a fork would inherit the locks of threads that read
            self._pipe, theirs = spawning.Pipe()
            self._child = spawning.Process(target=_serve, args=(self._artifact, theirs), daemon=True)
            self._child.start()
            theirs.close()
            try:  # until the network is built: what fails before is not an image's fault
                failed: JobError | None = self._pipe.recv()
            except EOFError:
                failed = JobError(
                    f"a process to decode images in ended with exit code {self._end()} before the first one"
                )
            if failed:
                raise failed
        return self._pipe

    def _end(self) -> int:
        """End the child, if there is one; return its exit code."""
        if self._pipe is None or self._child is None:
            return 0
        self._pipe.close()
        self._child.join(10)
        if self._child.exitcode is None:
            self._child.kill()
            self._child.join()
        self._pipe = None
        return self._child.exitcode or 0


def _serve(artifact: ModelArtifact, pipe: Connection) -> None:
    """Answer until the parent closes its end."""
    try:
        network = Interpreter(artifact)
    except JobError as error:
        pipe.send(error)
        return
    _limit_memory()
    pipe.send(None)
    with suppress(EOFError):
        while True:
            content = pipe.recv_bytes()
            try:
                pipe.send(process(network, content))
            except Rejected as rejected:
                pipe.send((rejected.reason, rejected.detail))
            except MemoryError:
                pipe.send((Reason.CRASHED_WORKER, f"takes more than {MEMORY_BYTES >> 20} MB of memory to decode"))


def _limit_memory() -> None:
    """Bound this process's address space; Linux only, as the nodes are."""
    status = Path("/proc/self/statm")
    if status.exists():
        limit = int(status.read_text().split()[0]) * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
