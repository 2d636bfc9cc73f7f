"""What a cluster has cost, from what EMR says of its instances."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fruit_features import prices
from fruit_features.costs import figures
from fruit_features.run import Run

Build = Callable[..., Run]
START = datetime(2026, 11, 22, 10, tzinfo=UTC)
END = START + timedelta(minutes=30)
CLUSTER = {"Id": "j-1", "Status": {"Timeline": {"CreationDateTime": START, "EndDateTime": END}}}


def instance(instance_type: str = "m5.xlarge", market: str = "ON_DEMAND", **timeline: datetime) -> dict[str, Any]:
    life = {"CreationDateTime": START, **timeline}
    return {"InstanceType": instance_type, "Market": market, "Status": {"Timeline": life}}


def test_each_instance_costs_its_life_times_its_price(make_run: Build) -> None:
    found = figures(make_run(), CLUSTER, [instance(EndDateTime=END)] * 3, END, new=10_000)

    assert found["cost_usd_of"] == {"ec2": 0.336, "emr": 0.072, "disks": 0.018, "requests": 0.004}
    assert (found["cost_usd"], found["cost_usd_per_1000"]) == (0.43, 0.043)
    assert (found["cluster"], found["hours"], found["ended"], found["spot_share"]) == ("j-1", 0.5, True, 0)


def test_an_instance_that_came_late_or_went_early_costs_less(make_run: Build) -> None:
    late = instance(CreationDateTime=START + timedelta(minutes=15))
    lost = instance(EndDateTime=START + timedelta(minutes=15))

    assert figures(make_run(), CLUSTER, [late, lost], END)["cost_usd_of"]["ec2"] == 0.112


def test_spot_is_counted_as_the_installation_expects(make_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [instance(), instance(market="SPOT")]
    assert figures(make_run(), CLUSTER, nodes, END)["cost_usd_of"]["ec2"] == 0.224, "no more than On-Demand"

    monkeypatch.setenv("FRUITS_SPOT_SHARE", "0.25")
    found = figures(make_run(), CLUSTER, nodes, END)
    assert (found["cost_usd_of"]["ec2"], found["spot_share"]) == (0.14, 0.5)
    assert found["cost_usd_of"]["emr"] == 0.048, "EMR's fee is the same"


def test_a_cluster_that_goes_on_costs_until_now(make_run: Build) -> None:
    going_on = {"Id": "j-1", "Status": {"Timeline": {"CreationDateTime": START}}}
    found = figures(make_run(), going_on, [instance()], START + timedelta(hours=1))

    assert (found["hours"], found["ended"], found["cost_usd"]) == (1, False, 0.28)
    assert found["cost_usd_per_1000"] is None, "nothing was extracted"


def test_an_unknown_price_is_no_price(make_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [instance(), instance("m7a.xlarge")]
    assert figures(make_run(), CLUSTER, nodes, END)["cost_usd"] is None

    monkeypatch.setenv("FRUITS_PRICES", '{"eu-west-3": {"m7a.xlarge": 0.5}}')
    assert figures(make_run(), CLUSTER, nodes, END)["cost_usd"] == pytest.approx(0.272 / 2 + 0.25 + 0.012, abs=0.005)


def test_an_instance_of_an_unknown_size_has_no_cost(make_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_PRICES", '{"eu-west-3": {"m4.large": 0.1, "m5.metal": 5}}')
    for each in ("m4.large", "m5.metal"):
        assert figures(make_run(), CLUSTER, [instance(each)], END)["cost_usd"] is None


def test_prices_without_a_source_say_so() -> None:
    assert prices.source("eu-west-3", ["m5.xlarge"]) == "prices of 2 March 2025"
    assert prices.source("eu-west-3", ["m5.xlarge", "m6g.xlarge"]) == (
        "prices of 2 March 2025, in part derived for m6g.xlarge"
    )


def test_larger_sizes_cost_as_many_times_the_xlarge_and_say_that_they_are_derived() -> None:
    for size, times in [("2xlarge", 2), ("4xlarge", 4)]:
        found = prices.instance_price("eu-west-3", f"m5.{size}")
        assert found == prices.Price(0.224 * times, 0.048 * times, f"{times} x m5.xlarge")
    assert prices.source("eu-west-3", ["m5.4xlarge"]) == "prices of 2 March 2025, in part derived for m5.4xlarge"
    assert prices.instance_price("eu-west-3", "m5.8xlarge") is None, "EMR's fee is not linear there"
    assert prices.instance_price("eu-west-3", "m7a.2xlarge") is None


def test_prices_of_the_installation_are_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_PRICES", '{"eu-west-3": {"m7a.xlarge": 0.5}}')
    assert prices.source("eu-west-3", ["m7a.xlarge"]) == "prices of FRUITS_PRICES"
    assert prices.price("eu-west-3", "m7a.2xlarge") == 1
    assert prices.source("eu-west-3", ["m7a.2xlarge"]) == "prices of FRUITS_PRICES, in part derived for m7a.2xlarge"
    assert prices.source("eu-west-3", ["m5.xlarge", "m6g.xlarge", "m7a.xlarge"]) == (
        "prices of 2 March 2025, in part derived for m6g.xlarge, and of FRUITS_PRICES for m7a.xlarge"
    )
