"""The network as an artifact: what identifies it, how it is packed into one file, and how a worker runs it."""

import io
import json
import zipfile
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spark_jobs import storage
from spark_jobs.schemas import FEATURE_COUNT
from spark_jobs.sessions import JobError

INPUT_SIZE = 224
PREPROCESSING = "x / 127.5 - 1, RGB, bicubic"
EXPORTER_VERSION = "v1"  # counts up with every change that may alter a feature

# LiteRT and Keras differ by at most 3.2e-5 on real images; another instruction set may add as much again.
CHECK_TOLERANCE = 1e-4

_IDENTITY = "identity.json"
_CHECK = "check_features.npy"


@dataclass(frozen=True)
class Identity:
    """What the features of a model depend on.

    Attributes:
        model_id: its name, and of its folder.
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


def identity(weights: str, weights_sha256: str) -> Identity:
    """Return the identity of the model that this code makes of a weights file."""
    model_id = f"mobilenetv2-{weights_sha256[:16]}-{INPUT_SIZE}-{EXPORTER_VERSION}"
    return Identity(model_id, weights, weights_sha256, INPUT_SIZE, PREPROCESSING, EXPORTER_VERSION)


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
class Model:
    """A packed artifact: a TensorFlow Lite flatbuffer with a ZIP behind it, as TFLite's own metadata packing has it.

    Attributes:
        content: the whole file.
    """

    content: bytes

    @classmethod
    def pack(cls, tflite: bytes, identity: Identity, check_features: npt.NDArray[np.float32]) -> "Model":
        """Append to the flatbuffer who it is and its features of the test pattern, (1280,)."""
        check = io.BytesIO()
        np.save(check, check_features)
        packed = io.BytesIO(tflite)
        with zipfile.ZipFile(packed, "a") as archive:
            # Fixed times: the same weights give the same file.
            for name, data in (
                (_IDENTITY, json.dumps(asdict(identity), indent=2).encode()),
                (_CHECK, check.getvalue()),
            ):
                archive.writestr(zipfile.ZipInfo(name), data)
        return cls(packed.getvalue())

    @classmethod
    def read(cls, uri: str) -> "Model":
        """Read an artifact, or the one a pointer JSON names, and check that it is complete.

        Raises:
            JobError: it cannot be read, or is no artifact of `export_model`.
        """
        if uri.endswith(".json"):
            pointer = storage.read_json(uri)
            if not isinstance(pointer, dict) or "uri" not in pointer:
                raise JobError(f'{uri}: not a model pointer: it has no "uri"')
            uri = pointer["uri"]
        model = cls(storage.read_bytes(uri))
        try:
            model.identity, model.check_features  # noqa: B018 - read for their errors
        except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError) as error:
            raise JobError(f"{uri}: not a model made by export_model ({error})") from error
        return model

    @cached_property
    def identity(self) -> Identity:
        """Who the model is."""
        return Identity(**json.loads(self._part(_IDENTITY)))

    @cached_property
    def check_features(self) -> npt.NDArray[np.float32]:
        """Features of the test pattern as Keras computed them, (1280,)."""
        features = np.load(io.BytesIO(self._part(_CHECK)), allow_pickle=False)
        if features.shape != (FEATURE_COUNT,):
            raise ValueError(f"check value of shape {features.shape}")
        return features

    def _part(self, name: str) -> bytes:
        with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
            return archive.read(name)


class Engine:
    """One interpreter, ready to run: built once per Python worker.

    One image at a time and one thread: on one core batches of 1 and 2 run at the same rate, 8 and 16 lose a fifth
    (142, 146, 108, 102 images/s), and every core already has its own worker. OpenVINO runs at the same rate (133) with
    three times the memory; workers pinned to their cores at the same as well.

    Args:
        model: the artifact.

    Raises:
        JobError: this machine computes other features of the test pattern than the exporter did.
    """

    def __init__(self, model: Model):
        from ai_edge_litert.interpreter import Interpreter  # 0.3 s that the driver need not spend

        self.identity = model.identity
        self._interpreter = Interpreter(model_content=model.content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        difference = float(np.abs(self.features(check_pixels()) - model.check_features).max())
        if not difference <= CHECK_TOLERANCE:
            raise JobError(
                f"model {self.identity.model_id}: features of the test pattern differ by {difference:.2g} on this"
                f" machine, more than {CHECK_TOLERANCE:g}: export it again"
            )

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the features, (1280,), of one image, (224, 224, 3)."""
        self._interpreter.set_tensor(self._input, preprocess(pixels)[np.newaxis])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)[0]
