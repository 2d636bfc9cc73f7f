"""The drawn images: deterministic, all different, of several varieties."""

from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from demo.images import VARIETIES, write_bad_images, write_images


def test_images_are_deterministic(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_images(tmp_path / folder, 2)
    files = sorted((tmp_path / "one").rglob("*.jpg"))

    assert len(files) == 2 * len(VARIETIES)
    for file in files:
        assert file.read_bytes() == (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes()


def test_images_are_distinct_100x100_and_of_at_least_five_varieties(tmp_path: Path) -> None:
    assert write_images(tmp_path, 3) == 3 * len(VARIETIES)
    images = {file.read_bytes() for file in tmp_path.rglob("*.jpg")}

    assert len(VARIETIES) >= 5
    assert len(images) == 3 * len(VARIETIES)
    assert {Image.open(file).size for file in tmp_path.rglob("*.jpg")} == {(100, 100)}


def test_bad_files_cannot_be_decoded(tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    good = set(tmp_path.rglob("*.jpg"))
    count = write_bad_images(tmp_path)
    bad = set(tmp_path.rglob("*.jpg")) - good

    assert len(bad) == count
    for file in bad:
        with pytest.raises((UnidentifiedImageError, OSError)):
            Image.open(file).load()
