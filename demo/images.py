"""Fruit-like photographs, drawn: 100x100 JPEG on white, one folder per variety, photographed while it turns.

Deterministic: the same call writes the same bytes (with the same Pillow). They replace real photographs in the demo and in
tests that need many files; no test of numerical results uses them.
"""

import math
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIZE = 100  # pixels, as in Fruits-360
SCALE = 3  # drawn larger and reduced, for smooth edges
CANVAS = SIZE * SCALE

Color = tuple[int, int, int]
Painter = Callable[[Image.Image, random.Random], None]


def _shade(color: Color, factor: float) -> Color:
    r, g, b = (max(0, min(255, round(channel * factor))) for channel in color)
    return r, g, b


def _ball(image: Image.Image, center: tuple[float, float], radii: tuple[float, float], color: Color) -> None:
    """Draw an ellipse lit from the upper left: darker at the rim. Units: shares of the canvas."""
    draw = ImageDraw.Draw(image)
    steps = 28
    for step in range(steps):
        share = 1 - step / steps
        x, y = (c * CANVAS - (1 - share) * r * CANVAS * 0.45 for c, r in zip(center, radii, strict=True))
        rx, ry = (r * CANVAS * share for r in radii)
        draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=_shade(color, 0.72 + 0.55 * (1 - share) ** 0.8))


def _stem(
    image: Image.Image, start: tuple[float, float], end: tuple[float, float], color: Color = (86, 60, 32)
) -> None:
    points = [tuple(v * CANVAS for v in point) for point in (start, end)]
    ImageDraw.Draw(image).line(points, fill=color, width=CANVAS // 36)


def _speckle(image: Image.Image, rng: random.Random, color: Color, count: int, spread: float = 0.3) -> None:
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        angle, distance = rng.uniform(0, 2 * math.pi), spread * math.sqrt(rng.random())
        x, y = (0.5 + distance * f(angle) for f in (math.cos, math.sin))
        radius = rng.uniform(0.004, 0.012)
        box = [v * CANVAS for v in (x - radius, y - radius, x + radius, y + radius)]
        draw.ellipse(box, fill=color)


def _apple(image: Image.Image, rng: random.Random) -> None:
    _ball(image, (0.42, 0.53), (0.28, 0.33), (186, 36, 42))
    _ball(image, (0.58, 0.53), (0.28, 0.33), (196, 40, 44))
    _speckle(image, rng, (226, 140, 90), 40)
    _stem(image, (0.5, 0.26), (0.54, 0.1))


def _banana(image: Image.Image, _rng: random.Random) -> None:
    draw = ImageDraw.Draw(image)
    for step in range(22):
        box = [
            v * CANVAS for v in (0.06 + step * 0.004, -0.35 + step * 0.006, 0.94 - step * 0.004, 0.78 - step * 0.006)
        ]
        color = _shade((226, 190, 48), 0.8 + step * 0.016)
        draw.arc(box, 25, 155, fill=color, width=round(CANVAS * 0.17) - step * 2)
    _stem(image, (0.86, 0.42), (0.93, 0.3), (110, 90, 30))


def _cherry(image: Image.Image, _rng: random.Random) -> None:
    _stem(image, (0.36, 0.55), (0.62, 0.08), (70, 110, 40))
    _stem(image, (0.68, 0.6), (0.62, 0.08), (70, 110, 40))
    _ball(image, (0.34, 0.64), (0.22, 0.22), (128, 12, 34))
    _ball(image, (0.68, 0.68), (0.21, 0.21), (138, 14, 38))


def _kiwi(image: Image.Image, rng: random.Random) -> None:
    _ball(image, (0.5, 0.5), (0.42, 0.36), (116, 86, 48))
    _ball(image, (0.5, 0.5), (0.37, 0.31), (124, 176, 60))
    _ball(image, (0.5, 0.5), (0.11, 0.08), (226, 230, 180))
    draw = ImageDraw.Draw(image)
    for seed in range(34):
        angle = 2 * math.pi * seed / 34 + rng.uniform(-0.06, 0.06)
        x, y = 0.5 + 0.19 * math.cos(angle), 0.5 + 0.15 * math.sin(angle)
        draw.ellipse([v * CANVAS for v in (x - 0.012, y - 0.012, x + 0.012, y + 0.012)], fill=(24, 22, 18))


def _lemon(image: Image.Image, rng: random.Random) -> None:
    _ball(image, (0.14, 0.5), (0.08, 0.07), (222, 198, 40))
    _ball(image, (0.86, 0.5), (0.08, 0.07), (222, 198, 40))
    _ball(image, (0.5, 0.5), (0.38, 0.28), (238, 216, 56))
    _speckle(image, rng, (206, 180, 36), 90, 0.24)


def _orange(image: Image.Image, rng: random.Random) -> None:
    _ball(image, (0.5, 0.5), (0.4, 0.4), (240, 136, 24))
    _speckle(image, rng, (214, 112, 14), 160, 0.36)
    _ball(image, (0.52, 0.3), (0.04, 0.03), (110, 130, 50))


def _pear(image: Image.Image, rng: random.Random) -> None:
    for step in range(9):
        share = step / 8
        _ball(image, (0.5, 0.3 + 0.34 * share), (0.15 + 0.14 * share, 0.17 + 0.1 * share), (176, 190, 74))
    _speckle(image, rng, (130, 120, 50), 60, 0.16)
    _stem(image, (0.5, 0.16), (0.55, 0.03))


VARIETIES: dict[str, Painter] = {
    "Apple Red": _apple,
    "Banana": _banana,
    "Cherry": _cherry,
    "Kiwi": _kiwi,
    "Lemon": _lemon,
    "Orange": _orange,
    "Pear": _pear,
}


def draw_fruit(variety: str, number: int, per_turn: int) -> Image.Image:
    """Draw photograph `number` of the `per_turn` that are taken while the fruit turns once: RGB, 100x100 pixels."""
    rng = random.Random(f"{variety}/{number}")  # noqa: S311 - drawing, not cryptography
    image = Image.new("RGB", (CANVAS, CANVAS), "white")
    VARIETIES[variety](image, rng)
    turned = image.rotate(360 * number / per_turn, resample=Image.Resampling.BILINEAR, fillcolor="white")
    size = rng.uniform(0.86, 1.0)
    fruit = turned.resize((round(CANVAS * size),) * 2, Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (CANVAS, CANVAS), "white")
    canvas.paste(fruit, (rng.randrange(CANVAS - fruit.width + 1), rng.randrange(CANVAS - fruit.height + 1)))
    return canvas.filter(ImageFilter.GaussianBlur(1)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def write_images(folder: Path, per_variety: int) -> int:
    """Write `folder/<Variety>/<number>_100.jpg`; return the number of images."""
    for variety in VARIETIES:
        (folder / variety).mkdir(parents=True, exist_ok=True)
        for number in range(per_variety):
            draw_fruit(variety, number, per_variety).save(folder / variety / f"{number}_100.jpg", quality=90)
    return per_variety * len(VARIETIES)


def write_bad_images(folder: Path) -> int:
    """Add files that are not usable images to those of `write_images`; return how many."""
    good = (folder / "Apple Red" / "0_100.jpg").read_bytes()
    bad = {
        "Apple Red/empty.jpg": b"",
        "Banana/truncated.jpg": good[: len(good) // 2],
        "Kiwi/notes.jpg": b"Reminder: photograph the kiwis again.\n",
        "Pear/half a header.jpg": good[:40],
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    return len(bad)
