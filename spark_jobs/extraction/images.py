"""From the bytes of an image file to the pixels the network takes."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError, WebPImagePlugin  # noqa: F401 - not among Pillow's first few

from spark_jobs.extraction.rejects import Reason, Rejected

# 50 million pixels are more than phones and full-frame cameras usually make. The header gives the dimensions before
# anything is decoded. The sides are bounded too, as resizing takes 36 bytes a pixel of the longer one: 50,000,000 x 1
# took 1.8 GB. What the largest accepted images add to a worker's 250 MB, measured: JPEG 197 MB, rotated by EXIF 384,
# progressive 335, CMYK 388; PNG 244 to 390, 30,000 x 1,666 pixels 241; GIF 244; WebP 734.
MAX_PIXELS = 50_000_000
MAX_SIDE = 30_000

# What browsers and cameras write. Every further format would be more C code that parses untrusted bytes.
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"RIFF": "WEBP",
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
            image.load()
            upright = _upright(image)
            if upright is not image:
                image.close()  # its pixels are not needed twice
            width, height = upright.size
            pixels = np.asarray(_rgb(upright).resize((size, size)))
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


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(_ORIENTATION, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - damaged EXIF in an image that decodes counts as none
        return image


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


def _format(content: bytes) -> str:
    """Return the format that the first bytes announce, in Pillow's name for it."""
    if not content:
        raise Rejected(Reason.EMPTY, "0 bytes")
    kind = next((name for magic, name in _MAGIC.items() if content.startswith(magic)), None)
    if kind and (kind != "WEBP" or content[8:12] == b"WEBP"):
        return kind
    if content[4:8] == b"ftyp":
        raise Rejected(Reason.UNSUPPORTED, "HEIC, AVIF or another ISO media file")
    for magic, name in _UNSUPPORTED_MAGIC.items():
        if content.startswith(magic):
            raise Rejected(Reason.UNSUPPORTED, f"{name}; supported: {', '.join(dict.fromkeys(_MAGIC.values()))}")
    raise Rejected(Reason.NOT_AN_IMAGE, f"begins with {content[:16]!r}")
