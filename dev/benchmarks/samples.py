"""Images to measure with: real ones where FRUITS_TEST_IMAGES names them, drawn ones otherwise."""

import os
import shutil
from collections.abc import Iterable, Sequence
from itertools import cycle, islice
from pathlib import Path

from PIL import Image

from sample_data import list_file, random_weights, write_manifest

PROJECT = Path(__file__).parents[2]


def originals(folder: Path) -> list[Path]:
    """Return the images that all others are copies of."""
    real = os.environ.get("FRUITS_TEST_IMAGES")
    if real:
        return sorted(Path(real).rglob("*.jpg"))
    folder.mkdir(parents=True)
    for number in range(200):
        gradient = Image.radial_gradient("L").resize((100, 100)).rotate(number)
        color = Image.new("RGB", (100, 100), (number, 255 - number, 7 * number % 256))
        Image.composite(color, Image.effect_noise((100, 100), 40).convert("RGB"), gradient).save(
            folder / f"{number}.jpg"
        )
    return sorted(folder.iterdir())


def copies(images: Sequence[Path], number: int, folder: Path) -> list[Path]:
    """Copy images under new names until there are `number`, in folders of 1,000."""
    made = []
    for index, image in enumerate(islice(cycle(images), number)):
        target = folder / f"{image.parent.name} {index // 1000}" / f"{index}_{image.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
        made.append(target)
    return made


def manifest(images: Iterable[Path], folder: Path) -> Path:
    """Write the manifest of images on this disk."""
    return write_manifest(folder, map(list_file, images))


def weights(folder: Path) -> Path:
    """Return ImageNet weights where FRUITS_TEST_WEIGHTS names them, random ones of the same size otherwise."""
    real = os.environ.get("FRUITS_TEST_WEIGHTS")
    return Path(real) if real else random_weights(folder)
