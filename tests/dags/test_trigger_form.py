"""The form shows what the settings declare, in sections."""

import pytest

from fruit_features.settings import PARAMS
from fruit_features.trigger_form import ADVANCED, SECTIONS, estimates, form_params


def test_the_form_has_every_param_once_section_by_section() -> None:
    params = form_params()
    assert sorted(params) == sorted(PARAMS)
    sections = [param.schema["section"] for param in params.values()]
    assert list(dict.fromkeys(sections)) == [*SECTIONS, ADVANCED]
    assert sections == sorted(sections, key=[*SECTIONS, ADVANCED].index), "each section is in one piece"


@pytest.mark.parametrize("name", PARAMS)
def test_the_form_changes_neither_defaults_nor_what_is_allowed(name: str) -> None:
    declared, shown = PARAMS[name], form_params()[name]
    assert shown.value == declared.value
    assert {**declared.schema, "section": "", "examples": ""} == {**shown.schema, "section": "", "examples": ""}


def test_types_and_releases_are_proposed_and_others_can_be_typed() -> None:
    params = form_params()
    assert "m6g.2xlarge" in params["core_instance_type"].schema["examples"]
    assert params["core_instance_type"].resolve("i4i.8xlarge") == "i4i.8xlarge"
    assert params["release_label"].resolve("emr-7.99.0") == "emr-7.99.0"


def test_the_estimates_of_the_default_cluster_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "1,000 new images about 15 min and $0.20, 100,000 new images about 19 min and $0.26"
    assert said in (form_params()["max_cost_usd"].description or "")
    monkeypatch.setattr("fruit_features.budget.hourly_price", lambda _: None)
    assert "1,000 new images about 15 min," in estimates()
