"""The browser for every test of this folder."""

from tests.chromium import browser

__all__ = ["browser"]
