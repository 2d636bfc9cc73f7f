"""Types of the jobs' command-line arguments: functions that argparse calls, each named for what its errors say."""

import argparse


def share(text: str) -> float:
    """Parse a share that must not be 0.

    Raises:
        argparse.ArgumentTypeError: not in (0, 1].
    """
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in (0, 1]")
    return value


def share_or_zero(text: str) -> float:
    """Parse a share that may be 0.

    Raises:
        argparse.ArgumentTypeError: not in [0, 1].
    """
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1]")
    return value


def positive(text: str) -> int:
    """Parse a positive number.

    Raises:
        argparse.ArgumentTypeError: less than 1.
    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value
