"""Identifiers and times as EMR makes them."""

import secrets
import string
from datetime import UTC, datetime

ALPHABET = string.ascii_uppercase + string.digits


def identifier(prefix: str) -> str:
    """Return a new identifier such as `j-2AXXXXXXGAPLF`."""
    return f"{prefix}-{''.join(secrets.choice(ALPHABET) for _ in range(13))}"


def now() -> datetime:
    """Return the present, in UTC."""
    return datetime.now(UTC)
