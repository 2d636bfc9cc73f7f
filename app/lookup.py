"""From the bytes of a photograph to an answer, by the decoding and the network that made the published features."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from app.examples import thumbnail
from app.published import Published
from app.search import Match, Search
from app.settings import Settings
from spark_jobs.extraction.images import decode
from spark_jobs.extraction.mobilenet import INPUT_SIZE


class BusyError(Exception):
    """No network has become free in time."""


class Network(Protocol):
    """What turns pixels into features: `mobilenet.Interpreter`."""

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the features, (1280,), of one image, (224, 224, 3)."""


class Networks:
    """A network for each photograph that is worked on at the same time: none serves two threads at once."""

    def __init__(self, networks: list[Network], wait_seconds: float) -> None:
        self._free: queue.LifoQueue[Network] = queue.LifoQueue()
        self._wait_seconds = wait_seconds
        for network in networks:
            self._free.put(network)

    @contextmanager
    def one(self) -> Iterator[Network]:
        """Lend a network.

        Raises:
            BusyError: none becomes free in time.
        """
        try:
            network = self._free.get(timeout=self._wait_seconds)
        except queue.Empty:
            raise BusyError from None
        try:
            yield network
        finally:
            self._free.put(network)


@dataclass(frozen=True)
class Answer:
    """What a photograph is similar to.

    Attributes:
        matches: the most similar varieties, the most similar one first.
        sure: whether the first is similar enough, and far enough from the second.
    """

    matches: list[Match]
    sure: bool


@dataclass(frozen=True)
class Lookup:
    """Everything that belongs to one published run; it never changes, so a request keeps the one it began with.

    Attributes:
        published: the run, its images and varieties; its vectors are the search's business.
        search: over the vectors.
        networks: of the run's model.
    """

    published: Published
    search: Search
    networks: Networks

    def answer(self, content: bytes, settings: Settings) -> Answer:
        """Return what a photograph is similar to.

        Raises:
            Rejected: `content` is no image that the pipeline would take.
            BusyError: too many photographs at once.
        """
        with self.networks.one() as network:  # decoding too, as it is what takes memory
            features = network.features(decode(content, INPUT_SIZE).pixels).astype(np.float32)
        length = float(np.linalg.norm(features))
        matches = self.search.matches(features / max(length, float(np.finfo(np.float32).tiny)))
        return Answer(matches, is_sure(matches, settings))

    def picture(self, content: bytes) -> bytes:
        """Return a small picture of a published image, in turn with the photographs: decoding takes as much memory.

        Raises:
            Rejected: `content` is no image any more.
            BusyError: too many at once.
        """
        with self.networks.one():  # which has nothing to do, but each stands for one image that is decoded
            return thumbnail(content)


def is_sure(matches: list[Match], settings: Settings) -> bool:
    """Say whether the first match is similar enough, and far enough from the second."""
    first, *others = (match.similarity for match in matches)
    margin = first - others[0] if others else float("inf")
    return first >= settings.min_similarity and margin >= settings.min_margin
