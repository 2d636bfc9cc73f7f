"""The network as an artifact: what identifies it, how it is packed into one file, and how a worker runs it."""

import io
import json
import platform
import zipfile
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from spark_jobs.errors import JobError
from spark_jobs.schemas import FEATURE_COUNT

INPUT_SIZE = 224
PREPROCESSING = "x / 127.5 - 1, RGB, bicubic"
EXPORTER_VERSION = "v1"  # raise it with every change that may alter a feature

# LiteRT and Keras differ by at most 3.2e-5 on real images; another instruction set may add as much again.
CHECK_TOLERANCE = 1e-4

_METADATA = "identity.json"
_CHECK = "check_features.npy"


@dataclass(frozen=True)
class ModelMetadata:
    """Everything that a model's features depend on.

    Attributes:
        model_id: name of the model and of its folder.
        weights: where the weights came from.
        weights_sha256: of the weights file.
        input_size: width and height of the images, in pixels.
        preprocessing: from RGB bytes to the network's input.
        exporter: version of the code that made the artifact.
    """

    model_id: str
    weights: str
    weights_sha256: str
    input_size: int
    preprocessing: str
    exporter: str


def model_metadata(weights: str, weights_sha256: str) -> ModelMetadata:
    """Return the metadata of the model that this code makes of a weights file."""
    model_id = f"mobilenetv2-{weights_sha256[:16]}-{INPUT_SIZE}-{EXPORTER_VERSION}"
    return ModelMetadata(model_id, weights, weights_sha256, INPUT_SIZE, PREPROCESSING, EXPORTER_VERSION)


def preprocess(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Scale RGB bytes to [-1, 1] as Keras's `mobilenet_v2.preprocess_input` does, bit for bit."""
    scaled = np.divide(pixels, np.float32(127.5), dtype=np.float32)
    scaled -= np.float32(1)
    return scaled


def check_pixels() -> npt.NDArray[np.uint8]:
    """Return the fixed test pattern, (224, 224, 3): gradients and a checkerboard, all integer arithmetic."""
    y, x, channel = np.indices((INPUT_SIZE, INPUT_SIZE, 3))
    return ((x * (channel + 1) + y * (3 - channel) + 64 * ((x // 16 + y // 16) % 2)) % 256).astype(np.uint8)


@dataclass(frozen=True)
class ModelArtifact:
    """A packed model: a TensorFlow Lite flatbuffer followed by a ZIP archive, as TFLite packs its own metadata.

    Attributes:
        content: the whole file.
    """

    content: bytes

    @classmethod
    def pack(cls, tflite: bytes, metadata: ModelMetadata, check_features: npt.NDArray[np.float32]) -> Self:
        """Append the metadata and the features of the test pattern, (1280,), to the flatbuffer."""
        check = io.BytesIO()
        np.save(check, check_features)
        packed = io.BytesIO(tflite)
        with zipfile.ZipFile(packed, "a") as archive:
            # ZipInfo's fixed time: the same weights give the same file.
            archive.writestr(zipfile.ZipInfo(_METADATA), json.dumps(asdict(metadata), indent=2).encode())
            archive.writestr(zipfile.ZipInfo(_CHECK), check.getvalue())
        return cls(packed.getvalue())

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Return the artifact in `content`, checked to be complete.

        Raises:
            ValueError: `content` was not made by `pack`, or is truncated.
        """
        artifact = cls(content)
        try:
            artifact.metadata, artifact.check_features  # noqa: B018 - read for their errors
        except (zipfile.BadZipFile, KeyError, TypeError, EOFError) as error:
            raise ValueError(str(error)) from error
        return artifact

    @cached_property
    def metadata(self) -> ModelMetadata:
        """The model's metadata."""
        return ModelMetadata(**json.loads(self._member(_METADATA)))

    @cached_property
    def check_features(self) -> npt.NDArray[np.float32]:
        """Features of the test pattern as Keras computed them, (1280,)."""
        features = np.load(io.BytesIO(self._member(_CHECK)), allow_pickle=False)
        if features.shape != (FEATURE_COUNT,):
            raise ValueError(f"check features of shape {features.shape}")
        return features

    def _member(self, name: str) -> bytes:
        with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
            return archive.read(name)


class Interpreter:
    """The network, ready to run: built once per Python worker.

    One image at a time and one thread: on one core batches of 1 and 2 run at the same rate, those of 8 and 16 lose a quarter,
    and every core already has its own worker. OpenVINO runs at the same rate with three times the memory; pinning workers to
    their cores gains nothing.

    Args:
        artifact: the model.

    Raises:
        JobError: this machine computes other features of the test pattern than the exporter did.
    """

    def __init__(self, artifact: ModelArtifact) -> None:
        from ai_edge_litert import interpreter as litert  # 0.3 s that the driver need not spend

        self.metadata = artifact.metadata
        self._litert = litert.Interpreter(model_content=artifact.content, num_threads=1)
        self._litert.allocate_tensors()
        self._input = self._litert.get_input_details()[0]["index"]
        self._output = self._litert.get_output_details()[0]["index"]
        difference = float(np.abs(self.features(check_pixels()) - artifact.check_features).max())
        if not difference <= CHECK_TOLERANCE:  # NaN is no agreement either
            raise JobError(
                f"model {self.metadata.model_id}: features of the test pattern differ by {difference:.2g} on"
                f" {platform.node()} ({platform.machine()}), more than {CHECK_TOLERANCE:g}: if every node says so, export the"
                " model again; if only one does, its results differ from the others': choose another instance type"
            )

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the features, (1280,), of one image, (224, 224, 3)."""
        self._litert.set_tensor(self._input, preprocess(pixels)[np.newaxis])
        self._litert.invoke()
        return self._litert.get_tensor(self._output)[0]
