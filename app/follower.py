"""Follows `results/latest.json`: when it moves, the new run is loaded beside the old one, then takes its place at once."""

import dataclasses
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from app.lookup import Lookup, Network, Networks
from app.published import NotPublishedError, Published, load, read_latest
from app.search import ExactSearch, GraphSearch, Search
from app.settings import Settings
from app.storage import Storage, StorageError
from spark_jobs.errors import JobError
from spark_jobs.extraction.mobilenet import Interpreter, ModelArtifact

log = logging.getLogger(__name__)

Build = Callable[[bytes], Network]


def interpreter(content: bytes) -> Network:
    """Return the network in a model that `export_model` wrote.

    Raises:
        ValueError: it is no such model.
        JobError: this machine computes other features than the exporter did.
    """
    return Interpreter(ModelArtifact.parse(content))


class Follower:
    """Holds the lookup of the latest published run.

    Args:
        settings: of the server.
        build: makes a network of a model's bytes.
    """

    def __init__(self, settings: Settings, build: Build = interpreter) -> None:
        self.current: Lookup | None = None
        self.problem: str | None = None
        self._settings = settings
        self._build = build
        self._storage = Storage(settings.results)
        self._latest: dict[str, Any] | None = None
        self._models: tuple[str, Networks] | None = None
        self._recent: deque[Published] = deque(maxlen=3)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def start(self) -> None:
        """Look now, and every `poll_seconds` from now on, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; a load that is under way ends with the process."""
        self._stopping.set()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(self._settings.poll_seconds)

    def look(self) -> None:
        """Take over the latest run if it is another one; if that fails, keep the present one and say why in `problem`."""
        try:
            latest = read_latest(self._storage)
            if latest != self._latest:
                self._take_over(latest)
            self.problem = None
        except (NotPublishedError, StorageError, JobError, ValueError, OSError) as error:
            self._say(str(error))
        except MemoryError:
            self._say("the published features do not fit this machine's memory beside the ones in use")
        except Exception:  # a thread that ends would leave old answers for good
            log.exception("looking at %s failed", self._storage.root)
            self._say("looking for new results failed: see the server's log")

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem

    def _take_over(self, latest: dict[str, Any]) -> None:
        networks = self._networks(latest["model_id"])
        large = latest.get("features", 0) > self._settings.exact_limit
        published = load(self._storage, latest, np.float16 if large else np.float32)
        search = self._search(published)
        # The search has what it needs of the vectors; without them, the runs before this one are cheap to remember.
        published = dataclasses.replace(published, vectors=published.vectors[:0])
        self._recent.append(published)
        self.current = Lookup(published, search, networks)
        self._latest = latest
        log.info("serving run %s: %s images, %s varieties", published.run, len(published.paths), len(published.names))

    def _search(self, published: Published) -> Search:
        if len(published.paths) <= self._settings.exact_limit:
            return ExactSearch(published.vectors, published.starts)
        log.info("building the graph of %s vectors", len(published.paths))
        return GraphSearch(published.vectors, published.starts)

    def _networks(self, model_id: str) -> Networks:
        if self._models is None or self._models[0] != model_id:
            name = f"models/{model_id}/model.tflite"
            try:
                content = self._storage.read(name)
            except FileNotFoundError:
                raise NotPublishedError(f"{name} in {self._storage.root} is missing: run the DAG again") from None
            networks = [self._build(content) for _ in range(self._settings.at_once)]
            self._models = model_id, Networks(networks, self._settings.wait_seconds)
        return self._models[1]

    def image(self, version: str, row: int) -> bytes:
        """Return the file of an image of the present version, or of one of the two before it, whose answers may be shown still.

        Raises:
            FileNotFoundError: there is no such version or row, or the image is gone.
            StorageError: it cannot be read.
        """
        published = next((recent for recent in list(self._recent) if recent.version == version), None)
        if published is None or not 0 <= row < len(published.paths):
            raise FileNotFoundError(f"version {version} has no image {row} here")
        return self._storage.read_image(published.paths[row], published.root)
