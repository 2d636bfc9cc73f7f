"""Pages of other origins: whatever a browser may be made to send, the endpoint must not obey."""

import json
import sys
from typing import Any

import pytest
import requests
from emr_client import client, job_flow, step

from local_emr import LocalEmr

ELSEWHERE = "https://example.com"
RUN_JOB_FLOW = {"X-Amz-Target": "ElasticMapReduce.RunJobFlow", "Content-Type": "application/x-amz-json-1.1"}
QUERY_CALL = "?Action=CreateUser&UserName=x&X-Amz-Credential=x%2F20260101%2Feu-west-3%2Fiam%2Faws4_request"


def send(aws: LocalEmr, method: str, path: str, data: str = "", **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, f"{aws.endpoint_url}{path}", data=data, headers=named, timeout=10)


def run_a_step(aws: LocalEmr, **headers: str) -> requests.Response:
    """What a page would send to run a command on this machine."""
    command = json.dumps(job_flow(Steps=[step("bash", "-c", "id")]))
    return send(aws, "POST", "/", command, **RUN_JOB_FLOW, **headers)


@pytest.mark.parametrize("origin", [ELSEWHERE, "http://localhost:8080", "null", "http://127.0.0.1"])
def test_a_page_of_another_origin_changes_nothing(local_emr: LocalEmr, s3: Any, emr: Any, origin: str) -> None:
    for path in ("/_local_emr/reset", "/moto-api/reset", "/_local_emr/faults"):
        answer = send(local_emr, "POST", path, Origin=origin)
        assert (answer.status_code, origin in answer.text) == (403, True)
    preflight = send(local_emr, "OPTIONS", "/", Origin=origin, Access_Control_Request_Method="POST")
    assert preflight.status_code == 403
    assert "Access-Control-Allow-Origin" not in preflight.headers
    assert run_a_step(local_emr, Origin=origin).status_code == 403
    assert send(local_emr, "PUT", "/_local_emr/s3/data/x", "x", Origin=origin).status_code == 403

    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["data"]
    assert emr.list_clusters()["Clusters"] == []
    assert "Contents" not in s3.list_objects_v2(Bucket="data")


@pytest.mark.parametrize("name", ["example.com", "127.0.0.1.example.com", "localhost.example.com", "[x"])
def test_a_domain_that_resolves_to_this_machine_is_not_this_machine(local_emr: LocalEmr, emr: Any, name: str) -> None:
    host = f"{name}:{local_emr.port}"
    for headers in ({}, {"Origin": f"http://{host}"}):
        refused = run_a_step(local_emr, Host=host, **headers)
        assert (refused.status_code, "--host" in refused.json()["message"]) == (403, True)
        assert "<Code>AccessDenied</Code>" in send(local_emr, "GET", "/_local_emr/", Host=host, **headers).text
    assert emr.list_clusters()["Clusters"] == []


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "data.localhost"])
def test_this_machine_has_several_names(local_emr: LocalEmr, s3: Any, name: str) -> None:
    host = f"{name}:{local_emr.port}"
    assert send(local_emr, "GET", "/_local_emr/", Host=host).status_code == 200


def test_its_own_pages_store_what_is_dropped_on_them(local_emr: LocalEmr, s3: Any) -> None:
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{local_emr.port}"
        own = {"Host": host, "Origin": f"http://{host}", "Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "cors"}
        assert send(local_emr, "PUT", f"/_local_emr/s3/data/{name}", "x", **own).status_code == 200
    assert s3.list_objects_v2(Bucket="data")["KeyCount"] == 2


def test_links_lead_here_and_sandboxed_reports_have_their_pictures_and_no_more(local_emr: LocalEmr, s3: Any) -> None:
    for site in ("cross-site", "same-site"):
        link = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "navigate"}
        assert send(local_emr, "GET", "/_local_emr/", **link).status_code == 200
        assert send(local_emr, "GET", "/" + QUERY_CALL, **link).status_code == 403
        assert send(local_emr, "POST", "/_local_emr/reset", **link).status_code == 403
        image = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "no-cors"}
        assert send(local_emr, "GET", "/_local_emr/s3/data/", **image).status_code == 200
        assert send(local_emr, "POST", "/_local_emr/reset", **image).status_code == 403
        assert send(local_emr, "GET", "/" + QUERY_CALL, **image).status_code == 403
    assert client(local_emr, "iam").list_users()["Users"] == []


def test_a_page_in_a_bucket_is_of_another_origin_at_its_s3_address_too(local_emr: LocalEmr, s3: Any) -> None:
    s3.put_object(Bucket="data", Key="page.html", Body=b"<script>fetch('/')</script>", ContentType="text/html")
    opened = send(local_emr, "GET", "/data/page.html", Sec_Fetch_Dest="document", Sec_Fetch_Mode="navigate")
    assert opened.headers["Content-Security-Policy"] == "sandbox allow-scripts allow-downloads"
    assert opened.headers["Content-Type"].startswith("text/html")
    assert "Content-Security-Policy" not in send(local_emr, "GET", "/data/page.html").headers
    own = send(local_emr, "GET", "/_local_emr/", Sec_Fetch_Dest="document", Sec_Fetch_Mode="navigate")
    assert "sandbox" not in own.headers["Content-Security-Policy"]


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address of this machine on Linux only")
def test_with_a_host_of_its_own_it_has_any_name() -> None:
    with LocalEmr(host="127.0.0.2") as aws:
        address = f"http://127.0.0.2:{aws.port}/_local_emr/faults"

        def sent(**headers: str) -> int:
            return requests.delete(address, headers={"Host": "local-emr:5555", **headers}, timeout=10).status_code

        assert (sent(), sent(Origin="http://local-emr:5555"), sent(Origin=ELSEWHERE)) == (200, 200, 403)
