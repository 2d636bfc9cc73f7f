"""Vulnerabilities, licenses, and credentials that are not in the repository."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

import audit
import licenses
from tests.conftest import PROJECT

CREDENTIALS = re.compile(
    rb"\b(AKIA|ASIA)[0-9A-Z]{16}\b"  # an access key of AWS
    rb"|-----BEGIN ([A-Z]+ )?PRIVATE KEY-----[\r\n]+[A-Za-z0-9+/]{40}"
    rb"|\b(ghp|gho|ghs)_[A-Za-z0-9]{36}\b|\bpypi-[A-Za-z0-9_-]{50}"
    rb"|aws_secret_access_key\W{1,5}[A-Za-z0-9/+]{40}\b"
    rb"|https?://[^/\s:@\"'{}$<>]+:[^/\s:@\"'{}$<>]+@"  # a password in an address
)


def files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=False)
    return [file for name in done.stdout.decode().split("\0") if name and (file := PROJECT / name).is_file()]


def test_no_file_of_the_repository_has_credentials() -> None:
    if not (found := files()):
        pytest.skip("not a checkout of git")
    assert [file for file in found if CREDENTIALS.search(file.read_bytes())] == []


def test_make_lock_writes_every_lock_file() -> None:
    written = set(re.findall(r"^\t@.*\$\(LOCK\).* -o (\S+)", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    locks = {str(file.relative_to(PROJECT)) for file in files() if "--hash=sha256:" in file.read_text(errors="ignore")}

    assert {lock for lock in locks if lock.endswith(".txt")} == written


def test_what_builds_local_emr_is_locked_too() -> None:
    project = tomllib.loads((PROJECT / "local_emr/pyproject.toml").read_text(encoding="utf-8"))
    lock = (PROJECT / "requirements/airflow.txt").read_text(encoding="utf-8")
    setup = (PROJECT / "dev/setup").read_text(encoding="utf-8")

    for package in project["build-system"]["requires"]:
        assert re.search(rf"^{re.escape(package)} .*\\\n +--hash=sha256:", lock, re.MULTILINE), package
    assert re.search(r"^editables==", lock, re.MULTILINE)
    assert "--no-build-isolation" in re.search(r"^.*--editable local_emr$", setup, re.MULTILINE)[0]


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "A1" * 8,
        "-----BEGIN RSA PRIVATE KEY-----\n" + "M" * 64,
        "aws_secret_access_key = " + "a/" * 19 + "ab",
        "https://user:" + "secret@host/simple",
    ],
)
def test_credentials_are_recognized(text: str) -> None:
    assert CREDENTIALS.search(text.encode())


def answer(monkeypatch: pytest.MonkeyPatch, report: dict[str, Any]) -> None:
    monkeypatch.setattr(audit, "pip_audit", lambda _: (report, ""))


def test_an_index_without_data_is_said_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, {"dependencies": [{"name": "pip", "skip_reason": "not found on PyPI"}]})

    assert audit.main(["lock.txt"], advise=False) == 0
    assert capsys.readouterr().out.startswith("note: nothing audited")


def test_a_vulnerability_fails_unless_it_is_accepted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.0"]}
    answer(monkeypatch, {"dependencies": [{"name": "pip", "version": "1.0", "vulns": [found]}]})

    assert audit.main(["lock.txt"], advise=False) == 1
    assert "lock.txt: pip 1.0: PYSEC-1, fixed in 2.0" in capsys.readouterr().out
    assert audit.main(["lock.txt"], advise=True) == 0  # make check
    assert capsys.readouterr().out == "note: 1 known: see make audit\n"
    monkeypatch.setitem(audit.ACCEPTED, "CVE-1", "not reachable")
    assert audit.main(["lock.txt"], advise=False) == 0


def test_licenses_of_a_bill_of_materials() -> None:
    def component(name: str, license_name: str | None) -> dict[str, Any]:
        return {"name": name, **({"licenses": [{"license": {"name": license_name}}]} if license_name else {})}

    document = {"components": [component("a", "MIT"), component("b", "MIT"), component("c", None)]}

    assert licenses.table([json.loads(json.dumps(document))]).splitlines()[2:] == [
        "| MIT | 2 | a, b |",
        "| not declared | 1 | c |",
    ]
