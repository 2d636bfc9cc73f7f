"""The pointer to the latest good results: one PUT, whole, and never backwards."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ConnectionClosedError

from fruit_features import history, objects, publishing
from fruit_features.layout import RunLayout
from fruit_features.run import Run

Named = Callable[[str], Run]


@pytest.fixture
def named(hook: S3Hook, make_run: Callable[..., Run]) -> Named:
    """Runs of these names, on one bucket, each with an inventory."""
    run = make_run()

    def name_it(name: str) -> Run:
        named = replace(run, name=name, layout=RunLayout(run.settings, name))
        objects.put(hook, named.layout.inventory, f"inventory of {name}".encode())
        return named

    return name_it


def results(name: str, hour: int) -> dict[str, Any]:
    return {"run": name, "listed": f"2026-11-22T{hour:02}:00:00+00:00"}


def latest(hook: S3Hook) -> dict[str, Any]:
    return json.loads(hook.read_key("results/latest.json", "fruits"))


def test_publishing_moves_the_pointer_in_one_put(hook: S3Hook, named: Named) -> None:
    puts: list[str] = []
    hook.get_conn().meta.events.register(
        "before-parameter-build.s3.PutObject", lambda params, **_: puts.append(params["Key"])
    )
    publishing.publish(hook, named("1"), results("1", 1))
    publishing.publish(hook, named("2"), results("2", 2))

    assert [key for key in puts if key.endswith("latest.json")] == ["results/latest.json"] * 2
    assert hook.get_key("results/latest.json", "fruits").content_type == "application/json"
    assert latest(hook)["run"] == "2"


def test_each_published_run_keeps_what_was_published(hook: S3Hook, named: Named) -> None:
    publishing.publish(hook, named("1"), results("1", 1))
    first = latest(hook)
    publishing.publish(hook, named("2"), results("2", 2))

    assert json.loads(hook.read_key("results/run=1/published.json", "fruits")) == first


def test_the_inventory_of_what_is_published_outlives_what_was_made_for_the_run(hook: S3Hook, named: Named) -> None:
    run = named("1")
    there: list[bool] = []
    place = run.layout.published_inventory
    hook.get_conn().meta.events.register(
        "before-parameter-build.s3.PutObject", lambda params, **_: there.append(objects.exists(hook, place))
    )
    publishing.publish(hook, run, results("1", 1))

    assert all(there), "readers that see latest.json must find it"
    assert hook.read_key(place.key, "fruits") == "inventory of 1"
    assert hook.get_key(place.key, "fruits").content_type == "application/vnd.apache.parquet"
    hook.delete_objects("fruits", run.layout.inventory.key)
    assert publishing.find_inventory(hook, run.layout, "1") == place


def test_a_run_whose_inventory_has_expired_is_not_published(hook: S3Hook, named: Named) -> None:
    run = named("1")
    hook.delete_objects("fruits", run.layout.inventory.key)

    with pytest.raises(AirflowFailException, match=r"runs/1/inventory/inventory\.parquet is not there any more"):
        publishing.publish(hook, run, results("1", 1))
    assert not hook.check_for_key("results/latest.json", "fruits")


def test_results_whose_inventory_is_gone_are_made_anew(hook: S3Hook, named: Named) -> None:
    """Of earlier versions, which left it only where it expires: "Which fruit is this?" can show them no more."""
    run = named("1")
    publishing.publish(hook, run, results("1", 1) | {"fingerprint": "f"})
    hook.delete_objects("fruits", run.layout.published_inventory.key)
    assert publishing.latest_results(hook, named("2"))["fingerprint"] == "f"

    hook.delete_objects("fruits", run.layout.inventory.key)

    assert publishing.latest_results(hook, named("2")) == latest(hook) | {"fingerprint": None}


def test_results_of_an_older_listing_are_not_published(hook: S3Hook, named: Named) -> None:
    publishing.publish(hook, named("B"), results("B", 2))

    with pytest.raises(AirflowFailException, match=r"^run A is not published: run B is, which listed the images later"):
        publishing.publish(hook, named("A"), results("A", 1))
    assert latest(hook)["run"] == "B"
    assert not hook.check_for_key("results/run=A/published.json", "fruits")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("hour", "winner"), [(9, "B"), (1, "A")])
def test_of_two_at_once_the_newer_listing_wins(
    hook: S3Hook, named: Named, hour: int, winner: str, *, first: bool
) -> None:
    """B publishes between A's look and A's PUT: with a newer listing A gives way, with an older one A comes after it."""
    if not first:
        publishing.publish(hook, named("0"), results("0", 0))
    meanwhile = [named("B")]

    def interfere(params: dict[str, Any], **_: Any) -> None:
        if params["Key"].endswith("latest.json") and meanwhile:
            publishing.publish(hook, meanwhile.pop(), results("B", hour))

    hook.get_conn().meta.events.register("before-parameter-build.s3.PutObject", interfere)
    try:
        publishing.publish(hook, named("A"), results("A", 5))
    except AirflowFailException as error:
        assert winner == "B", error  # noqa: PT017 - both ends are allowed, one for each case
    else:
        assert winner == "A"
    assert latest(hook)["run"] == winner


def test_a_retry_whose_first_answer_was_lost_finds_itself_published(hook: S3Hook, named: Named) -> None:
    def lose(**_: Any) -> None:
        raise ConnectionClosedError(endpoint_url="s3")

    run, events = named("A"), hook.get_conn().meta.events
    events.register("after-call.s3.PutObject", lose)
    with pytest.raises(ConnectionClosedError):
        publishing.publish(hook, run, results("A", 5))
    events.unregister("after-call.s3.PutObject", lose)
    published = latest(hook)
    publishing.publish(hook, named("A"), results("A", 5))

    assert latest(hook) == published
    assert hook.check_for_key("results/run=A/published.json", "fruits")


def test_a_run_of_the_same_name_in_another_installation_is_not_taken_for_this_one(hook: S3Hook, named: Named) -> None:
    """Their clocks have started both at the same minute."""
    publishing.publish(hook, named("A"), {**results("A", 5), "images": 100})
    published = latest(hook)

    with pytest.raises(
        AirflowFailException, match=r"^run A is not published: another installation has published results"
    ):
        publishing.publish(hook, named("A"), {**results("A", 6), "images": 101})
    assert latest(hook) == published
    assert json.loads(hook.read_key("results/run=A/published.json", "fruits")) == published


def test_a_ledger_that_cannot_be_written_fails_no_run_that_is_published(
    hook: S3Hook, named: Named, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(history, "extend_ledger", fail)
    publishing.publish(hook, named("A"), results("A", 5))

    assert latest(hook)["run"] == "A"


@pytest.mark.parametrize("content", [b"", b'{"run": ', b"null", b"[]", b'"x"', b"\xff"])
def test_a_damaged_pointer_is_named_with_what_to_do(hook: S3Hook, named: Named, content: bytes) -> None:
    hook.load_bytes(content, "results/latest.json", "fruits")
    message = (
        r"^s3://fruits/results/latest\.json is damaged \(.*put back what was there, or delete it.*published\.json$"
    )

    with pytest.raises(AirflowFailException, match=message):
        publishing.latest_results(hook, named("A"))
    with pytest.raises(AirflowFailException, match=message):
        publishing.publish(hook, named("A"), results("A", 5))


def test_fingerprints_of_earlier_versions_stay_valid(make_run: Callable[..., Run]) -> None:
    """A version that hashed otherwise would extract nothing, but reduce everything again, once."""
    run = make_run()
    images = [("s3://fruits/images/A/1.jpg", "e1"), ("s3://fruits/images/Açaí/🍐.png", "e2")]
    expected = hashlib.sha256(json.dumps(["net", run.settings.variance, run.settings.refit]).encode())
    fingerprint = publishing.Fingerprint(run, "net")
    for path, etag in images:
        expected.update(f"\n{path}\t{etag}".encode())
        fingerprint.add(pa.RecordBatch.from_pydict({"path": [path], "etag": [etag]}))

    assert fingerprint.hexdigest() == expected.hexdigest()
