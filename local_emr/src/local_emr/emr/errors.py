"""The errors of the EMR API."""


class EmrError(Exception):
    """Answered to the client.

    Args:
        message: as AWS words it, where that is known.
        error_code: the `ErrorCode` member that InvalidRequestException may have; empty where AWS's is not known.
    """

    code = "InternalServerException"  # the exception's name in the API
    status = 400

    def __init__(self, message: str, error_code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code


class InvalidRequestError(EmrError):
    """What the newer operations answer to a wrong argument."""

    code = "InvalidRequestException"


class ValidationError(EmrError):
    """What the older operations (those that speak of job flows) answer."""

    code = "ValidationException"


class UnknownOperationError(EmrError):
    """An operation that the API does not have."""

    code = "UnknownOperationException"


class SerializationError(EmrError):
    """A request that is not JSON."""

    code = "SerializationException"


class ThrottlingError(EmrError):
    """Too many requests; botocore tries again."""

    code = "ThrottlingException"


class UnavailableError(EmrError):
    """Not now; botocore tries again."""

    code = "ServiceUnavailable"
    status = 503


class NotEmulatedError(InvalidRequestError):
    """AWS can, local_emr cannot."""

    def __init__(self, what: str) -> None:
        super().__init__(f"local_emr does not emulate {what}.")


def no_such_cluster(cluster_id: str) -> InvalidRequestError:
    """Return the error of an unknown cluster id."""
    return InvalidRequestError(f"Cluster id '{cluster_id}' is not valid.", "NoSuchCluster")
