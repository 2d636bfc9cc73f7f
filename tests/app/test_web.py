"""The routes, with a network of colors."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.follower import Follower
from app.limits import RateLimit
from app.settings import Settings
from app.web import create_app
from tests.app.conftest import COLORS, Bucket, Colors, colors, photo

CYAN = (0, 255, 255)  # like none of them


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    follower = Follower(settings, colors)
    with TestClient(create_app(settings, follower)) as made:
        until(lambda: follower.current is not None)
        yield made


def ask(client: TestClient, content: bytes) -> dict:
    answer = client.post("/lookup", content=content)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("variety", COLORS)
def test_a_photograph_gets_its_variety_with_examples(client: TestClient, variety: str) -> None:
    answer = ask(client, photo(COLORS[variety], kind="JPEG"))

    assert answer["sure"] is True
    assert answer["run"] == "first"
    first, *others = answer["candidates"]
    assert (first["variety"], len(others)) == (variety, 2)
    assert first["similarity"] > 0.99
    for example in first["examples"]:
        picture = client.get(f"/{example}")
        assert picture.headers["content-type"] == "image/jpeg"
        assert picture.content.startswith(b"\xff\xd8\xff")
    assert len(first["examples"]) == 2


def test_a_photograph_like_nothing_gets_no_sure_answer(client: TestClient) -> None:
    answer = ask(client, photo(CYAN))

    assert answer["sure"] is False
    assert len(answer["candidates"]) == 3


@pytest.mark.parametrize(
    ("content", "reason", "text"),
    [
        (b"", "empty", "empty"),
        (b"<html><script>alert(1)</script>", "not_an_image", "no image"),
        (photo((1, 2, 3), kind="TIFF"), "unsupported", "save it as JPEG"),
        (photo((1, 2, 3), size=(640, 480), kind="JPEG")[:400], "truncated", "incomplete"),
    ],
)
def test_what_is_no_image_is_refused_with_the_pipelines_reason(
    client: TestClient, content: bytes, reason: str, text: str
) -> None:
    answer = client.post("/lookup", content=content)

    assert answer.status_code == 422
    assert answer.json()["reason"] == reason
    assert text in answer.json()["message"]


def test_a_file_that_is_too_large_is_refused_before_it_is_read(settings: Settings, bucket: Bucket) -> None:
    small = Settings(str(bucket.folder), max_bytes=1_000_000)
    read = 0

    def body() -> Iterator[bytes]:  # chunked: no length announced
        nonlocal read
        for _ in range(100):
            read += 1
            yield b"\xff" * 100_000

    client = TestClient(create_app(small, Follower(small, colors)))
    for content in (b"\xff" * 1_000_001, body()):
        answer = client.post("/lookup", content=content)
        assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")
        assert "1 MB" in answer.json()["message"]


def test_an_address_that_sends_too_many_is_told_when_to_come_again(bucket: Bucket) -> None:
    few = Settings(str(bucket.folder), per_minute=3, poll_seconds=0.05)
    follower = Follower(few, colors)
    with TestClient(create_app(few, follower)) as client:
        until(lambda: follower.current is not None)
        answers = [client.post("/lookup", content=photo(COLORS["Lime"])) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 20


def test_the_rate_limit_refills_and_knows_addresses_apart() -> None:
    now = 0.0
    limit = RateLimit(2, lambda: now)

    assert [limit.wait_seconds("a"), limit.wait_seconds("a"), limit.wait_seconds("b")] == [0, 0, 0]
    assert limit.wait_seconds("a") == pytest.approx(30)
    now = 31.0
    assert limit.wait_seconds("a") == 0
    assert limit.wait_seconds("a") > 0


def test_every_answer_has_the_headers_that_keep_foreign_content_out(client: TestClient) -> None:
    for answer in (client.get("/"), client.get("/nowhere"), client.post("/lookup", content=b"")):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_query_does_not_change_the_page(client: TestClient) -> None:
    page = client.get("/?file=<script>alert(1)</script>")

    assert page.text == client.get("/").text
    assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/examples/unknown/0", "/examples/{version}/99", "/examples/{version}/-1"])
def test_only_published_images_are_shown(client: TestClient, path: str) -> None:
    version = ask(client, photo(COLORS["Lime"]))["candidates"][0]["examples"][0].split("/")[1]

    assert client.get(path.format(version=version)).status_code == 404


def test_an_image_that_has_become_something_else_is_not_sent(client: TestClient, bucket: Bucket) -> None:
    example = ask(client, photo(COLORS["Lime"]))["candidates"][0]["examples"][0]
    for file in bucket.folder.glob("images/Lime/*"):
        file.write_text("<script>alert(1)</script>")

    assert client.get(f"/{example}").status_code == 404


def test_without_results_the_page_is_there_and_says_what_is_missing(bucket: Bucket, settings: Settings) -> None:
    latest = bucket.folder / "results/latest.json"
    published = latest.read_text()
    latest.unlink()
    follower = Follower(settings, colors)
    with TestClient(create_app(settings, follower)) as client:
        until(lambda: follower.problem is not None)
        refused = client.post("/lookup", content=photo(COLORS["Lime"]))
        health = client.get("/health")
        assert client.get("/").status_code == 200
        latest.write_text(published)
        until(lambda: client.get("/health").status_code == 200)
        ask(client, photo(COLORS["Lime"]))

    assert refused.status_code == 503
    assert "run the DAG until its publish task succeeds" in refused.json()["message"]
    assert (health.status_code, "latest.json" in health.json()["problem"]) == (503, True)


def test_new_results_are_taken_over_without_losing_a_request(client: TestClient, bucket: Bucket) -> None:
    done, statuses = threading.Event(), []

    def keep_asking() -> None:
        while not done.is_set():
            statuses.append(client.post("/lookup", content=photo(CYAN)).status_code)

    asking = [threading.Thread(target=keep_asking) for _ in range(2)]
    before = ask(client, photo(CYAN))
    for thread in asking:
        thread.start()
    bucket.add("Sky/1.png", CYAN)
    bucket.write_features("second", [bucket.row("Sky/1.png", CYAN)])
    bucket.publish("second")
    until(lambda: client.get("/health").json()["run"] == "second")
    after = ask(client, photo(CYAN))
    done.set()
    for thread in asking:
        thread.join()

    assert set(statuses) == {200}
    assert (after["candidates"][0]["variety"], after["sure"]) == ("Sky", True)
    former = client.get(f"/{before['candidates'][0]['examples'][0]}")
    assert former.status_code == 200, "pictures of an answer that is still on the screen"


def test_results_that_cannot_be_taken_over_leave_the_former_ones_in_use(client: TestClient, bucket: Bucket) -> None:
    bucket.publish("second", model="unknown")
    until(lambda: client.get("/health").json()["problem"] is not None)

    assert "no features of network unknown" in client.get("/health").json()["problem"]
    assert ask(client, photo(COLORS["Lime"]))["run"] == "first"


@contextmanager
def busy_server(bucket: Bucket) -> Iterator[tuple[TestClient, Follower]]:
    """Serve one photograph at a time, and have one that is not done before the block ends."""
    entered, leave = threading.Event(), threading.Event()

    class Slow(Colors):
        def features(self, pixels: np.ndarray) -> np.ndarray:
            entered.set()
            leave.wait(60)
            return super().features(pixels)

    one = Settings(str(bucket.folder), at_once=1, wait_seconds=0.05)
    follower = Follower(one, lambda _: Slow())
    follower.look()
    client = TestClient(create_app(one, follower))
    first = []
    thread = threading.Thread(target=lambda: first.append(client.post("/lookup", content=photo(COLORS["Lime"]))))
    thread.start()
    try:
        assert entered.wait(60)
        yield client, follower
    finally:
        leave.set()
        thread.join()
    assert first[0].status_code == 200


def test_photographs_wait_for_a_free_network_and_not_for_ever(bucket: Bucket) -> None:
    with busy_server(bucket) as (client, _):
        second = client.post("/lookup", content=photo(COLORS["Lime"]))

    assert (second.status_code, second.json()["reason"]) == (503, "busy")


def test_pictures_wait_for_their_turn_too_as_they_are_decoded(bucket: Bucket) -> None:
    with busy_server(bucket) as (client, follower):
        pictures = [f"/examples/{follower.current.published.version}/{row}" for row in range(3)]
        refused = client.get(pictures[0])

    assert refused.status_code == 503
    assert refused.json()["reason"] == "busy"
    assert int(refused.headers["retry-after"]) > 0
    assert [client.get(picture).status_code for picture in pictures] == [200, 200, 200], "each gives its turn back"


def test_a_picture_that_does_not_fit_the_memory_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        raise MemoryError

    example = ask(client, photo(COLORS["Lime"]))["candidates"][0]["examples"][0]
    monkeypatch.setattr("app.examples.decode", decode)
    refused = client.get(f"/{example}")

    assert (refused.status_code, refused.json()["reason"]) == (503, "busy")
    assert "retry-after" in refused.headers


def test_more_vectors_than_the_limit_are_searched_by_graph(bucket: Bucket) -> None:
    few = Settings(str(bucket.folder), exact_limit=7)
    follower = Follower(few, colors)
    follower.look()

    assert type(follower.current.search).__name__ == "GraphSearch"
    answer = TestClient(create_app(few, follower)).post("/lookup", content=photo(COLORS["Plum"])).json()
    assert answer["candidates"][0]["variety"] == "Plum"
