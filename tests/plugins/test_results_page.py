"""The results page, on a listing of the local endpoint; who may see it is Airflow's own check."""

import html
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import results_plugin
from local_emr import LocalEmr
from results_page import pages
from results_page.images import NO_PICTURE, image_keys
from results_page.reading import Results, ResultsError, run_name
from tests.conftest import PROJECT

HOSTILE = """<img src=x onerror=alert(1)> & "50 %\""""
BUCKET = "orchard"


@pytest.fixture
def s3(aws: LocalEmr) -> Any:
    return boto3.client("s3")


@pytest.fixture
def results(s3: Any) -> Results:
    return Results(s3, BUCKET)


@pytest.fixture
def app(results: Results) -> FastAPI:
    def open_results(run_id: str | None) -> Results:
        if run_id == "elsewhere":
            raise ResultsError(f"no bucket {HOSTILE}")
        return results

    costs = {"cost_usd": 0.136, "cost_usd_per_1000": 0.0123, "estimate": "$0.20 (0.2 h of 3 x m5.xlarge)"}
    known = {"manual__2026-01-02": {"seconds": 3725.0, **costs}}
    return pages.create_app(open_results, lambda names: {name: known[name] for name in names if name in known})


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Somebody who may see the DAG's runs, at the place where Airflow mounts the pages."""
    app.dependency_overrides[pages.may_see_runs] = lambda: None
    airflow = FastAPI()
    airflow.mount("/fruits", app)
    with TestClient(airflow) as made:
        yield made


def parquet(rows: list[dict[str, Any]]) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), content)
    return content.getvalue()


def put_run(s3: Any, name: str, new: int = 3, **report: Any) -> None:
    document = {"images": 1354, "components": 29, "explained_variance": 0.8031, "rejects_by_reason": {}, **report}
    s3.put_object(Bucket=BUCKET, Key=f"results/run={name}/report.json", Body=json.dumps(document))
    s3.put_object(Bucket=BUCKET, Key=f"results/run={name}/report.html", Body=b"<p>the report</p><script>1</script>")
    manifest = parquet([{"path": str(number)} for number in range(new)])
    s3.put_object(Bucket=BUCKET, Key=f"runs/{name}/manifest/manifest.parquet", Body=manifest)


def test_runs_are_listed_with_their_figures_the_newest_first(client: TestClient, s3: Any) -> None:
    put_run(s3, "manual__2026-01-01T10-00-00", rejects_by_reason={"empty": 1, "truncated": 2})
    put_run(s3, "manual__2026-01-02", new=0)
    put_run(s3, "scheduled__2026-01-03T10-00-00")
    s3.put_object(Bucket=BUCKET, Key="results/latest.json", Body=json.dumps({"run": "scheduled__2026-01-03T10-00-00"}))
    page = client.get("/fruits/").text

    order = [page.index(name) for name in ("2026-01-03T10", "2026-01-01T10", "manual__2026-01-02<")]
    assert order == sorted(order)
    for text in ("1,354", "29", "80.31%", "2 truncated, 1 empty", "1 h 02 min", "$0.14", "orchard"):
        assert text in page
    assert page.count("published") == 1


def test_a_run_shows_its_figures_and_its_report_by_run_id_or_folder(client: TestClient, s3: Any) -> None:
    put_run(s3, "manual__2026-01-01T10-00-00.5-00-00", new=17)
    for name in ("manual__2026-01-01T10:00:00.5+00:00", "manual__2026-01-01T10-00-00.5-00-00"):
        page = client.get(f"/fruits/runs/{name.replace('+', '%2B').replace(':', '%3A')}")
        assert page.status_code == 200
        assert "<dd>17</dd>" in page.text


def test_a_run_shows_what_it_has_cost_and_what_was_estimated(client: TestClient, s3: Any) -> None:
    for name in ("manual__2026-01-02", "of-an-earlier-version"):
        put_run(s3, name)
    page = client.get("/fruits/runs/manual__2026-01-02").text
    for text in (
        "<dd>$0.14</dd>",
        "<dt>Cost per 1,000 new</dt><dd>$0.0123</dd>",
        "about $0.20 (0.2 h of 3 x m5.xlarge)",
    ):
        assert text in page

    page = client.get("/fruits/runs/of-an-earlier-version").text
    assert "<dt>Cost per 1,000 new</dt><dd>–</dd>" in page
    assert "Estimated" not in page


