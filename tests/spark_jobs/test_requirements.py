"""pip, which the nodes have, installs what uv has locked: unlike uv it heeds the upper bounds of Requires-Python."""

import re
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.conftest import PROJECT

LOCKS = sorted(PROJECT.glob("bootstrap/requirements*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_of_the_nodes_is_released_for_their_python(lock: Path) -> None:
    pins = set(re.findall(r"^([\w.-]+)==", lock.read_text(encoding="utf-8"), re.MULTILINE))
    here = {re.sub(r"[._]", "-", found.name.lower()): found.metadata["Requires-Python"] for found in distributions()}
    closed = [name for name in pins & here.keys() if "3.11.9" not in SpecifierSet(here[name] or "")]

    assert len(pins & here.keys()) > 20
    assert closed == []
