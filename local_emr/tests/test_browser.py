"""The pages for people: a person opens them, and drops files on them."""

from typing import Any
from urllib.parse import quote

import pytest
import requests
from emr_client import Emr, job_flow

from local_emr import LocalEmr

HOSTILE = "<img src=x onerror=alert(1)> & 100%?.jpg"


def get(aws: LocalEmr, path: str) -> requests.Response:
    return requests.get(f"{aws.endpoint_url}/_local_emr/{path}", timeout=10)


def test_the_first_page_leads_to_buckets_and_clusters(local_emr: LocalEmr, s3: Any, emr: Any) -> None:
    cluster_id = emr.run_job_flow(**job_flow(Name="fruit <1>"))["JobFlowId"]
    page = get(local_emr, "").text

    assert 'href="/_local_emr/s3/data/"' in page
    assert f'href="/_local_emr/clusters/{cluster_id}"' in page
    assert "fruit &lt;1&gt;" in page


def test_a_file_that_is_dropped_on_a_folder_is_in_the_bucket_and_is_shown(local_emr: LocalEmr, s3: Any) -> None:
    where = f"{local_emr.endpoint_url}/_local_emr/s3/data/images/Kiwi/{quote(HOSTILE)}"
    assert requests.put(where, data=b"a photo", timeout=10).status_code == 200

    assert s3.get_object(Bucket="data", Key=f"images/Kiwi/{HOSTILE}")["Body"].read() == b"a photo"
    folder = get(local_emr, "s3/data/images/Kiwi/").text
    assert "<img" not in folder
    assert "&lt;img src=x" in folder
    assert 'href="/_local_emr/s3/data/images/Kiwi/"' in get(local_emr, "s3/data/images/").text
    shown = requests.get(where, timeout=10)
    assert (shown.content, shown.headers["Content-Type"]) == (b"a photo", "image/jpeg")


def test_a_page_from_the_bucket_runs_apart(local_emr: LocalEmr, s3: Any) -> None:
    s3.put_object(Bucket="data", Key="report.html", Body=b"<p>report</p>")
    report = get(local_emr, "s3/data/report.html")

    assert report.headers["Content-Type"] == "text/html"
    assert "sandbox allow-scripts" in report.headers["Content-Security-Policy"]


def test_a_step_shows_its_logs_while_the_cluster_lives_and_after(
    local_emr: LocalEmr, emr: Any, cluster_api: Emr
) -> None:
    script = {"Jar": "command-runner.jar", "Args": ["bash", "-c", "echo '<b>said</b>'; echo failed >&2; exit 3"]}
    request = job_flow(LogUri="s3://data/logs/", Steps=[{"Name": "talk", "HadoopJarStep": script}])
    cluster_id = emr.run_job_flow(**request)["JobFlowId"]
    (step,) = emr.list_steps(ClusterId=cluster_id)["Steps"]
    cluster_api.step_until(cluster_id, step["Id"], "FAILED")
    emr.terminate_job_flows(JobFlowIds=[cluster_id])
    cluster_api.until(cluster_id, "TERMINATED")
    assert f"/steps/{step['Id']}" in get(local_emr, f"clusters/{cluster_id}").text

    page = get(local_emr, f"clusters/{cluster_id}/steps/{step['Id']}").text
    assert "&lt;b&gt;said&lt;/b&gt;" in page
    assert "failed" in page
    assert 'http-equiv="refresh"' not in page
    copy = get(local_emr, f"s3/data/logs/{cluster_id}/steps/{step['Id']}/stdout.gz")
    assert copy.text == "<b>said</b>\n"
    assert copy.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["s3/none/", "s3/data/none", "clusters/j-0", "clusters/j-0/steps/s-0", "nothing"])
def test_what_is_not_there_is_said(local_emr: LocalEmr, s3: Any, path: str) -> None:
    assert get(local_emr, path).status_code == 404


def test_no_page_loads_anything_from_outside(local_emr: LocalEmr, s3: Any) -> None:
    for path in ("", "s3/data/", "browser.css", "browser.js"):
        answer = get(local_emr, path)
        assert answer.status_code == 200
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "http://" not in answer.text
        assert "https://" not in answer.text
