"""The DAG without what its tasks add to it by themselves: edges that say nothing, and copies of the params."""

from airflow.sdk import DAG, TriggerRule
from airflow.sdk.definitions.param import ParamsDict


def drop_implied_edges(dag: DAG) -> None:
    """Remove each edge that a longer path implies, so that the graph reads as a chain.

    Every use of an XComArg draws an edge, although the task that made the value is far upstream: a cluster's id alone would draw
    one to each task that works on it. Two kinds of edges stay:

    - into a teardown, since a teardown waits only for what is directly upstream;
    - from a task that may skip all others into one that runs below skipped tasks: cleared later, it is skipped again only by
      what is directly upstream.
    """
    for task in dag.tasks:
        for child in list(task.downstream_list):
            others = (other for other in task.downstream_list if other is not child)
            implied = any(child in other.get_flat_relatives(upstream=False) for other in others)
            may_skip = task.inherits_from_skipmixin and child.trigger_rule != TriggerRule.ALL_SUCCESS
            if implied and not child.is_teardown and not may_skip:
                task.downstream_task_ids.discard(child.task_id)
                child.upstream_task_ids.discard(task.task_id)


def drop_copied_params(dag: DAG) -> None:
    """Leave the DAG's params to the DAG: each task gets a copy of them all, but only those of its own are read from it.

    Airflow validates a task's params, each against its schema and that schema against the JSON meta-schema, twice for every task
    whenever it stores the DAG: for 39 params and 14 tasks a second of CPU at each parse.
    """
    for task in dag.tasks:
        task.params = ParamsDict.filter_params_by_source(ParamsDict(task.params), source="task")
