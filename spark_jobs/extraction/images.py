"""From the bytes of an image file to the pixels the network takes."""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, WebPImagePlugin  # noqa: F401 - not among Pillow's first few

from spark_jobs.extraction.rejects import Reason, Rejected

# 50 million pixels are more than phones and full-frame cameras usually make. The header gives the dimensions before
# anything is decoded. The sides are bounded too, as resizing takes 36 bytes a pixel of the longer one: 50,000,000 x 1
# took 1.8 GB.
MAX_PIXELS = 50_000_000
MAX_SIDE = 30_000
# What an image may take while it is decoded, its file included, so that there is room in every worker at the same time
# (docs/cluster.md has the figures). 50 million pixels fit but for WebP, which ends at 32 million, and progressive JPEGs of
# four colors, at 45.
MAX_MEMORY = 550_000_000
_DECODED, _ONE_COLOR = 4, 1  # bytes a pixel: of every mode in Pillow, and what `_resized` adds
# Pillow has a WebP's pixels four times at once, for animations' sake, and its file twice.
_WEBP_BYTES_PER_PIXEL, _WEBP_FILES = 17, 2

# What browsers and cameras write. Every further format would be more C code that parses untrusted bytes.
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"RIFF": "WEBP",
}
# A BMP's second header begins with its own length. Two letters alone would make an image of any text on BMWs.
_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
_UNSUPPORTED_MAGIC = {
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"8BPS": "Photoshop",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x01\x00": "icon",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
}
# EXIF's orientations other than upright, and what makes them so.
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {5, 6, 7, 8}  # rows become columns
_FROM_THE_END = {3, 4, 7, 8}  # the first upright row is the last of the file's rows, or of its columns
STRIP_PIXELS = 1_000_000

# Pillow warns of damaged EXIF blocks and large images without naming the file; the rejects dataset names it.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image ready for the network.

    Attributes:
        pixels: uint8, (size, size, 3), RGB.
        width: of the source image, upright, in pixels.
        height: likewise.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int


