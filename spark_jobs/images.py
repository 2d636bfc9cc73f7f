"""From the bytes of an image file to the pixels the network takes."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from spark_jobs.rejects import Reason, Rejected

# 50 million pixels are 200 MB in Pillow, four bytes a pixel: more than phones and full-frame cameras usually make,
# and what a worker can hold. Dimensions are known before anything is decoded.
MAX_PIXELS = 50_000_000

# What browsers and cameras write. Each further format is more C code that reads strangers' bytes.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "GIF")
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
}
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
_ORIENTATION = 0x0112  # EXIF tag

# Raised by Pillow itself at twice its limit, or logged; the limit here is stricter and checked on every image.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


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
    """Decode an image of any supported format; its content decides which, never its name.

    The first frame, turned upright by its EXIF orientation, converted to RGB (alpha dropped), then resized with
    Pillow's default filter, as the reference features were made.

    Args:
        content: the whole file.
        size: width and height of the result, in pixels.

    Raises:
        Rejected: `content` gives no image; nothing else is ever raised.
    """
    if not content:
        raise Rejected(Reason.EMPTY, "0 bytes")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Rejected(
                    Reason.TOO_LARGE, f"{image.width} x {image.height} pixels; the limit is {MAX_PIXELS} in all"
                )
            image.load()
            upright = _upright(image)
            width, height = upright.size
            pixels = np.asarray(_rgb(upright).resize((size, size)))
    except Rejected:
        raise
    except Image.DecompressionBombError as error:
        raise Rejected(Reason.TOO_LARGE, str(error)) from error
    except Exception as error:  # Pillow's decoders raise anything on damaged files
        raise _rejected(content, error) from error
    return Decoded(pixels, width, height)


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(_ORIENTATION, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF in an image that decodes: as if there were none  # noqa: BLE001
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips at 255 instead of scaling
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Rejected(Reason.UNSUPPORTED, "floating-point pixels")
    return image.convert("RGB")


def _rejected(content: bytes, error: Exception) -> Rejected:
    """Tell apart what Pillow reports in one exception or another from version to version."""
    detail = f"{type(error).__name__}: {error}" if not isinstance(error, UnidentifiedImageError) else ""
    known = _known_format(content)
    if not known:
        if name := _unsupported_format(content):
            return Rejected(Reason.UNSUPPORTED, f"{name}; read are {', '.join(_FORMATS)}")
        return Rejected(Reason.NOT_AN_IMAGE, detail or f"begins with {content[:16]!r}")
    if isinstance(error, EOFError | UnidentifiedImageError) or "truncated" in str(error).lower():
        return Rejected(Reason.TRUNCATED, detail or f"{known} that ends within its header, after {len(content)} bytes")
    return Rejected(Reason.CORRUPT, detail)


def _known_format(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WebP"
    return next((name for magic, name in _MAGIC.items() if content.startswith(magic)), None)


def _unsupported_format(content: bytes) -> str | None:
    if content[4:8] == b"ftyp":
        return "HEIC, AVIF or another ISO media file"
    return next((name for magic, name in _UNSUPPORTED_MAGIC.items() if content.startswith(magic)), None)
