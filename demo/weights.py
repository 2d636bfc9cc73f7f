"""Weights for the demo, made in the Spark environment: ``python demo/weights.py FOLDER IMAGES``.

Writes ``FOLDER/imagenet.h5``, Keras's own, where they can be downloaded, else ``FOLDER/random.weights.h5``: seeded random
weights whose batch normalization is calibrated on the images, so that every layer passes on values of mean 0 and variance 1
before it clips them. Without that the signal of a random MobileNetV2 dies out on its way and all images look alike. Random
convolutions keep much of what tells images apart, but what comes out means nothing to anyone; it shows that the pipeline
works. The last line printed names the file.
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

INPUT_SIZE = 224
SEED = 2026


def download_imagenet(output: Path) -> None:
    """Keras's ImageNet weights, as it keeps them in its cache; an exception where they cannot be had."""
    os.environ["KERAS_HOME"] = str(output.parent / "keras")
    import keras

    keras.applications.MobileNetV2(weights="imagenet", include_top=False, input_shape=(INPUT_SIZE, INPUT_SIZE, 3))
    (downloaded,) = (output.parent / "keras" / "models").glob("mobilenet_v2_*_1.0_224_no_top.h5")
    shutil.copyfile(downloaded, output)


def calibrated_random(output: Path, images: Path, batch: int = 64) -> None:
    """Seeded random weights whose batch normalization fits ``batch`` of the images."""
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


def main(folder: str, images: str) -> None:
    """Write the best weights that can be had."""
    output = Path(folder) / "imagenet.h5"
    try:
        download_imagenet(output)
    except Exception as error:  # noqa: BLE001 - Keras wraps every failure of a download in a plain Exception
        print(f"ImageNet weights cannot be downloaded: {error}", file=sys.stderr)
        output = Path(folder) / "random.weights.h5"
        calibrated_random(output, Path(images))
    print(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
