"""The errors that a person can act on. Imports nothing, so that any module may raise them."""


class JobError(Exception):
    """An expected failure: printed as one line, without a traceback."""


class DamagedFileError(JobError):
    """A file was read, and is not what it should be: reading it again would not help."""
