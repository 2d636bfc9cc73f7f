"""From Keras weights to the artifact that the executors run; TensorFlow is needed here and nowhere else."""

import contextlib
import hashlib
import io
import logging
import os
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spark_jobs import uris
from spark_jobs.errors import JobError
from spark_jobs.extraction import mobilenet
from spark_jobs.extraction.mobilenet import Interpreter, ModelArtifact, ModelMetadata, model_metadata
from spark_jobs.models import read_artifact, read_pointer

IMAGENET = "imagenet"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

log = logging.getLogger("export_model")


def export(weights: str, models: str, expected_model_id: str | None = None) -> dict[str, Any]:
    """Write the artifact of `weights` below `models`, unless it is already there.

    Args:
        weights: URI of an HDF5 file, or `IMAGENET`.
        models: URI of the folder that holds all models.
        expected_model_id: what the weights should give.

    Returns:
        The pointer: metadata, URI of the artifact, time of export.

    Raises:
        JobError: the weights cannot be read, do not fit, or give another model than expected; the target is not writable.
    """
    imagenet_pointer = uris.join(models, f"{IMAGENET}-{mobilenet.INPUT_SIZE}-{mobilenet.EXPORTER_VERSION}.json")
    if weights == IMAGENET and uris.exists(imagenet_pointer):
        pointer = read_pointer(imagenet_pointer)
        if _is_complete(pointer["uri"], pointer["model_id"]):
            _expect(expected_model_id, pointer["model_id"], weights)
            log.info("model %s already exists: %s", pointer["model_id"], pointer["uri"])
            return pointer

    content = _imagenet_weights() if weights == IMAGENET else uris.read_bytes(weights)
    if not content.startswith(HDF5_MAGIC):
        raise JobError(f"{weights}: not an HDF5 file; expected a file written by Keras's save_weights()")
    metadata = model_metadata(weights, hashlib.sha256(content).hexdigest())
    _expect(expected_model_id, metadata.model_id, weights)

    uri = uris.join(models, metadata.model_id, "model.tflite")
    if _is_complete(uri, metadata.model_id):
        log.info("model %s already exists: %s", metadata.model_id, uri)
    else:
        uris.write_bytes(uri, convert(content, metadata).content)
        log.info("model %s written: %s", metadata.model_id, uri)
    pointer = {**asdict(metadata), "uri": uri, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    if weights == IMAGENET:
        uris.write_json(imagenet_pointer, pointer)
    return pointer


def convert(weights: bytes, metadata: ModelMetadata) -> ModelArtifact:
    """Convert Keras weights (the content of an HDF5 file) and compute the check features, both with TensorFlow.

    Raises:
        JobError: the weights are not those of MobileNetV2 without its top.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow as tf

    shape = (mobilenet.INPUT_SIZE, mobilenet.INPUT_SIZE, 3)
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = Path(folder, _file_name(weights))
            file.write_bytes(weights)
            network = tf.keras.applications.MobileNetV2(
                weights=str(file), include_top=False, pooling="avg", input_shape=shape
            )
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise JobError(f"{metadata.weights}: not the weights of MobileNetV2 without its top: {error}") from error
    # Not from_concrete_functions with the network beside it: in TensorFlow 2.19 every feature of that model is NaN.
    with contextlib.redirect_stdout(io.StringIO()):
        tflite = tf.lite.TFLiteConverter.from_keras_model(network).convert()
    pattern = mobilenet.preprocess(mobilenet.check_pixels())
    check_features = network(tf.constant(pattern[None]), training=False).numpy()[0]
    artifact = ModelArtifact.pack(tflite, metadata, check_features)
    Interpreter(artifact)  # raises, so that an artifact that disagrees with Keras is never written
    return artifact


def _file_name(weights: bytes) -> str:
    """Return the name by which Keras tells its two HDF5 layouts apart: `….weights.h5` is Keras 3's, `….h5` its older one."""
    import h5py

    with h5py.File(io.BytesIO(weights)) as file:
        older = "layer_names" in file.attrs or "model_weights" in file
    return "network.h5" if older else "network.weights.h5"


def _imagenet_weights() -> bytes:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from keras.src.applications.mobilenet_v2 import BASE_WEIGHT_PATH
    from keras.utils import get_file

    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{mobilenet.INPUT_SIZE}_no_top.h5"
    try:
        return Path(get_file(name, BASE_WEIGHT_PATH + name, cache_subdir="models")).read_bytes()
    except Exception as error:  # Keras wraps every network error in a plain Exception
        raise JobError(
            f"Keras's ImageNet weights cannot be downloaded ({error}); put {name} where this machine can read it"
            " and pass it with --weights"
        ) from error


def _is_complete(uri: str, model_id: str) -> bool:
    """Return whether `uri` holds the whole artifact; the partial file of an interrupted run does not count."""
    if not uris.exists(uri):
        return False
    try:
        return read_artifact(uri).metadata.model_id == model_id
    except JobError as error:
        log.warning("%s; re-exporting", error)
        return False


def _expect(expected: str | None, model_id: str, weights: str) -> None:
    if expected and expected != model_id:
        raise JobError(f"{weights}: these weights give model {model_id}, not the expected {expected}")