def test_the_report_is_streamed_with_an_origin_of_its_own(client: TestClient, s3: Any) -> None:
    put_run(s3, "r")
    report = client.get("/fruits/runs/r/report")

    assert report.text.startswith("<p>the report</p>")
    assert report.headers["content-type"] == "text/html; charset=utf-8"
    policy = report.headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "sandbox allow-scripts allow-downloads" in policy, "its scripts must not act as the person who reads it"


def test_rejects_are_listed_with_counts(client: TestClient, s3: Any) -> None:
    row = {"path": f"s3://b/{HOSTILE}.jpg", "label": "x", "reason": "empty", "detail": "0 bytes"}
    s3.put_object(Bucket=BUCKET, Key="rejects/run=r/part-0.parquet", Body=parquet([row] * 700))
    s3.put_object(Bucket=BUCKET, Key="rejects/run=r/part-1.parquet", Body=b"damaged")
    s3.put_object(Bucket=BUCKET, Key="rejects/run=r/_SUCCESS", Body=b"")
    page = client.get("/fruits/runs/r/rejects").text

    assert "700 empty" in page
    assert "The first 500:" in page
    assert page.count("0 bytes") == 500
    assert "<img" not in page
    assert "&lt;img src=x" in page


def test_a_variety_shows_its_images_and_nothing_else_of_the_bucket(client: TestClient, s3: Any) -> None:
    label = HOSTILE.replace("/", "")
    put_run(s3, "r", labels={label: {"features": 1, "rejects": 1}})
    s3.put_object(Bucket=BUCKET, Key=f"images/{label}/1 %+#.jpg", Body=b"\xff\xd8\xff a photo")
    s3.put_object(Bucket=BUCKET, Key=f"images/{label}/page.jpg", Body=b"<script>1</script>")
    links = re.findall(r'href="(r/varieties[^"]*)"', client.get("/fruits/runs/r").text)
    page = client.get(f"/fruits/runs/{html.unescape(links[0])}")

    assert "<img src=x" not in page.text
    pictures = [html.unescape(url) for url in re.findall(r'<img src="(image[^"]*)"', page.text)]
    answers = [client.get(f"/fruits/runs/r/{url}") for url in pictures]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == b"\xff\xd8\xff a photo"
    assert answers[0].headers["content-type"] == "image/jpeg"
    assert answers[1].content == NO_PICTURE, (
        "what is no image is not handed out, and is no error in the browser's console"
    )
    assert answers[1].headers["content-type"] == "image/svg+xml"
    assert client.get("/fruits/runs/r/image?key=results/latest.json").status_code == 404
    assert client.get("/fruits/runs/r/image?key=images/../results/latest.json").status_code == 404


@pytest.mark.parametrize("place", ["results/run=r/inventory.parquet", "runs/r/inventory/inventory.parquet"])
def test_a_variety_shows_its_images_wherever_their_folder_lies(client: TestClient, s3: Any, place: str) -> None:
    """Two row groups, of which one lists no Kiwi; and what is not below the images' prefix is not shown."""
    folders = ["images/2024/Apple", "images/2024/Kiwi", "images/2025/Kiwi", "other/Kiwi"]
    rows = [
        {"path": f"s3://{BUCKET}/{folder}/{number:02}.jpg", "label": folder.rpartition("/")[2]}
        for folder in folders
        for number in range(10)
    ]
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), content, row_group_size=10)
    s3.put_object(Bucket=BUCKET, Key=place, Body=content.getvalue())
    s3.put_object(Bucket=BUCKET, Key="images/Kiwi/not of this run.jpg", Body=b"")
    page = client.get("/fruits/runs/r/varieties?label=Kiwi").text

    keys = [unquote(key) for key in re.findall(r'<img src="image\?key=([^"]*)"', page)]
    assert keys == [row["path"].removeprefix(f"s3://{BUCKET}/") for row in rows[10:30]]


def test_of_a_large_inventory_only_what_is_shown_is_read(results: Results, s3: Any) -> None:
    rows = [
        {"path": f"s3://{BUCKET}/images/{n // 1000:03}/{n:07}.jpg", "label": f"{n // 1000:03}"} for n in range(200_000)
    ]
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), content, row_group_size=16 * 1024)
    s3.put_object(Bucket=BUCKET, Key="results/run=r/inventory.parquet", Body=content.getvalue())
    lengths: list[int] = []
    s3.meta.events.register("after-call.s3.GetObject", lambda parsed, **_: lengths.append(parsed["ContentLength"]))

    assert image_keys(results, "r", "150") == [f"images/150/{n:07}.jpg" for n in range(150_000, 150_060)]
    assert sum(lengths) < len(content.getvalue()) / 4
    assert len(lengths) <= 6


