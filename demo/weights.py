"""Create weights for the demo. Runs in the Spark environment, the only file here that does: it needs Keras.

    .venv/spark/bin/python demo/weights.py [--random] FOLDER IMAGES

Writes `FOLDER/imagenet.h5`, Keras's ImageNet weights, where they can be downloaded, else (or with `--random`)
`FOLDER/random.weights.h5`: seeded random weights whose batch normalization is calibrated on the images, so that each layer's
outputs have mean 0 and variance 1 before they are clipped. Without calibration the signal of a random MobileNetV2 fades from
layer to layer and all images get the same features. Random convolutions still separate images, but their features mean
nothing: they show that the pipeline works. The last line of the output is the path of the file.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

INPUT_SIZE = 224
SEED = 2026


def download_imagenet(output: Path) -> None:
    """Download Keras's ImageNet weights.

    Raises:
        Exception: if the download failed; Keras raises a plain one.
    """
    os.environ["KERAS_HOME"] = str(output.parent / "keras")
    import keras

    keras.applications.MobileNetV2(weights="imagenet", include_top=False, input_shape=(INPUT_SIZE, INPUT_SIZE, 3))
    (downloaded,) = (output.parent / "keras" / "models").glob("mobilenet_v2_*_1.0_224_no_top.h5")
    shutil.copyfile(downloaded, output)


def calibrated_random(output: Path, images: Path, batch: int = 64) -> None:
    """Save seeded random weights whose batch normalization is calibrated on `batch` of the images."""
    import keras

    keras.utils.set_random_seed(SEED)
    model = keras.applications.MobileNetV2(
        weights=None, include_top=False, pooling="avg", input_shape=(INPUT_SIZE, INPUT_SIZE, 3)
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # one batch in training mode sets mean and variance
    files = [file for file in sorted(images.glob("*/*.jpg")) if file.name.endswith("_100.jpg")]
    chosen = files[:: max(1, len(files) // batch)][:batch]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB").resize((INPUT_SIZE,) * 2)) for file in chosen])
    model(keras.applications.mobilenet_v2.preprocess_input(pixels.astype("float32")), training=True)
    model.save_weights(output)


def main() -> None:
    """Save ImageNet weights if they can be downloaded, random ones otherwise; print the path."""
    parser = argparse.ArgumentParser(prog="weights.py", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to save the weights")
    parser.add_argument("images", type=Path, help="folder of images that calibrate random weights")
    parser.add_argument("--random", action="store_true", help="do not try to download ImageNet weights")
    arguments = parser.parse_args()
    output = arguments.folder / "imagenet.h5"
    try:
        if not arguments.random:
            download_imagenet(output)
    except Exception as error:  # noqa: BLE001 - Keras raises a plain Exception for every failed download
        print(f"could not download ImageNet weights: {error}", file=sys.stderr)
    if not output.exists():
        output = arguments.folder / "random.weights.h5"
        calibrated_random(output, arguments.images)
    print(output)


if __name__ == "__main__":
    main()
