"""The form shows what the settings declare, in sections."""

import pytest

from fruit_features.config import DEFAULT_REGION
from fruit_features.prices import price
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


def test_types_with_a_price_are_proposed_first_and_the_others_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def priced() -> list[bool]:
        return [
            price(DEFAULT_REGION, each) is not None for each in form_params()["core_instance_type"].schema["examples"]
        ]

    proposed = form_params()["core_instance_type"].schema["examples"]
    assert proposed[0] == "m5.xlarge"
    assert {"c7g.xlarge", "c7g.4xlarge", "m6g.xlarge", "r6g.xlarge"} < set(proposed)
    assert priced() == sorted(priced(), reverse=True)
    assert len(set(priced())) == 2, "without prices for some there is nothing to order"
    for name in ("primary_instance_type", "core_instance_type"):
        said = form_params()[name].description or ""
        assert "No price known in eu-west-3 for m7i, r5: set FRUITS_PRICES (docs/cost.md)." in said

    monkeypatch.setenv("FRUITS_PRICES", '{"eu-west-3": {"m7i.xlarge": 0.3, "r5.xlarge": 0.3}}')
    assert all(priced())
    assert "No price known" not in (form_params()["core_instance_type"].description or "")


def test_an_estimate_without_a_price_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fruit_features.prices.PRICES", {})
    assert estimates().endswith("; no price known for m5.xlarge in eu-west-3: set FRUITS_PRICES (docs/cost.md).")
