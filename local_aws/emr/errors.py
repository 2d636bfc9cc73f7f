"""The errors of the EMR API."""

from __future__ import annotations


class EmrError(Exception):
    """Answered to the client: `code` is the exception's name in the API."""

    code = "InternalServerException"
    status = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequestError(EmrError):
    """The newer operations say this of a wrong argument."""

    code = "InvalidRequestException"


class ValidationError(EmrError):
    """The older operations (those that speak of job flows) say this."""

    code = "ValidationException"


class ThrottlingError(EmrError):
    """Too many requests; botocore tries again."""

    code = "ThrottlingException"


class NotEmulatedError(EmrError):
    """AWS can, local_aws cannot."""

    code = "InvalidRequestException"

    def __init__(self, what: str) -> None:
        super().__init__(f"local_aws does not emulate {what}.")
