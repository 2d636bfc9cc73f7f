"""The errors that a person can act on. Imports nothing, so that any module may raise them."""


class JobError(Exception):
    """An expected failure: printed as one line, without a traceback."""


class DamagedFileError(JobError):
    """A file was read, and is not what it should be: reading it again would not help."""


def without_credentials(error: Exception) -> str:
    """Return what to say of an error of botocore's for want of credentials, else an empty text.

    By the names of its classes: jobs on files do not import botocore.
    """
    if type(error).__name__ in ("NoCredentialsError", "CredentialRetrievalError", "PartialCredentialsError"):
        return f"no AWS credentials on this node ({error}): check its instance profile or environment"
    return ""
