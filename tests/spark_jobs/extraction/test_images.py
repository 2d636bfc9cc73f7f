"""Decoding: what is used, what is rejected and why, and that nothing else can happen."""

import io
import os
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFile

from spark_jobs.extraction import images
from spark_jobs.extraction.images import Decoded, decode
from spark_jobs.extraction.rejects import Reason, Rejected

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]  # what Pillow has to say of damaged files

COLOR = (200, 100, 50)
FUZZ_CASES = int(os.environ.get("FRUITS_FUZZ_CASES", "2000"))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def plain(mode: str = "RGB", color: object = COLOR, size: tuple[int, int] = (30, 20)) -> Image.Image:
    return Image.new(mode, size, color)


def photo() -> Image.Image:
    y, x, channel = np.indices((80, 100, 3))
    return Image.fromarray(((x * 2 + y * (channel + 1)) % 256).astype(np.uint8))


def png(width: int, height: int, rows: bytes) -> bytes:
    """A 1-bit grayscale PNG of any declared size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def palette_with_transparency() -> bytes:
    image = plain().quantize(4)
    return encoded(image, "PNG", transparency=bytes([255, 0, 0, 0]))


def gif_of_two_frames() -> bytes:
    return encoded(plain(), "GIF", save_all=True, append_images=[plain(color=(0, 0, 255))])


def inverted_cmyk() -> bytes:
    return encoded(plain("CMYK", (55, 155, 205, 0)), "JPEG", quality=100)


@pytest.mark.parametrize(
    ("content", "color", "tolerance"),
    [
        (encoded(plain(), "PNG"), COLOR, 0),
        (encoded(plain(), "BMP"), COLOR, 0),
        (encoded(plain(), "WEBP", lossless=True), COLOR, 0),
        (encoded(plain(), "JPEG", quality=100), COLOR, 2),
        (encoded(plain(), "JPEG", progressive=True, quality=100), COLOR, 2),
        (inverted_cmyk(), COLOR, 3),
        (gif_of_two_frames(), COLOR, 0),  # the first frame only
        (encoded(plain("L", 90), "PNG"), (90, 90, 90), 0),
        (encoded(plain("L", 90), "JPEG", quality=100), (90, 90, 90), 1),
        (encoded(plain("1", 1), "PNG"), (255, 255, 255), 0),
        (encoded(plain().quantize(4), "PNG"), COLOR, 0),
        (palette_with_transparency(), COLOR, 0),
        (encoded(plain("RGBA", (*COLOR, 7)), "PNG"), COLOR, 0),  # alpha is dropped, not blended
        (encoded(plain("RGBA", (*COLOR, 255)), "WEBP", lossless=True), COLOR, 0),
        (encoded(plain("LA", (90, 3)), "PNG"), (90, 90, 90), 0),
        (encoded(Image.fromarray(np.full((20, 30), 0x8123, np.uint16)), "PNG"), (0x81, 0x81, 0x81), 0),  # scaled
        (encoded(plain(size=(1, 1)), "PNG"), COLOR, 0),
        (encoded(plain(size=(1, 9000)), "PNG"), COLOR, 0),
    ],
    ids=lambda value: "",
)
def test_every_kind_of_image_becomes_rgb(content: bytes, color: tuple[int, ...], tolerance: int) -> None:
    decoded = decode(content, 224)

    assert decoded.pixels.shape == (224, 224, 3)
    assert decoded.pixels.dtype == np.uint8
    assert np.abs(decoded.pixels.astype(int) - color).max() <= tolerance


def test_width_and_height_are_of_the_source_image() -> None:
    decoded = decode(encoded(plain(size=(30, 20)), "PNG"), 224)

    assert (decoded.width, decoded.height) == (30, 20)


def test_pixels_are_those_of_pillows_default_resize() -> None:
    content = encoded(photo(), "JPEG")

    expected = np.asarray(Image.open(io.BytesIO(content)).resize((224, 224)))
    np.testing.assert_array_equal(decode(content, 224).pixels, expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_turns_the_image_upright(kind: str) -> None:
    image = plain(color=(0, 0, 0), size=(40, 20))
    image.paste((255, 255, 255), (0, 0, 20, 20))  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise: white on top
    decoded = decode(encoded(image, kind, exif=exif), 224)

    assert (decoded.width, decoded.height) == (20, 40)
    assert decoded.pixels[:90].min() > 200
    assert decoded.pixels[134:].max() < 55


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "1", "P", "I;16", "CMYK"])
def test_strips_make_no_difference_to_a_pixel(mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large, an image gets the pixels that Pillow makes of it as a whole: small ones are decoded so."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(orientation).integers(0, 256, (411, 97, 3), np.uint8)
    grey = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    image = grey if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "JPEG" if mode == "CMYK" else "PNG", exif=exif)
    whole = decode(stream.getvalue(), 224)
    monkeypatch.setattr(images, "STRIP_PIXELS", 2_000)
    in_strips = decode(stream.getvalue(), 224)

    assert (in_strips.width, in_strips.height) == (whole.width, whole.height)
    np.testing.assert_array_equal(in_strips.pixels, whole.pixels)


def test_damaged_exif_does_not_cost_the_image() -> None:
    content = encoded(plain(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff rubbish")

    assert decode(content, 224).width == 30


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (b"", Reason.EMPTY, "0 bytes"),
        (b"Dear reader,", Reason.NOT_AN_IMAGE, "begins with b'Dear reader,'"),
        (b"\x00" * 1000, Reason.NOT_AN_IMAGE, "begins with"),
        (b"%PDF-1.7 ...", Reason.NOT_AN_IMAGE, "begins with"),
        (b"BMW is short for Bayerische Motoren Werke.", Reason.NOT_AN_IMAGE, "begins with b'BMW is short for"),
        (encoded(photo(), "JPEG")[:1000], Reason.TRUNCATED, "truncated"),
        (encoded(photo(), "JPEG")[:-3], Reason.TRUNCATED, "truncated"),
        (encoded(photo(), "JPEG")[:100], Reason.TRUNCATED, "Truncated"),
        (b"\xff\xd8\xff", Reason.TRUNCATED, "header"),
        (encoded(photo(), "PNG")[:200], Reason.TRUNCATED, "truncated"),
        (encoded(photo(), "GIF")[:1000], Reason.TRUNCATED, "truncated"),
        (encoded(photo(), "BMP")[:2000], Reason.TRUNCATED, "truncated"),
        (encoded(photo(), "WEBP")[:500], Reason.TRUNCATED, "could not"),
        (encoded(plain(), "TIFF"), Reason.UNSUPPORTED, "TIFF"),
        (b"\x00\x00\x00\x1cftypheic" + bytes(100), Reason.UNSUPPORTED, "HEIC"),
        (png(20_000, 20_000, zlib.compress(b"\x00" * 100)), Reason.TOO_LARGE, ""),
        (png(8_000, 8_000, zlib.compress(b"\x00" * 100)), Reason.TOO_LARGE, "8000 x 8000 pixels"),
        (png(50_000_000, 1, zlib.compress(b"\x00" * 100)), Reason.TOO_LARGE, "the limit is 30000 a side"),
        (png(1, 30_001, zlib.compress(b"\x00" * 100)), Reason.TOO_LARGE, "the limit is 30000 a side"),
    ],
    ids=lambda value: value if isinstance(value, Reason) else "",
)
def test_what_is_not_an_image_has_a_reason_and_a_detail(content: bytes, reason: Reason, detail: str) -> None:
    with pytest.raises(Rejected) as rejected:
        decode(content, 224)

    assert rejected.value.reason == reason
    assert detail in rejected.value.detail


@pytest.mark.parametrize("side", [8_000, 20_000])  # Pillow itself refuses the larger one only
def test_a_bomb_is_rejected_before_it_takes_memory(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = png(side, side, zlib.compress(bytes(side * (side // 8 + 1))))  # 10 or 50 kB
    monkeypatch.delattr(ImageFile.ImageFile, "load")  # what takes the memory

    with pytest.raises(Rejected, match=r"^too_large"):
        decode(bomb, 224)


MUTATIONS: list[Callable[[random.Random, bytearray], None]] = []


def mutation(function: Callable[[random.Random, bytearray], None]) -> Callable[[random.Random, bytearray], None]:
    MUTATIONS.append(function)
    return function


@mutation
def flip_bytes(dice: random.Random, content: bytearray) -> None:
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        content[dice.randrange(len(content))] = dice.randrange(256)


@mutation
def damage_header(dice: random.Random, content: bytearray) -> None:
    content[dice.randrange(min(64, len(content)))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))


@mutation
def write_extreme_number(dice: random.Random, content: bytearray) -> None:
    at = dice.randrange(max(1, len(content) - 4))
    content[at : at + 4] = dice.choice(
        (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\x00\x00\x40\x00")
    )


@mutation
def cut(dice: random.Random, content: bytearray) -> None:
    del content[dice.randrange(len(content)) :]


@mutation
def remove_a_piece(dice: random.Random, content: bytearray) -> None:
    at = dice.randrange(len(content))
    del content[at : at + dice.randrange(1, 200)]


@mutation
def repeat_a_piece(dice: random.Random, content: bytearray) -> None:
    at = dice.randrange(len(content))
    content[at:at] = content[at : at + dice.randrange(1, 500)]


@mutation
def insert_noise(dice: random.Random, content: bytearray) -> None:
    at = dice.randrange(len(content))
    content[at:at] = dice.randbytes(dice.randrange(1, 100))


def fuzz_seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 3
    small = photo().resize((50, 40))
    return [
        encoded(photo(), "JPEG", exif=exif),
        encoded(photo(), "JPEG", progressive=True),
        encoded(small.convert("CMYK"), "JPEG"),
        encoded(small.convert("L"), "JPEG"),
        encoded(small, "PNG"),
        encoded(small.convert("RGBA"), "PNG", exif=exif),
        encoded(small.quantize(16), "PNG"),
        encoded(Image.fromarray(np.arange(2000, dtype=np.uint16).reshape(40, 50)), "PNG"),
        encoded(small, "WEBP"),
        encoded(small, "WEBP", lossless=True),
        encoded(small, "BMP"),
        encoded(small.quantize(16), "BMP"),
        encoded(small.quantize(16), "GIF"),
        gif_of_two_frames(),
        encoded(small, "MPO", save_all=True, append_images=[small]),
    ]


def test_no_mutated_file_does_anything_but_decode_or_be_rejected() -> None:
    dice = random.Random(20_261_122)
    seeds = fuzz_seeds()
    outcomes: dict[str, int] = {}
    for case in range(FUZZ_CASES):
        content = bytearray(seeds[case % len(seeds)])
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            if content:
                dice.choice(MUTATIONS)(dice, content)
        try:
            decoded = decode(bytes(content), 224)
        except Rejected as rejected:
            assert rejected.detail  # noqa: PT017 - both ways out are right
            outcomes[rejected.reason] = outcomes.get(rejected.reason, 0) + 1
        else:
            assert isinstance(decoded, Decoded)
            assert decoded.pixels.shape == (224, 224, 3)
            outcomes["used"] = outcomes.get("used", 0) + 1

    assert sum(outcomes.values()) == FUZZ_CASES
    # The mutations reach every part of the decoder.
    assert {"used", Reason.TRUNCATED, Reason.CORRUPT, Reason.NOT_AN_IMAGE, Reason.TOO_LARGE} <= outcomes.keys()