def decode(content: bytes, size: int) -> Decoded:
    """Decode an image of any supported format, which its content decides, not its name.

    Takes the first frame, turned upright by its EXIF orientation, converted to RGB (alpha dropped), then resized with
    Pillow's default filter, as the reference features were made. Decoding a large JPEG at a fraction of its size
    (`Image.draft`) would take 28 ms instead of 104 for 12 megapixels, but moves features by up to 0.23.

    Args:
        content: the whole file.
        size: width and height of the result, in pixels.

    Raises:
        Rejected: `content` gives no image.
        MemoryError: this process cannot hold it; nothing else is ever raised.
    """
    kind = _format(content)
    try:
        with Image.open(io.BytesIO(content), formats=(kind,)) as image:
            _check_pixels(image)
            _check_memory(image, len(content))
            image.load()
            orientation = _orientation(image)
            width, height = image.size[::-1] if orientation in _SIDEWAYS else image.size
            pixels = np.asarray(_resized(image, orientation, size))
    except (Rejected, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise Rejected(Reason.TOO_LARGE, str(error)) from error
    except Exception as error:  # Pillow's decoders raise anything on damaged files
        raise _rejected(kind, content, error) from error
    return Decoded(pixels, width, height)


def _check_pixels(image: Image.Image) -> None:
    if max(image.size) > MAX_SIDE:
        raise Rejected(Reason.TOO_LARGE, f"{image.width} x {image.height} pixels; the limit is {MAX_SIDE} a side")
    if image.width * image.height > MAX_PIXELS:
        raise Rejected(Reason.TOO_LARGE, f"{image.width} x {image.height} pixels; the limit is {MAX_PIXELS} in all")


def _check_memory(image: Image.Image, file_bytes: int) -> None:
    per_pixel, files = _DECODED + _ONE_COLOR, 1
    if image.format == "WEBP":
        per_pixel, files = _WEBP_BYTES_PER_PIXEL, _WEBP_FILES
    elif "progressive" in image.info:  # a JPEG's coefficients, two bytes each, are all there before the first pixel
        per_pixel = _DECODED + 2 * len(image.getbands())
    needed = image.width * image.height * per_pixel + files * file_bytes
    if needed > MAX_MEMORY:
        raise Rejected(
            Reason.TOO_LARGE,
            f"{image.width} x {image.height} pixels of {image.format} in {file_bytes} bytes take {needed // 10**6} MB of"
            f" memory to decode; the limit is {MAX_MEMORY // 10**6}",
        )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 2 to 8; 1 where nothing is to be turned."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        return orientation if orientation in _TURNS else 1
    except Exception:  # noqa: BLE001 - damaged EXIF in an image that decodes counts as none
        return 1


def _resized(image: Image.Image, orientation: int, size: int) -> Image.Image:
    """Return the image upright, as RGB, in `size` x `size` pixels."""
    if image.mode == "RGB" and orientation == 1:
        return image.resize((size, size))
    width, height = image.size[::-1] if orientation in _SIDEWAYS else image.size
    if width * height <= STRIP_PIXELS:
        return _rgb(_turned(image, orientation)).resize((size, size))
    # A large image gets no second copy of four bytes a pixel, but one color at a time. Pillow resizes each color by itself:
    # it makes no difference to a pixel.
    return Image.merge("RGB", [_band(image, orientation, band).resize((size, size)) for band in range(3)])


def _band(image: Image.Image, orientation: int, band: int) -> Image.Image:
    """Return one color of the upright image, put together from turned and converted strips."""
    whole = Image.new("L", image.size[::-1] if orientation in _SIDEWAYS else image.size)
    for top, strip in _upright_strips(image, orientation):
        whole.paste(_rgb(strip).getchannel(band), (0, top))
    return whole


def _upright_strips(image: Image.Image, orientation: int) -> Iterator[tuple[int, Image.Image]]:
    """Cut the upright image into strips of rows; yield the first row of each, and the strip."""
    width, height = image.size[::-1] if orientation in _SIDEWAYS else image.size
    step = max(1, STRIP_PIXELS // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        first, last = (height - bottom, height - top) if orientation in _FROM_THE_END else (top, bottom)
        box = (first, 0, last, width) if orientation in _SIDEWAYS else (0, first, width, last)
        yield top, _turned(image.crop(box), orientation)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image if orientation == 1 else image.transpose(_TURNS[orientation])


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips at 255 instead of scaling
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Rejected(Reason.UNSUPPORTED, "floating-point pixels")
    return image.convert("RGB")


def _rejected(kind: str, content: bytes, error: Exception) -> Rejected:
    """Classify a Pillow error; the exception type varies between versions."""
    if isinstance(error, UnidentifiedImageError):
        return Rejected(Reason.TRUNCATED, f"{kind} with an incomplete or damaged header")
    truncated = isinstance(error, EOFError) or "truncated" in str(error).lower()
    if kind == "WEBP":  # its decoder does not say, but the header holds the length
        truncated |= int.from_bytes(content[4:8], "little") + 8 > len(content)
    return Rejected(Reason.TRUNCATED if truncated else Reason.CORRUPT, f"{kind}: {type(error).__name__}: {error}")


def _goes_on_as(kind: str, content: bytes) -> bool:
    """Say whether the bytes after the first ones fit a format whose first ones other files have, too."""
    if kind == "WEBP":
        return content[8:12] == b"WEBP"
    if kind == "BMP":
        return len(content) < 18 or int.from_bytes(content[14:18], "little") in _BMP_HEADERS
    return True


def _format(content: bytes) -> str:
    """Return the format that the first bytes announce, in Pillow's name for it."""
    if not content:
        raise Rejected(Reason.EMPTY, "0 bytes")
    for magic, name in _MAGIC.items():
        if content.startswith(magic) and _goes_on_as(name, content):
            return name
    if content[4:8] == b"ftyp":
        raise Rejected(Reason.UNSUPPORTED, "HEIC, AVIF or another ISO media file")
    for magic, name in _UNSUPPORTED_MAGIC.items():
        if content.startswith(magic):
            raise Rejected(Reason.UNSUPPORTED, f"{name}; supported: {', '.join(dict.fromkeys(_MAGIC.values()))}")
    raise Rejected(Reason.NOT_AN_IMAGE, f"begins with {content[:16]!r}")
