"""The best peer, in an environment of its own: python -m benchmarks.peer_ray FILE_WITH_PATHS POINTER OUTPUT.

Ray Data as its documentation has batch inference: the files' content, an actor on each core that holds the network, Parquet.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray

from spark_jobs.extraction.images import decode
from spark_jobs.extraction.mobilenet import INPUT_SIZE, Interpreter, ModelArtifact

CORES = 2


class Network:
    """The actor: built once, called with batches of 64 files."""

    def __init__(self, model: str) -> None:
        self._interpreter = Interpreter(ModelArtifact.parse(Path(model).read_bytes()))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        images = [decode(content, INPUT_SIZE) for content in batch["bytes"]]
        features = np.stack([self._interpreter.features(image.pixels) for image in images])
        return {
            "path": batch["path"],
            "width": np.array([image.width for image in images]),
            "height": np.array([image.height for image in images]),
            "features": features,
        }


def main() -> None:
    paths, pointer, output = sys.argv[1:]
    model = json.loads(Path(pointer).read_text())["uri"].removeprefix("file://")
    # One slot more than there are cores, on which this process and its children are pinned: with none left beside the actors,
    # nothing would ever be read.
    ray.init(num_cpus=CORES + 1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    files = Path(paths).read_text().splitlines()
    content = ray.data.read_binary_files(files, include_paths=True)
    content.map_batches(
        Network, fn_constructor_args=(model,), batch_size=64, concurrency=CORES, num_cpus=1
    ).write_parquet(output)


if __name__ == "__main__":
    main()
