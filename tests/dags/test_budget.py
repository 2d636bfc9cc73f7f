"""What a run will cost is said, and refused, before there is a cluster; what it has cost, afterwards."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk.exceptions import AirflowFailException

from fruit_features import prices
from fruit_features.budget import check_budget, figures
from fruit_features.run import Plan, Run

Build = Callable[..., Run]
START = datetime(2026, 11, 22, 10, tzinfo=UTC)


def plan(new: int) -> Plan:
    return Plan(images=new, new=new, model_id=None, model_exported=False, pca_model=None, needs_cluster=True)


def test_the_estimate_is_said(make_run: Build) -> None:
    assert check_budget(make_run(), plan(0)) == (
        "estimate: $0.20 (0.2 h of 3 x m5.xlarge at $0.816 an hour, prices of 2 March 2025)"
    )


def test_more_images_cost_more_and_more_nodes_do_not(make_run: Build) -> None:
    # A million images: 42 minutes of extraction on 8 vCPUs, 2 of reduction, 15 of everything else.
    assert "$0.80 (1.0 h of 3 x" in check_budget(make_run(), plan(1_000_000))
    assert "(0.4 h of 11 x" in check_budget(make_run(core_instance_count=10), plan(1_000_000))


def test_a_run_above_its_limit_is_refused_with_the_numbers(make_run: Build) -> None:
    with pytest.raises(
        AirflowFailException, match=r"^this run would cost about \$0\.80 .*, more than max_cost_usd = 0\.5: "
    ):
        check_budget(make_run(max_cost_usd=0.5), plan(1_000_000))
    assert check_budget(make_run(max_cost_usd=0.9), plan(1_000_000))


def test_an_unknown_price_is_never_guessed(make_run: Build) -> None:
    assert check_budget(make_run(core_instance_type="m7a.xlarge"), plan(0)).endswith("; no price known in eu-west-3")
    with pytest.raises(
        AirflowFailException, match=r"no price is known for 1 x m5.xlarge \+ 2 x m7a.xlarge in eu-west-3"
    ):
        check_budget(make_run(core_instance_type="m7a.xlarge", max_cost_usd=5), plan(0))


def test_an_installation_can_name_its_own_prices(make_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_PRICES", '{"eu-west-3": {"m7a.xlarge": 0.5}}')
    assert prices.cluster_price("eu-west-3", {"m5.xlarge": 1, "m7a.xlarge": 2}) == pytest.approx(1.272)


def test_the_cost_of_a_cluster_is_its_life_times_its_price(make_run: Build) -> None:
    timeline = {"CreationDateTime": START, "EndDateTime": START + timedelta(minutes=30)}
    cluster = {"Id": "j-1", "Status": {"Timeline": timeline}}

    assert figures(make_run(), cluster, START) == {"cluster": "j-1", "hours": 0.5, "cost_usd": 0.41}
    assert figures(make_run(region="us-east-1"), cluster, START)["cost_usd"] is None
    del timeline["EndDateTime"]
    assert figures(make_run(), cluster, START + timedelta(hours=1))["hours"] == 1
