"""Turn Keras weights into the model artifact that the executors run.

Keras's MobileNetV2 (include_top=False, pooling='avg', 224 x 224) with the given weights becomes a LiteRT model,
`<models>/<model_id>/model.tflite`, unless it is already there. The pointer, a small JSON, says which model it is.
"""

import argparse
import contextlib
import hashlib
import io
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spark_jobs import mobilenet, storage
from spark_jobs.sessions import JobError, run

IMAGENET = "imagenet"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

log = logging.getLogger("export_model")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="export_model", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help=f"HDF5 file (file:// or s3://), or {IMAGENET}: Keras's own")
    parser.add_argument("--models", required=True, help="root of the models: <models>/<model_id>/model.tflite")
    parser.add_argument("--pointer", required=True, help="JSON to write: which model it is, and where")
    parser.add_argument("--model-id", help="fail unless the weights give this model")
    return parser.parse_args(argv)


def export(weights: str, models: str, expected_model_id: str | None = None) -> dict[str, Any]:
    """Make the artifact of `weights` if it is missing.

    Returns:
        The pointer: the identity, the artifact's URI and when this was found out.

    Raises:
        JobError: weights that cannot be read or do not fit, another model than expected, a target not writable.
    """
    imagenet_pointer = storage.join(models, f"{IMAGENET}-{mobilenet.INPUT_SIZE}-{mobilenet.EXPORTER_VERSION}.json")
    if weights == IMAGENET and storage.exists(imagenet_pointer):
        pointer = storage.read_json(imagenet_pointer)
        if _usable(pointer["uri"], pointer["model_id"]):
            _expect(expected_model_id, pointer["model_id"], weights)
            log.info("model %s is there already: %s", pointer["model_id"], pointer["uri"])
            return pointer

    content = _imagenet_weights() if weights == IMAGENET else storage.read_bytes(weights)
    if not content.startswith(HDF5_MAGIC):
        raise JobError(f"{weights}: not an HDF5 file; weights are saved by Keras as .h5")
    identity = mobilenet.identity(weights, hashlib.sha256(content).hexdigest())
    _expect(expected_model_id, identity.model_id, weights)

    uri = storage.join(models, identity.model_id, "model.tflite")
    if _usable(uri, identity.model_id):
        log.info("model %s is there already: %s", identity.model_id, uri)
    else:
        storage.write_bytes(uri, convert(content, identity).content)
        log.info("model %s written: %s", identity.model_id, uri)
    pointer = {**asdict(identity), "uri": uri, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    if weights == IMAGENET:
        storage.write_json(imagenet_pointer, pointer)
    return pointer


def convert(weights: bytes, identity: mobilenet.Identity) -> mobilenet.Model:
    """Convert Keras weights (an HDF5 file's content) and compute the check value, both with TensorFlow.

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
            raise JobError(f"{identity.weights}: not the weights of MobileNetV2 without its top: {error}") from error
    # Not from_concrete_functions with the network beside it: in TensorFlow 2.19 every feature of that model is NaN.
    with contextlib.redirect_stdout(io.StringIO()):
        tflite = tf.lite.TFLiteConverter.from_keras_model(network).convert()
    pattern = mobilenet.preprocess(mobilenet.check_pixels())
    check_features = network(tf.constant(pattern[None]), training=False).numpy()[0]
    model = mobilenet.Model.pack(tflite, identity, check_features)
    mobilenet.Engine(model)  # an artifact that disagrees with Keras is never written
    return model


def _file_name(weights: bytes) -> str:
    """Give the name by which Keras tells its two HDF5 layouts apart: `….weights.h5` is Keras 3's, any other its older one."""
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
    except Exception as error:  # Keras wraps whatever the network said
        raise JobError(
            f"Keras's ImageNet weights cannot be downloaded ({error}); put {name} where this machine can read it"
            " and pass it with --weights"
        ) from error


def _usable(uri: str, model_id: str) -> bool:
    """Say whether `uri` already holds the whole artifact; half a file of an interrupted run does not count."""
    if not storage.exists(uri):
        return False
    try:
        return mobilenet.Model.read(uri).identity.model_id == model_id
    except JobError as error:
        log.warning("%s; it is made anew", error)
        return False


def _expect(expected: str | None, model_id: str, weights: str) -> None:
    if expected and expected != model_id:
        raise JobError(f"{weights}: these weights give model {model_id}, expected was {expected}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = arguments(argv)
    pointer = export(options.weights, options.models, options.model_id)
    storage.write_json(options.pointer, pointer)


if __name__ == "__main__":
    run(main)
