"""The structure of the DAG: what must run before what, and what must run whatever happens."""

import itertools
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, Param, TriggerRule
from airflow.serialization.serialized_objects import DagSerialization

import run_note_plugin
from fruit_features import runs, xcoms
from results_page import reading
from tests.conftest import PROJECT

STEPS = ["export_model", "extract_features", "reduce_dimensions"]
CREATES = {"create_cluster": "terminate_cluster"}


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(PROJECT / "dags")


@pytest.fixture(scope="module")
def dag(bag: DagBag) -> DAG:
    return bag.dags["fruit_features"]


def test_exactly_these_dags_are_found_without_import_errors(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert sorted(bag.dags) == ["fruit_features", "fruit_features_janitor", "fruit_features_retention"]


def test_it_has_exactly_these_tasks(dag: DAG) -> None:
    assert dag.task_ids == [
        "find_new_images",
        "approve_cost",
        "deploy_artifacts",
        "emr_requests",
        "create_cluster",
        "wait_for_cluster",
        "terminate_cluster",
        "export_model",
        "extract_features",
        "reduce_dimensions",
        "wait_for_outputs",
        "check_outputs",
        "publish",
        "conclude_run",
    ]


def test_the_graph_reads_as_a_chain(dag: DAG) -> None:
    edges = {(task.task_id, child) for task in dag.tasks for child in task.downstream_task_ids}
    chain = [task_id for task_id in dag.task_ids if task_id != "terminate_cluster"]
    ends = {(task_id, "terminate_cluster") for task_id in ["create_cluster", "wait_for_cluster", *STEPS]}
    skips = {("find_new_images", task_id) for task_id in ["deploy_artifacts", "wait_for_outputs"]}
    assert edges == set(itertools.pairwise(chain)) | ends | skips | {("terminate_cluster", "conclude_run")}


def test_no_task_of_a_run_without_work_runs_when_it_is_cleared(dag: DAG) -> None:
    """Airflow skips it again below skipped tasks, unless its rule lets it run there: then only directly below what skips."""
    lenient = {
        task.task_id for task in dag.tasks if task.trigger_rule != TriggerRule.ALL_SUCCESS and not task.is_teardown
    }
    on_the_cluster = {task_id for task_id in lenient if dag.get_task("create_cluster") in setups(dag, task_id)}
    assert lenient - on_the_cluster <= dag.get_task("find_new_images").downstream_task_ids


def setups(dag: DAG, task_id: str) -> set[Any]:
    """The tasks that Airflow skips this one with, whatever its rule."""
    return set(dag.get_task(task_id).get_upstreams_only_setups())


@pytest.mark.parametrize(
    ("earlier", "later", "why"),
    [
        ("find_new_images", "create_cluster", "nothing new must cost nothing"),
        ("deploy_artifacts", "create_cluster", "the bootstrap script must be there when the nodes start"),
        ("wait_for_cluster", "export_model", "a cluster that never starts is told apart from a step that fails"),
        ("export_model", "extract_features", "workers load the exported network"),
        ("extract_features", "reduce_dimensions", "the PCA is fitted on all features"),
        ("reduce_dimensions", "check_outputs", "half-written outputs must not be judged"),
        ("check_outputs", "publish", "only proven results are published"),
        ("reduce_dimensions", "terminate_cluster", "the cluster lives as long as its work, and no longer"),
    ],
)
def test_order(dag: DAG, earlier: str, later: str, why: str) -> None:
    assert earlier in {task.task_id for task in dag.get_task(later).get_flat_relatives(upstream=True)}, why


def test_storing_the_dag_takes_each_param_once_and_not_once_for_each_task(
    dag: DAG, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each validation takes a millisecond, of a file that Airflow parses every 30 s."""
    validated: list[Param] = []
    resolve = Param.resolve

    def counted(param: Param, *values: Any, **named: Any) -> Any:
        validated.append(param)
        return resolve(param, *values, **named)

    monkeypatch.setattr(Param, "resolve", counted)

    stored = DagSerialization.to_dict(dag)["dag"]

    assert len(validated) <= len(dag.params)
    assert [name for name, _ in stored["params"]] == list(dag.params)
    assert [task["__var"]["task_id"] for task in stored["tasks"] if task["__var"].get("params")] == []


def test_every_create_has_its_teardown(dag: DAG) -> None:
    creating = {task.task_id for task in dag.tasks if "create" in task.task_id}
    assert creating == set(CREATES)
    for create, teardown in CREATES.items():
        assert dag.get_task(create).is_setup
        end = dag.get_task(teardown)
        assert end.is_teardown
        assert create in end.upstream_task_ids
        assert end.on_failure_fail_dagrun, "a failed termination must not leave the run green"


def test_the_teardown_outlasts_an_outage(dag: DAG) -> None:
    # A cluster with a hung Spark application is never idle, so EMR does not end it by itself.
    end = dag.get_task("terminate_cluster")
    assert end.retries * end.retry_delay >= timedelta(minutes=30)


@pytest.mark.parametrize("task_id", ["wait_for_cluster", *STEPS])
def test_what_works_on_the_cluster_outlasts_an_outage(dag: DAG, task_id: str) -> None:
    task = dag.get_task(task_id)
    waits = [
        min(task.retry_delay * task.retry_exponential_backoff**number, task.max_retry_delay)
        for number in range(task.retries)
    ]
    assert sum(waits, timedelta()) >= timedelta(minutes=15)
    assert waits[0] <= timedelta(seconds=30), "a worker that was killed must not cost minutes of the cluster"


@pytest.mark.parametrize("task_id", ["wait_for_cluster", *STEPS])
def test_a_task_that_is_cleared_alone_keeps_its_new_cluster(dag: DAG, task_id: str) -> None:
    # Clearing it clears the setup and the teardown too, and a teardown waits for what is directly upstream of it.
    serialized = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    cleared = serialized.partial_subset([task_id], include_downstream=False, include_upstream=False)
    assert set(cleared.task_dict) == {"create_cluster", task_id, "terminate_cluster"}
    assert task_id in dag.get_task("terminate_cluster").upstream_task_ids


@pytest.mark.parametrize("task_id", ["wait_for_cluster", *STEPS])
def test_whoever_works_on_the_cluster_can_replace_a_lost_one(dag: DAG, task_id: str) -> None:
    wanted = dag.get_task("create_cluster").job_flow_overrides
    assert dag.get_task(task_id).cluster_request.key == wanted.key


def test_extraction_goes_on_when_the_model_is_there(dag: DAG) -> None:
    assert dag.get_task("extract_features").trigger_rule == TriggerRule.NONE_FAILED
    assert dag.get_task("wait_for_outputs").trigger_rule == TriggerRule.NONE_FAILED  # a step may have nothing to do


def test_the_run_is_judged_by_a_task_that_marking_it_does_not_skip(dag: DAG) -> None:
    # Airflow takes a run's state from its leaves. Marking a run as failed skips what has not run yet, but for teardowns: were
    # they publish and terminate_cluster, the run would end as a success.
    leaves = [task for task in dag.tasks if not task.downstream_task_ids]
    assert [task.task_id for task in leaves] == ["conclude_run"]
    assert leaves[0].is_teardown
    assert leaves[0].on_failure_fail_dagrun
    assert leaves[0].upstream_task_ids == {"publish", "terminate_cluster"}
    assert not any(task.is_setup for task in leaves[0].upstream_list), "it would be skipped with its setup"


def test_no_task_defers_because_an_installation_prefers_it(dag: DAG) -> None:
    # The default of the provider's classes comes from Airflow's settings.
    deferrable = {task.task_id: task.deferrable for task in dag.tasks if hasattr(task, "deferrable")}
    assert deferrable == {"wait_for_outputs": False}


def test_no_sensor_keeps_a_worker_while_it_waits(dag: DAG) -> None:
    assert {task.task_id: task.mode for task in dag.tasks if hasattr(task, "mode")} == {
        "wait_for_cluster": "reschedule",
        "wait_for_outputs": "reschedule",
    }


def test_what_plugins_read_is_what_the_dag_is_called_and_pushes(dag: DAG) -> None:
    """Plugins are loaded where no DAGs are."""
    assert {dag.dag_id, run_note_plugin.DAG_ID, reading.DAG_ID} == {runs.DAG_ID}
    assert (run_note_plugin.TASK_ID, run_note_plugin.KEY) == ("conclude_run", xcoms.NOTE)
    assert run_note_plugin.TASK_ID in dag.task_ids


def test_one_run_at_a_time(dag: DAG) -> None:
    assert dag.max_active_runs == 1
    assert not dag.catchup


def test_no_run_timeout(dag: DAG) -> None:
    # It would skip the tasks that have not run yet, the teardown among them.
    assert dag.dagrun_timeout is None


def test_the_docstring_is_the_page_in_the_ui(dag: DAG) -> None:
    assert dag.doc_md is not None
    for task_id in dag.task_ids:
        assert f"`{task_id}`" in dag.doc_md


def test_parsing_is_light(dag: DAG) -> None:
    """Under a second, and neither Arrow nor anything of Spark's side is imported, nor AWS asked."""
    probe = (
        "import airflow.dag_processing.dagbag, socket, sys, time\n"
        "def refuse(*_): raise AssertionError('the network was used while parsing')\n"
        "socket.socket.connect = refuse\n"
        "start = time.process_time()\n"
        "import fruit_features_dag\n"
        "print(time.process_time() - start)\n"
        "print(sorted({'pyarrow', 'pyspark', 'tensorflow', 'pandas', 'numpy'} & sys.modules.keys()))\n"
    )
    path = f"{PROJECT / 'dags'}:{PROJECT / 'plugins'}"
    seconds = []
    for _ in range(2):  # the first may be compiling
        done = subprocess.run(
            [sys.executable, "-c", probe],
            env={"PYTHONPATH": path, "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        taken, heavy = done.stdout.split("\n")[:2]
        assert heavy == "[]"
        seconds.append(float(taken))
    assert min(seconds) < 1
