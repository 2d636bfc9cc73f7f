"""Settings of the installation that cannot work are told when Airflow reads them, not by a run's cluster."""

import runpy

import pytest

from fruit_features import config


def read_config() -> dict[str, object]:
    return runpy.run_path(config.__file__)


@pytest.mark.parametrize("name", ["orchard", "Verger d+été_1.2:a/b=c-@", "ö" * 256])
def test_the_name_of_a_deployment_may_be_what_a_tag_may_be(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("FRUITS_DEPLOYMENT", name)
    assert read_config()["DEPLOYMENT"] == name
    monkeypatch.setenv("FRUITS_DEPLOYMENT", "")
    assert read_config()["DEPLOYMENT"] is None


@pytest.mark.parametrize("name", ["a#b", "a,b", "l'orchard", "aws:orchard", "AWS:orchard", "x" * 257])
def test_a_name_that_emr_refuses_as_a_tag_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("FRUITS_DEPLOYMENT", name)
    with pytest.raises(ValueError, match=r"FRUITS_DEPLOYMENT is .* refuses as a tag: use at most 256 letters"):
        read_config()
