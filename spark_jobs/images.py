"""From the bytes of an image file to the pixels the network takes."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError, WebPImagePlugin  # noqa: F401 - not among Pillow's first few

from spark_jobs.rejects import Reason, Rejected

# 50 million pixels are 200 MB in Pillow, four bytes a pixel: more than phones and full-frame cameras usually make,
# and what a worker can hold. Dimensions are known before anything is decoded.
MAX_PIXELS = 50_000_000

# What browsers and cameras write; a JPEG may hold more pictures (MPO). Each further format is more C code that reads
# strangers' bytes.
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

# Pillow warns of each damaged EXIF block and of large images, without naming the file: rejects do that.
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
    """Decode an image of any supported format; its content decides which, never its name.

    The first frame, turned upright by its EXIF orientation, converted to RGB (alpha dropped), then resized with
    Pillow's default filter, as the reference features were made. Decoding a large JPEG at a fraction of its size
    (`Image.draft`) would take 28 ms instead of 104 for 12 megapixels, but moves features by up to 0.23.

    Args:
        content: the whole file.
        size: width and height of the result, in pixels.

    Raises:
        Rejected: `content` gives no image; nothing else is ever raised.
    """
    known = _format(content)
    try:
        with Image.open(io.BytesIO(content), formats=(known,)) as image:
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
        raise _rejected(known, content, error) from error
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


def _rejected(known: str, content: bytes, error: Exception) -> Rejected:
    """Tell apart what Pillow reports in one exception or another from version to version."""
    if isinstance(error, UnidentifiedImageError):
        return Rejected(Reason.TRUNCATED, f"{known} that ends or breaks within its header")
    truncated = isinstance(error, EOFError) or "truncated" in str(error).lower()
    if known == "WEBP":  # its decoder does not say; the header tells the length
        truncated |= int.from_bytes(content[4:8], "little") + 8 > len(content)
    return Rejected(Reason.TRUNCATED if truncated else Reason.CORRUPT, f"{known}: {type(error).__name__}: {error}")


def _format(content: bytes) -> str:
    """Return what the first bytes say the image is."""
    if not content:
        raise Rejected(Reason.EMPTY, "0 bytes")
    known = next((name for magic, name in _MAGIC.items() if content.startswith(magic)), None)
    if known and (known != "WEBP" or content[8:12] == b"WEBP"):
        return known
    if content[4:8] == b"ftyp":
        raise Rejected(Reason.UNSUPPORTED, "HEIC, AVIF or another ISO media file")
    for magic, name in _UNSUPPORTED_MAGIC.items():
        if content.startswith(magic):
            raise Rejected(Reason.UNSUPPORTED, f"{name}; read are {', '.join(dict.fromkeys(_MAGIC.values()))}")
    raise Rejected(Reason.NOT_AN_IMAGE, f"begins with {content[:16]!r}")
