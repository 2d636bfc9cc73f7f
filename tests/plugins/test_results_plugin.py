"""Where the results pages look: what a run was triggered with, else the params' defaults."""

from collections.abc import Mapping
from typing import Any

import pytest

import results_plugin


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """What each run was triggered with; what is opened is the arguments."""
    conf = {"plain": {}, "named": {"bucket": "orchard", "output_prefix": None, "images_prefix": "/"}}
    monkeypatch.setattr(results_plugin, "_conf", conf.__getitem__)
    monkeypatch.setattr(results_plugin, "_results", lambda *place: place)
    for name in ("BUCKET", "OUTPUT_PREFIX", "IMAGES_BUCKET", "IMAGES_PREFIX"):
        monkeypatch.delenv(f"FRUITS_{name}", raising=False)
    return conf


@pytest.mark.usefixtures("opened")
def test_the_places_are_a_runs_own_or_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_BUCKET", "fruits")
    monkeypatch.setenv("FRUITS_OUTPUT_PREFIX", "out/")

    assert results_plugin.open_results(None) == ("fruits", "out/", "fruits", "images/")
    assert results_plugin.open_results("plain") == ("fruits", "out/", "fruits", "images/")
    assert results_plugin.open_results("named") == ("orchard", "", "orchard", "")


@pytest.mark.usefixtures("opened")
def test_without_a_bucket_it_says_what_to_set() -> None:
    with pytest.raises(results_plugin.ResultsError, match="set FRUITS_BUCKET"):
        results_plugin.open_results(None)
