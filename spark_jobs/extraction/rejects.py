"""Why an image could not be used: the stable codes of the rejects dataset."""

from enum import StrEnum


class Reason(StrEnum):
    """One code for each way an image fails; the codes are data, so they are never renamed.

    Transient reasons say nothing about the image: the next run tries it again.
    """

    EMPTY = "empty"  # an object of 0 bytes
    NOT_AN_IMAGE = "not_an_image"  # no known image format, whatever the name says
    UNSUPPORTED = "unsupported"  # an image of a format or pixel type that is not supported
    TRUNCATED = "truncated"  # an image whose data end too early
    CORRUPT = "corrupt"  # an image whose data contradict themselves
    TOO_LARGE = "too_large"  # more bytes or pixels than one worker's memory is meant for
    NOT_FOUND = "not_found"  # transient: deleted between listing and reading; the same file may come back
    ACCESS_DENIED = "access_denied"  # transient: policies and storage classes get fixed
    CHANGED = "changed"  # transient: the ETag differs from the manifest's; the next listing has the new one
    CRASHED_WORKER = "crashed_worker"  # ended the process that decoded it, in a task that had failed before
    READ_TIMEOUT = "read_timeout"  # transient; of earlier versions only: now S3's failures fail the task instead
    READ_ERROR = "read_error"  # transient; likewise


TRANSIENT = frozenset({Reason.NOT_FOUND, Reason.ACCESS_DENIED, Reason.CHANGED, Reason.READ_TIMEOUT, Reason.READ_ERROR})


class Rejected(Exception):  # noqa: N818 - not an error of the job but an outcome for one image
    """An image that cannot be used.

    Attributes:
        reason: the code.
        detail: one line of text, at most 300 characters.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = " ".join(detail.split())[:300]
        super().__init__(f"{reason}: {self.detail}")
