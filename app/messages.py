"""What people read when a photograph cannot be used: the pipeline's own reasons, in a sentence that says what to do."""

from spark_jobs.extraction.images import MAX_PIXELS
from spark_jobs.extraction.rejects import Reason

_MESSAGES = {
    Reason.EMPTY: "The file is empty: choose another one.",
    Reason.NOT_AN_IMAGE: "This is no image: choose a photograph (JPEG, PNG, WebP, GIF or BMP).",
    Reason.UNSUPPORTED: "This kind of image is not supported: save it as JPEG or PNG and try again.",
    Reason.TRUNCATED: "The image is incomplete: send it again, or choose another one.",
    Reason.CORRUPT: "The image is damaged: choose another one.",
    Reason.TOO_LARGE: f"The image is too large: at most {MAX_PIXELS // 1_000_000} million pixels are taken.",
}


def message(reason: Reason) -> str:
    """Return the sentence for a reason."""
    return _MESSAGES.get(reason, "The image cannot be used: choose another one.")
