"""Clusters that are asked for while the endpoint is being emptied or stopped."""

import threading
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from emr_client import Emr, client, error

from local_emr import LocalEmr
from local_emr.emr.lifecycle import Lifecycle
from local_emr.pytest_plugin import QUICK


def lifecycles() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("local_emr-j-")]


@pytest.mark.parametrize("end", [LocalEmr.reset, LocalEmr.stop])
def test_there_are_no_new_clusters_while_the_old_ones_end(end: object, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[tuple[str, str]] = []
    with LocalEmr(timing=QUICK) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        api = Emr(client(aws, "emr"))
        old = api.create()
        ended = Lifecycle.remove_files

        def ask_for_another(lifecycle: Lifecycle) -> None:
            ended(lifecycle)
            if lifecycle.cluster.id == old:
                with pytest.raises(ClientError) as raised:
                    api.create()
                answers.append(error(raised))

        monkeypatch.setattr(Lifecycle, "remove_files", ask_for_another)
        end(aws)
        assert answers == [("ServiceUnavailable", "local_emr is being reset or stopped.")]
        assert lifecycles() == []
        if end is LocalEmr.reset:
            assert api.client.list_clusters()["Clusters"] == []
            api.until(api.create(), "WAITING")


def test_a_cluster_that_is_being_made_is_ended_with_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    starting = threading.Event()
    start = Lifecycle.start

    def slow_start(lifecycle: Lifecycle) -> None:
        starting.set()
        threading.Event().wait(0.5)  # long enough for a reset that does not wait for it
        start(lifecycle)

    monkeypatch.setattr(Lifecycle, "start", slow_start)
    with LocalEmr(timing=QUICK, data_dir=tmp_path) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        api = Emr(client(aws, "emr"))
        asking = threading.Thread(target=api.create)
        asking.start()
        starting.wait()
        aws.reset()
        asking.join()
        assert lifecycles() == []
    with LocalEmr(timing=QUICK, data_dir=tmp_path) as again:
        assert client(again, "emr").list_clusters()["Clusters"] == []