@pytest.mark.parametrize("content", [b"", b"PAR1", parquet([{"path": "x"}])])
def test_an_inventory_that_is_none_shows_no_images(client: TestClient, s3: Any, content: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key="results/run=r/inventory.parquet", Body=content)
    page = client.get("/fruits/runs/r/varieties?label=Kiwi")

    assert (page.status_code, "No images of this variety" in page.text) == (200, True)


def test_airflow_is_asked_of_the_runs_that_are_shown_only(results: Results, s3: Any) -> None:
    asked: list[list[str]] = []
    app = pages.create_app(lambda _: results, lambda names: asked.append(sorted(names)) or {})
    app.dependency_overrides[pages.may_see_runs] = lambda: None
    for number in range(30):
        put_run(s3, f"manual__2026-01-01T10-00-{number:02}")
    with TestClient(app) as client:
        for url in ("/?page=2", "/runs/manual__2026-01-01T10:00:07"):
            assert client.get(url).status_code == 200

    assert asked == [[f"manual__2026-01-01T10-00-{number:02}" for number in range(5)], ["manual__2026-01-01T10-00-07"]]


def test_rejects_have_pictures_where_a_browser_can_show_them(client: TestClient, s3: Any) -> None:
    row = {"path": f"s3://{BUCKET}/images/Kiwi/a & b.jpg", "label": "Kiwi", "reason": "too_large", "detail": ""}
    s3.put_object(Bucket=BUCKET, Key="rejects/run=r/part-0.parquet", Body=parquet([row] * 150))
    s3.put_object(Bucket=BUCKET, Key="images/Kiwi/a & b.jpg", Body=b"\x89PNG")
    pictures = re.findall(r'<img src="(image[^"]*)"', client.get("/fruits/runs/r/rejects").text)

    assert len(pictures) == 100
    assert client.get(f"/fruits/runs/r/{html.unescape(pictures[0])}").headers["content-type"] == "image/png"


def test_images_of_another_bucket_have_pictures_too(s3: Any) -> None:
    s3.create_bucket(Bucket="photos", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    s3.put_object(Bucket="photos", Key="Kiwi/1.jpg", Body=b"\x89PNG")
    row = {"path": "s3://photos/Kiwi/1.jpg", "label": "Kiwi", "reason": "too_large", "detail": ""}
    s3.put_object(Bucket=BUCKET, Key="rejects/run=r/part-0.parquet", Body=parquet([row]))
    app = pages.create_app(lambda _: Results(s3, BUCKET, "", "", "photos"), lambda _: {})
    app.dependency_overrides[pages.may_see_runs] = lambda: None
    with TestClient(app) as client:
        for page in ("rejects", "varieties?label=Kiwi"):
            (picture,) = re.findall(r'<img src="(image[^"]*)"', client.get(f"/runs/r/{page}").text)
            assert client.get(f"/runs/r/{html.unescape(picture)}").headers["content-type"] == "image/png"


def test_a_reject_that_could_not_be_read_has_no_picture(client: TestClient, s3: Any) -> None:
    rows = [
        {"path": f"s3://{BUCKET}/images/Kiwi/1.jpg", "label": "Kiwi", "reason": reason, "detail": ""}
        for reason in ("not_found", "access_denied")
    ]
    s3.put_object(Bucket=BUCKET, Key="rejects/run=r/part-0.parquet", Body=parquet(rows))
    assert "<img" not in client.get("/fruits/runs/r/rejects").text


def test_a_cost_of_less_than_a_cent_is_not_shown_as_nothing() -> None:
    assert [pages.usd(cost) for cost in (None, 0.0, 0.01, 1234.5)] == ["–", "under $0.01", "$0.01", "$1,234.50"]


def test_names_from_the_bucket_are_text_everywhere(client: TestClient, s3: Any) -> None:
    put_run(s3, HOSTILE.replace("/", ""), rejects_by_reason={HOSTILE: 2})
    s3.put_object(
        Bucket=BUCKET, Key="results/run=odd/report.json", Body=json.dumps({"images": HOSTILE, "components": {}})
    )
    pages_shown = [client.get("/fruits/"), client.get("/fruits/runs/odd"), client.get("/fruits/runs/elsewhere")]

    for shown in pages_shown:
        assert "<img" not in shown.text
        assert "script-src" not in shown.headers["content-security-policy"]
        assert shown.headers["content-security-policy"].startswith("default-src 'none'")


def test_what_is_missing_is_said(client: TestClient, s3: Any) -> None:
    assert "Trigger the DAG fruit_features" in client.get("/fruits/").text
    for path in ("runs/none", "runs/none/report"):
        missing = client.get(f"/fruits/{path}")
        assert missing.status_code == 404
        assert 'href="../' in missing.text
    s3.delete_bucket(Bucket=BUCKET)
    gone = client.get("/fruits/")
    assert gone.status_code == 502
    assert "NoSuchBucket" in gone.text


def test_a_client_whose_keys_were_changed_is_forgotten(aws: LocalEmr, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def connect(key: str) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "login": key, "password": "-"}))

    def open_results(_: str | None) -> Results:
        found = results_plugin.open_results(None)
        used.append(found.client._request_signer._credentials.access_key)
        return found

    monkeypatch.setenv("FRUITS_BUCKET", BUCKET)
    monkeypatch.setattr(results_plugin, "_results", lru_cache(results_plugin._results.__wrapped__))
    app = pages.create_app(open_results, lambda _: {}, results_plugin.forget)
    app.dependency_overrides[pages.may_see_runs] = lambda: None
    with TestClient(app) as client:
        connect("old")
        assert client.get("/").status_code == 200
        connect("new")
        aws.faults.add(fault="s3-error", status=403, code="InvalidAccessKeyId", times=1)
        assert client.get("/").status_code == 502
        assert client.get("/").status_code == 200
    assert used == ["old", "old", "new"]


