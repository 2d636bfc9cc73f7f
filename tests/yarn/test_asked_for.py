"""The suite itself: where it cannot run, it says so."""

import pytest

from tests.yarn.conftest import missing


def test_it_is_skipped_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YARN", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no memory"):
        missing("no memory")


def test_it_fails_where_it_cannot_run_and_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YARN", "jobs")
    with pytest.raises(pytest.fail.Exception, match="YARN=jobs asks for this suite: no memory"):
        missing("no memory")
