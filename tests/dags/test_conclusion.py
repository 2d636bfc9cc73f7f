"""Only a run that has published, or had nothing to do, is a success."""

import time
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from emr_hook import IN_PLACE_OF, NO_RETRIES, IdempotentEmrHook
from fruit_features import conclusion
from fruit_features.cluster import job_flow_request
from fruit_features.conclusion import check_conclusion, push_figures, push_note
from fruit_features.costs import total
from fruit_features.notifications import remember_failure
from fruit_features.run import Run
from local_emr import LocalEmr
from tests.dags.conftest import RUN, RUN_ID, task
from tests.dags.test_requests import ARTIFACTS

PUBLISHED = {"find_new_images": "success", "publish": "success", "terminate_cluster": "success"}


def test_a_published_run_passes() -> None:
    check_conclusion(PUBLISHED, has_work=True)


def test_a_run_with_nothing_to_do_passes() -> None:
    check_conclusion(
        {"find_new_images": "success", "publish": "skipped", "terminate_cluster": "skipped"}, has_work=False
    )


@pytest.mark.parametrize(
    ("changes", "has_work", "message"),
    [
        ({"extract_features": "failed", "publish": "skipped"}, True, r"^the run has failed in extract_features: "),
        ({"terminate_cluster": "failed"}, True, r"^the run has failed in terminate_cluster: "),
        ({"find_new_images": "failed", "publish": "skipped"}, False, r"^the run has failed in find_new_images: "),
        ({"publish": "skipped"}, True, r"^the run has published nothing"),  # marked between two tasks
        ({"find_new_images": "skipped", "publish": "skipped"}, False, r"^the run has published nothing"),
        ({"publish": "upstream_failed"}, True, r"^the run has published nothing"),
    ],
)
def test_whatever_else_is_a_failure(changes: dict[str, str], *, has_work: bool, message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        check_conclusion({**PUBLISHED, **changes}, has_work=has_work)


def test_the_error_of_the_failed_task_is_said() -> None:
    with pytest.raises(AirflowFailException, match=r"^the run has failed in publish: it is older than latest.json$"):
        check_conclusion({"publish": "failed"}, has_work=True, error_of={"publish": "it is older than latest.json"}.get)


@pytest.mark.usefixtures("hook")
def test_what_the_cluster_has_cost_is_pushed(make_run: Callable[..., Run]) -> None:
    emr = IdempotentEmrHook(region_name="eu-west-3")
    request = {**job_flow_request(make_run(), ARTIFACTS), "BootstrapActions": []}
    cluster_id = emr.conn.run_job_flow(**request)["JobFlowId"]
    second = emr.conn.run_job_flow(**{**request, "Name": f"{request['Name']}{IN_PLACE_OF}{cluster_id}"})["JobFlowId"]
    emr.conn.run_job_flow(**{**request, "Name": f"{request['Name']}-of-another-run"})
    ti = MagicMock(name="task instance")
    push_figures(emr, make_run(), cluster_id, ti)
    for cluster in emr.conn.list_clusters()["Clusters"]:
        emr.conn.terminate_job_flows(JobFlowIds=[cluster["Id"]])

    ti.xcom_push.assert_called_once()
    figures = ti.xcom_push.call_args.kwargs["value"]
    assert (figures["cluster"], figures["hours"], figures["cost_usd"], figures["ended"]) == (second, 0, 0, False)
    assert figures["clusters"] == [cluster_id, second]


@pytest.mark.parametrize(
    ("first_of", "expected"),
    [({"ec2": 1.0, "requests": 0.0}, (3.5, 3.5, {"ec2": 3.0, "requests": 0.5})), (None, (None, None, None))],
)
def test_what_two_clusters_have_cost_is_added_up(first_of: dict[str, float] | None, expected: tuple[Any, ...]) -> None:
    def figures(name: str, hours: float, of: dict[str, float] | None, share: float) -> dict[str, Any]:
        return {"cluster": name, "hours": hours, "ended": True, "cost_usd_of": of, "spot_share": share}

    both = [figures("j-2", 3, {"ec2": 2.0, "requests": 0.5}, 0.5), figures("j-1", 1, first_of, 0.1)]
    found = total(both, new=1000)

    assert (found["cost_usd"], found["cost_usd_per_1000"], found["cost_usd_of"]) == expected
    assert (found["clusters"], found["hours"], found["spot_share"]) == (["j-1", "j-2"], 4, 0.4)


@pytest.mark.usefixtures("hook")
def test_a_cost_that_nobody_knows_does_not_fail_the_run(make_run: Callable[..., Run]) -> None:
    ti = MagicMock(name="task instance")
    push_figures(IdempotentEmrHook(region_name="eu-west-3"), make_run(), "j-UNKNOWN", ti)

    ti.xcom_push.assert_not_called()


def test_a_cost_that_cannot_be_told_does_not_fail_the_run(
    hook: S3Hook, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    emr = IdempotentEmrHook(region_name="eu-west-3")
    cluster_id = emr.conn.run_job_flow(**{**job_flow_request(make_run(), ARTIFACTS), "BootstrapActions": []})[
        "JobFlowId"
    ]
    monkeypatch.setenv("FRUITS_PRICES", "no JSON")
    ti = MagicMock(name="task instance")
    push_figures(emr, make_run(), cluster_id, ti)
    emr.conn.terminate_job_flows(JobFlowIds=[cluster_id])

    ti.xcom_push.assert_not_called()


def test_the_event_of_the_asset_and_the_end_of_the_run_have_the_cost(
    hook: S3Hook, make_run: Callable[..., Run]
) -> None:
    emr = IdempotentEmrHook(region_name="eu-west-3")
    request = {**job_flow_request(make_run(), ARTIFACTS), "BootstrapActions": []}
    cluster_id = emr.conn.run_job_flow(**request)["JobFlowId"]
    plan, estimate = {"images": 2000, "new": 1000}, {"usd": 0.2, "words": "$0.20 (0.2 h of 3 x m5.xlarge)"}
    pulled = {"create_cluster": cluster_id, "find_new_images": plan, ("find_new_images", "estimate"): estimate}
    ti = MagicMock(name="task instance")
    ti.xcom_pull = lambda task_ids, key=None: pulled.get((task_ids, key) if key else task_ids)
    ti.get_task_states.return_value = {RUN_ID: PUBLISHED}
    params, events = make_run().settings.model_dump(), defaultdict(SimpleNamespace)
    results = {"run": RUN, "listed": "2026-11-22T10:00:00+00:00", "components": 40}
    hook.load_string("of this run", make_run().layout.inventory.key, "fruits")

    task("publish")(results, plan, params, ti, RUN_ID, events)
    ((asset, event),) = events.items()
    assert (asset.name, event.extra["components"]) == ("fruit_features_results", 40)
    assert event.extra["estimate"] == estimate
    assert event.extra["cost"]["cluster"] == cluster_id
    assert event.extra["cost"]["ended"] is False
    assert event.extra["cost"]["cost_usd_of"]["requests"] == pytest.approx(0.0004)

    task("conclude_run")(params, ti, RUN_ID)
    emr.conn.terminate_job_flows(JobFlowIds=[cluster_id])
    assert ti.xcom_push.call_args.kwargs["value"]["cost_usd_per_1000"] >= 0.0004


def conclusion_of(states: dict[str, str], try_number: int = 1, **pulled: Any) -> Any:
    """A task instance of `conclude_run`, in a run with these tasks that have pushed these results."""
    ti = MagicMock(name="task instance", task_id="conclude_run", try_number=try_number, max_tries=2)
    ti.xcom_pull.side_effect = lambda task_ids, key="return_value": (
        pulled.get(task_ids) if key == "return_value" else None
    )
    ti.get_task_states.return_value = {RUN_ID: states}
    return ti


@pytest.mark.parametrize(
    ("states", "told", "ends"),
    [
        # The worker was lost after EMR had obeyed, in the last try: no other task knows the cluster.
        ({"create_cluster": "failed"}, False, True),
        # Somebody has marked the good task as failed, so that its teardown is not reached.
        ({"create_cluster": "failed", "terminate_cluster": "upstream_failed"}, True, True),
        ({"create_cluster": "success", "terminate_cluster": "failed"}, True, True),
        # Somebody has marked the run as failed between two tries: Airflow skips the task, and its teardown with it.
        ({"create_cluster": "skipped", "terminate_cluster": "skipped"}, False, True),
        ({"create_cluster": "success", "terminate_cluster": "success"}, True, False),
        ({"create_cluster": "success", "terminate_cluster": "skipped"}, True, False),  # left to a person
        ({"create_cluster": "success"}, False, False),
    ],
)
def test_a_cluster_that_no_task_has_ended_is_ended_at_the_end_of_the_run(
    hook: S3Hook, make_run: Callable[..., Run], states: dict[str, str], *, told: bool, ends: bool
) -> None:
    emr, run = IdempotentEmrHook(region_name="eu-west-3"), make_run()
    request = {**job_flow_request(run, ARTIFACTS), "BootstrapActions": []}
    own, other = (
        emr.conn.run_job_flow(**{**request, "Name": name})["JobFlowId"] for name in (request["Name"], "another run")
    )
    ti = conclusion_of(
        {**states, "publish": "failed"}, find_new_images={"new": 5}, create_cluster=own if told else None
    )
    try:
        with pytest.raises(AirflowFailException):
            task("conclude_run")(run.settings.model_dump(), ti, RUN_ID)
        deadline = time.monotonic() + 10 * ends  # EMR obeys a moment after it has answered
        while emr.describe(own)["Status"]["State"].startswith("TERMINAT") is not ends:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert not emr.describe(other)["Status"]["State"].startswith("TERMINAT")
    finally:
        emr.conn.terminate_job_flows(JobFlowIds=[own, other])


def test_an_emr_that_does_not_answer_hides_no_failure(
    endpoint: LocalEmr, hook: S3Hook, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conclusion.IdempotentEmrHook, "settings", NO_RETRIES)
    conclude_run = task("conclude_run")
    endpoint.faults.add(fault="throttle", operation="ListClusters")
    params = make_run().settings.model_dump()
    with pytest.raises(ClientError, match="Throttling"):  # Airflow tries again
        conclude_run(params, conclusion_of({"create_cluster": "failed"}), RUN_ID)
    with pytest.raises(AirflowFailException, match="the run has failed in create_cluster: "):
        conclude_run(params, conclusion_of({"create_cluster": "failed"}, try_number=3), RUN_ID)
    endpoint.faults.clear()


def test_a_run_whose_params_are_refused_says_so(make_run: Callable[..., Run]) -> None:
    """Nothing can be made of them here either, and there is no cluster to look for."""
    params = {**make_run().settings.model_dump(), "varience": 0.7}
    states = dict.fromkeys(("create_cluster", "terminate_cluster", "publish"), "upstream_failed")
    ti = conclusion_of({"find_new_images": "failed", **states})

    with pytest.raises(AirflowFailException, match="the run has failed in find_new_images: "):
        task("conclude_run")(params, ti, RUN_ID)
    (pushed,) = ti.xcom_push.call_args_list
    assert pushed.kwargs == {"key": "note", "value": "failed in find_new_images: its log says why"}


@pytest.mark.parametrize("found", ["success", "failed"])
def test_a_run_that_was_cleared_has_an_earlier_cluster_and_no_plan(
    hook: S3Hook, make_run: Callable[..., Run], found: str
) -> None:
    """Airflow deletes what a task has pushed when the task starts again, which create_cluster does not."""
    emr, run = IdempotentEmrHook(region_name="eu-west-3"), make_run()
    cluster_id = emr.conn.run_job_flow(**{**job_flow_request(run, ARTIFACTS), "BootstrapActions": []})["JobFlowId"]
    emr.conn.terminate_job_flows(JobFlowIds=[cluster_id])
    ti = conclusion_of({"find_new_images": found, "create_cluster": "skipped"}, create_cluster=cluster_id)

    if found == "success":  # another run has done it all
        task("conclude_run")(run.settings.model_dump(), ti, RUN_ID)
    else:
        with pytest.raises(AirflowFailException, match="the run has failed in find_new_images: "):
            task("conclude_run")(run.settings.model_dump(), ti, RUN_ID)
    pushed = {call.kwargs["key"]: call.kwargs["value"] for call in ti.xcom_push.call_args_list}
    assert pushed["figures"]["cost_usd_per_1000"] is None


def test_a_cluster_that_was_left_to_a_person_outlives_a_clear_without_work(
    hook: S3Hook, make_run: Callable[..., Run]
) -> None:
    """create_cluster skips itself: someone has cleared a task that comes with it, but no step."""
    emr, run = IdempotentEmrHook(region_name="eu-west-3"), make_run(interactive=True)
    cluster_id = emr.conn.run_job_flow(**{**job_flow_request(run, ARTIFACTS), "BootstrapActions": []})["JobFlowId"]
    states = {"create_cluster": "skipped", "terminate_cluster": "skipped", "publish": "success"}
    try:
        task("conclude_run")(run.settings.model_dump(), conclusion_of(states, find_new_images={"new": 5}), RUN_ID)
        assert not emr.describe(cluster_id)["Status"]["State"].startswith("TERMINAT")
    finally:
        emr.conn.terminate_job_flows(JobFlowIds=[cluster_id])


@pytest.mark.parametrize(
    "states",
    [
        # The run was cleared as a whole: find_new_images refuses, as the run is published.
        {"find_new_images": "failed", "create_cluster": "upstream_failed", "terminate_cluster": "upstream_failed"},
        # A step was cleared, with what follows: create_cluster refuses.
        {"find_new_images": "success", "create_cluster": "failed", "terminate_cluster": "upstream_failed"},
        {"find_new_images": "success", "create_cluster": "success", "terminate_cluster": "failed"},
    ],
)
def test_a_cluster_that_was_left_to_a_person_outlives_a_clear_of_its_run(
    hook: S3Hook, make_run: Callable[..., Run], states: dict[str, str]
) -> None:
    emr, run = IdempotentEmrHook(region_name="eu-west-3"), make_run(interactive=True)
    cluster_id = emr.conn.run_job_flow(**{**job_flow_request(run, ARTIFACTS), "BootstrapActions": []})["JobFlowId"]
    ti = conclusion_of(states, find_new_images={"new": 5}, create_cluster=cluster_id)
    try:
        with pytest.raises(AirflowFailException, match="the run has failed in "):
            task("conclude_run")(run.settings.model_dump(), ti, RUN_ID)
        assert not emr.describe(cluster_id)["Status"]["State"].startswith("TERMINAT")
    finally:
        emr.conn.terminate_job_flows(JobFlowIds=[cluster_id])


RESULTS = {
    "images": 1354,
    "features": 1350,
    "rejects": 4,
    "rejects_by_reason": {"empty": 1, "not_an_image": 3},
    "components": 68,
    "explained_variance": 0.80211,
}


def note(states: dict[str, str], **pushed: Any) -> str:
    """What `push_note` pushes, for what other tasks have pushed."""
    ti = MagicMock(name="task instance", task_id="conclude_run")
    ti.xcom_pull.side_effect = lambda task_ids, key="return_value": pushed.get(f"{task_ids}.{key}")
    push_note(states, ti)
    return ti.xcom_push.call_args.kwargs["value"]


def test_a_published_run_is_told_in_a_line() -> None:
    pushed = {
        "find_new_images.return_value": {"new": 354},
        "check_outputs.return_value": RESULTS,
        "conclude_run.figures": {"cost_usd": 0.136},
    }
    assert note(PUBLISHED, **pushed) == (
        "354 new images of 1,354: 1,350 features, 4 rejects (3 not an image, 1 empty), 68 components = 80.2%, about $0.14"
    )


def test_a_slice_of_the_images_says_what_is_left() -> None:
    pushed = {"find_new_images.return_value": {"new": 354, "left": 1200}, "check_outputs.return_value": RESULTS}
    assert note(PUBLISHED, **pushed).startswith("1,200 images are left to the next runs, 354 new images of 1,354: ")

    unpublished = note({"publish": "skipped"}, **{"publish.left": 1200, "conclude_run.figures": {"cost_usd": 0.136}})
    assert unpublished == "1,200 images are left to the next runs, the last of which publishes, about $0.14"


def test_a_failed_run_says_why() -> None:
    states = {"extract_features": "failed", "publish": "skipped"}
    pushed = {"extract_features.failure": "step s-1 is FAILED: no memory", "conclude_run.figures": {"cost_usd": 2}}

    assert note(states, **pushed) == "failed in extract_features: step s-1 is FAILED: no memory; about $2.00"
    assert note(states) == "failed in extract_features: its log says why"
    assert note(states, **{"conclude_run.figures": {"cost_usd": 0.0}}).endswith("; less than $0.01")
    assert note({"publish": "skipped"}) == "nothing was published"
    assert len(note(states, **{"extract_features.failure": "x" * 5000})) == 1000


def test_a_run_with_nothing_to_do_says_what_would_change_that() -> None:
    pushed = {"find_new_images.note": "nothing to do: ..."}
    assert note({"find_new_images": "success", "publish": "skipped"}, **pushed) == "nothing to do: ..."


def test_a_failure_is_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    ti = MagicMock(name="task instance")
    remember_failure({"exception": AirflowFailException("no images under s3://b/images/"), "ti": ti})

    assert caplog.messages == ["no images under s3://b/images/"]
    ti.xcom_push.assert_called_once_with(key="failure", value="no images under s3://b/images/")
