"""Small pictures of published images."""

import io

from PIL import Image

from spark_jobs.extraction.images import decode
from spark_jobs.extraction.mobilenet import INPUT_SIZE


def thumbnail(content: bytes) -> bytes:
    """Return the pixels that the network saw as a JPEG, in the proportions of the image; never the file itself.

    A file of the bucket might be anything, a page with a script too; what is sent was drawn here.

    Raises:
        Rejected: it is no image any more.
    """
    decoded = decode(content, INPUT_SIZE)
    longer = max(decoded.width, decoded.height)
    size = (max(1, INPUT_SIZE * decoded.width // longer), max(1, INPUT_SIZE * decoded.height // longer))
    drawn = io.BytesIO()
    Image.fromarray(decoded.pixels).resize(size).save(drawn, "JPEG", quality=85)
    return drawn.getvalue()
