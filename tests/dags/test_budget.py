"""What a run will cost is said, and refused, before there is a cluster."""

from collections.abc import Callable

import pytest
from airflow.sdk.exceptions import AirflowFailException

from fruit_features.budget import approval_request, check_budget, estimate, estimated_time, hourly_price
from fruit_features.rates import FIXED
from fruit_features.run import Plan, Run
from fruit_features.trigger_form import PROPOSED

Build = Callable[..., Run]


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


def test_an_interactive_cluster_is_counted_until_it_is_idle(make_run: Build) -> None:
    estimate = check_budget(make_run(interactive=True, idle_timeout_minutes=45), plan(0))

    assert "$0.82 (1.0 h of 3 x" in estimate
    assert estimate.endswith("; interactive is on: the cluster costs that much per hour until it is idle")


def test_nodes_that_may_be_added_are_counted_for_their_start_and_end(make_run: Build) -> None:
    fixed = FIXED.total_seconds() / 3600
    scaled = {"task_instance_count": 1, "fleet_instance_types": ["m5.xlarge"]}
    alone, added = (estimate(make_run(**scaled, max_nodes=most), plan(0)) for most in (3, 13))

    assert added.usd == pytest.approx(alone.usd + 10 * 0.272 * fixed)
    assert f"an hour, and ${10 * 0.272 * fixed:.2f} for up to 10 more nodes, prices of" in added.words
    assert "more node" not in alone.words


def test_an_unknown_price_is_never_guessed(make_run: Build) -> None:
    assert check_budget(make_run(core_instance_type="m7a.xlarge"), plan(0)) == (
        "estimate: 0.2 h of 1 x m5.xlarge + 2 x m7a.xlarge; no price known for m7a.xlarge in eu-west-3: set FRUITS_PRICES "
        "(docs/cost.md)"
    )
    fleet = make_run(fleet_instance_types=["m7a.xlarge", "m5.xlarge", "i4i.xlarge"])
    assert "; no price known for i4i.xlarge, m7a.xlarge in eu-west-3: set FRUITS_PRICES" in check_budget(fleet, plan(0))
    with pytest.raises(
        AirflowFailException,
        match=r"max_cost_usd is 5, but no price known for m7a.xlarge in eu-west-3: set FRUITS_PRICES \(docs/cost.md\), or leave",
    ):
        check_budget(make_run(core_instance_type="m7a.xlarge", max_cost_usd=5), plan(0))


def test_an_installation_can_name_its_own_prices(make_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_PRICES", '{"eu-west-3": {"m7a.xlarge": 0.5}}')
    assert hourly_price(make_run(core_instance_type="m7a.xlarge")) == pytest.approx(1.272)


def test_instances_that_overrides_choose_have_no_price(make_run: Build) -> None:
    run = make_run(job_flow_overrides={"Instances": {"InstanceGroups": []}}, max_cost_usd=5)
    with pytest.raises(
        AirflowFailException, match=r"no price known, as job_flow_overrides chooses the instances, or leave"
    ):
        check_budget(run, plan(0))


def test_the_default_cluster_has_a_price_wherever_the_form_proposes_it(make_run: Build) -> None:
    for region in PROPOSED["region"]:
        assert hourly_price(make_run(region=region)), region


def test_the_dearest_type_of_a_fleet_counts_and_spot_as_on_demand(
    make_run: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_PRICES", '{"eu-west-3": {"m5a.xlarge": 0.25, "m5.2xlarge": 0.6}}')
    fleet = make_run(fleet_instance_types=["m5a.xlarge", "m5.xlarge", "m5.2xlarge"], task_instance_count=4)

    assert hourly_price(fleet) == pytest.approx(0.272 + 6 * 0.3), "half a 2xlarge is the dearest of one xlarge"
    assert "1 x m5.xlarge + (2 + 4 on Spot) x m5a.xlarge or m5.xlarge or m5.2xlarge at $2.072" in check_budget(
        fleet, plan(0)
    )
    monkeypatch.setenv("FRUITS_SPOT_SHARE", "0.5")
    assert hourly_price(fleet) == pytest.approx(0.272 + 4 * 0.3)
    assert hourly_price(make_run(fleet_instance_types=["m5.xlarge", "m7a.xlarge"])) is None, "one price is unknown"


def test_task_nodes_share_the_work(make_run: Build) -> None:
    images = plan(1_000_000)
    with_four_nodes = estimated_time(make_run(task_instance_count=2), images)
    assert with_four_nodes - FIXED == (estimated_time(make_run(), images) - FIXED) / 2


@pytest.mark.parametrize(("limit", "asked"), [(None, False), (0.9, False), (0.5, True), (0, True)])
def test_a_person_is_asked_above_the_limit_only(make_run: Build, limit: float | None, *, asked: bool) -> None:
    question = approval_request(make_run(approval_above_usd=limit), plan(1_000_000))
    assert bool(question) == asked
    assert question is None or question.startswith("1000000 new images of 1000000: about $0.80 (1.0 h of 3 x m5.xlarge")


def test_a_person_is_asked_where_no_price_is_known(make_run: Build) -> None:
    question = approval_request(make_run(approval_above_usd=100, core_instance_type="m7a.xlarge"), plan(1))
    assert question
    assert "no price known for m7a.xlarge in eu-west-3" in question