def test_a_thousand_runs_are_shown_a_page_at_a_time(client: TestClient, s3: Any, results: Results) -> None:
    for number in range(1000):
        s3.put_object(Bucket=BUCKET, Key=f"results/run=manual__2026-01-01T10-00-{number:04}/report.json", Body=b"{}")
    requests: list[str] = []
    s3.meta.events.register("before-call.s3", lambda model, **_: requests.append(model.name))
    started = time.monotonic()
    page = client.get("/fruits/?page=2").text
    seconds = time.monotonic() - started

    assert "Page 2 of 40" in page
    assert "T10-00-0974<" in page
    assert "T10-00-0975<" not in page
    assert requests.count("ListObjectsV2") == 1
    assert len(requests) <= 2 + 2 * pages.PER_PAGE
    assert seconds < 30, "a second or two on an idle machine"
    requests.clear()
    client.get("/fruits/?page=2")
    assert len(requests) <= 2, "the figures of a run are kept for a minute"


def test_every_route_asks_airflow_who_it_is(app: FastAPI) -> None:
    client = TestClient(app)
    routes = [route for route in app.routes if hasattr(route, "path")]

    assert len(routes) == 7
    for route in routes:
        answer = client.get(route.path.replace("{run}", "r"), params={"label": "x", "key": "images/x"})
        assert answer.status_code == 401, route.path
        assert "DOCTYPE" not in answer.text


def test_a_folder_is_named_as_the_dag_names_it() -> None:
    from fruit_features.layout import run_name as of_the_dag

    for run_id in ("manual__2026-01-01T10:00:00.5+00:00", "a b/c~é", "x"):
        assert run_name(run_id) == of_the_dag(run_id)


def test_a_worker_that_loads_the_plugin_does_not_import_the_pages() -> None:
    code = "import sys, results_plugin as p; assert 'results_page.pages' not in sys.modules; print(p.ResultsPlugin().fastapi_apps)"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "plugins")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert "'url_prefix': '/fruits'" in done.stdout


@pytest.mark.parametrize(
    ("url", "linked"), [("http://localhost:8090", True), ("", False), ("javascript:alert(1)", False)]
)
def test_the_application_is_linked_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, url: str, *, linked: bool
) -> None:
    monkeypatch.setenv("FRUITS_APP_URL", url)

    assert [view["href"] for view in results_plugin._application()] == ([url] if linked else [])


def test_the_parts_are_not_plugins_themselves() -> None:
    folder = PROJECT / "plugins"
    loaded = [Path(file).relative_to(folder).parts[0] for file in list_py_file_paths_of(folder)]

    assert "results_plugin.py" in loaded
    assert "results_page" not in loaded


def list_py_file_paths_of(folder: Path) -> Iterator[str]:
    from airflow._shared.module_loading import find_path_from_directory

    return find_path_from_directory(str(folder), ".airflowignore")
