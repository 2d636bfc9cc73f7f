"""An EMR hook whose requests to create something can be repeated safely.

RunJobFlow and AddJobFlowSteps have no idempotency token. Sent again because an answer was lost, or because a task was retried,
they create a second cluster or add a step twice, and the first cluster leaks. This hook looks up by `Name` what an earlier
request has created before it sends another. Because it is a hook, the provider's operators run unchanged on a retry, links to
the console included.
"""

import random
import time
from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

from airflow.providers.amazon.aws.hooks.emr import EmrHook
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from aws_sessions import OwnSettings, SharedDescriptions

ACTIVE_CLUSTER = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
ENDED_CLUSTER = ["TERMINATED", "TERMINATED_WITH_ERRORS"]
ACTIVE_STEP = ["PENDING", "RUNNING"]

# EMR throttles per account, and hard: reads and TerminateJobFlows are repeated until they get through.
ADAPTIVE_RETRIES = Config(retries={"mode": "adaptive", "max_attempts": 10})
NO_RETRIES = Config(retries={"total_max_attempts": 1})

# How far back to look among clusters of all states: ListClusters needs one page, however long the account's history. Active ones
# are few, whenever they were created: a task may be cleared days after its cluster was.
LOOKBACK = timedelta(days=2)

# Between the name of a lost cluster and its id, in the name of the one that takes its place.
IN_PLACE_OF = " in place of "

Created = TypeVar("Created")


class IdempotentEmrHook(SharedDescriptions, OwnSettings, EmrHook):
    """An EmrHook that reuses the cluster or the step of the same name instead of creating a second one.

    Args:
        settle_seconds: pauses after a request that got no answer. Each is followed by a look whether the request took effect
            and, if it did not, by another one.
        reuse_completed_steps: whether a completed step counts too: a retry wants its result, a cleared task does not.

    Attributes:
        disregarded_steps: ids of steps that never count: a cleared task repeats what is running still.
    """

    settings = ADAPTIVE_RETRIES

    def __init__(
        self,
        *args: Any,
        settle_seconds: tuple[float, ...] = (2, 4, 8, 16, 32),
        reuse_completed_steps: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.settle_seconds = settle_seconds
        self.reuse_completed_steps = reuse_completed_steps
        self.disregarded_steps: AbstractSet[str] = frozenset()

    def create_job_flow(self, job_flow_overrides: dict[str, Any]) -> dict[str, Any]:
        """Create the cluster, or return the active one of the same `Name` as if it had just been created.

        Raises:
            ClientError: EMR refused the request, or throttled it every time.
            BotoCoreError: EMR did not answer, and there is no such cluster.
        """

        def find() -> dict[str, Any] | None:
            cluster_id = self.find_cluster(job_flow_overrides["Name"])
            return {"JobFlowId": cluster_id, "ResponseMetadata": {"HTTPStatusCode": 200}} if cluster_id else None

        return self._create_once("RunJobFlow", find, lambda: self._without_retries.create_job_flow(job_flow_overrides))

    def add_job_flow_steps(
        self, job_flow_id: str, steps: list[dict[str, Any]] | str | None = None, *args: Any, **kwargs: Any
    ) -> list[str]:
        """Add the steps that the cluster does not have yet; return the id of each, in order.

        Raises:
            ClientError: EMR refused the request, or throttled it every time.
            BotoCoreError: EMR did not answer, and the cluster has no such step.
        """
        assert isinstance(steps, list), "a list of StepConfigs, as the operator has rendered it"

        def add(step: dict[str, Any]) -> str:
            return self._create_once(
                "AddJobFlowSteps",
                lambda: self.find_steps(job_flow_id).get(step["Name"]),
                lambda: self._without_retries.add_job_flow_steps(job_flow_id, [step], *args, **kwargs)[0],
            )

        return [add(step) for step in steps]

    def find_cluster(self, name: str) -> str | None:
        """Return the id of the active cluster called `name`, or that has taken its place; None if there is none."""
        return next((cluster["Id"] for cluster in self.find_clusters(name, ACTIVE_CLUSTER)), None)

    def find_clusters(
        self, name: str, states: list[str] | None = None, since: datetime | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the clusters called `name` and those that have taken the place of one, newest first, as ListClusters does.

        Args:
            name: of the first cluster.
            states: that count, however old the cluster is; None: all.
            since: of all states, none is older; None: `LOOKBACK`.
        """
        wanted: dict[str, Any] = (
            {"ClusterStates": states} if states else {"CreatedAfter": since or datetime.now(UTC) - LOOKBACK}
        )
        pages = self.get_conn().get_paginator("list_clusters")
        for page in pages.paginate(**wanted):
            for cluster in page["Clusters"]:
                if cluster["Name"] == name or cluster["Name"].startswith(name + IN_PLACE_OF):
                    yield cluster

    def end_clusters(self, name: str, why: str) -> None:
        """Terminate the active clusters called `name`, and those that have taken the place of one; log each, with the reason."""
        for cluster in self.find_clusters(name, ACTIVE_CLUSTER):
            self.log.warning("Terminating cluster %s: %s", cluster["Id"], why)
            self.conn.terminate_job_flows(JobFlowIds=[cluster["Id"]])

    def describe(self, cluster_id: str) -> dict[str, Any]:
        """Return the cluster, as DescribeCluster does."""
        return self.conn.describe_cluster(ClusterId=cluster_id)["Cluster"]

    def find_steps(self, cluster_id: str) -> dict[str, str]:
        """Return the ids of the cluster's reusable steps by name: of two of the same name the later one."""
        states = [*ACTIVE_STEP, "COMPLETED"] if self.reuse_completed_steps else ACTIVE_STEP
        pages = self.get_conn().get_paginator("list_steps").paginate(ClusterId=cluster_id, StepStates=states)
        steps = [step for page in pages for step in page["Steps"] if step["Id"] not in self.disregarded_steps]
        return {step["Name"]: step["Id"] for step in reversed(steps)}  # EMR lists the newest first

    def cancel_steps(self, cluster_id: str, step_ids: Collection[str]) -> None:
        """Cancel the steps that have not ended.

        EMR sends SIGTERM to the step's process. In client deploy mode that is Spark's driver, whose application ends with it.
        What goes wrong is logged: the cluster's teardown ends the steps too.
        """
        try:
            if step_ids:
                self.get_conn().cancel_steps(
                    ClusterId=cluster_id, StepIds=[*step_ids], StepCancellationOption="SEND_INTERRUPT"
                )
        except (BotoCoreError, ClientError) as error:
            self.log.warning("Could not cancel %s: %s", ", ".join(step_ids), error)

    def _create_once(self, operation: str, find: Callable[[], Created | None], send: Callable[[], Created]) -> Created:
        for pause in (*self.settle_seconds, None):
            if (found := find()) is not None:
                self.log.info("%s has taken effect before: reusing %s", operation, found)
                return found
            try:
                return send()
            except (BotoCoreError, ClientError) as error:
                if pause is None or not _may_have_taken_effect(error):
                    raise
                seconds = pause * random.uniform(0.5, 1.5)  # noqa: S311 - jitter: throttled tasks must not return together
                self.log.warning("%s got no answer (%s): looking for its effect in %.0f s", operation, error, seconds)
                time.sleep(seconds)
        raise AssertionError("unreachable: the last attempt returns or raises")

    @cached_property
    def _without_retries(self) -> EmrHook:
        """Return the provider's hook on the same connection; botocore would repeat a request whose answer was lost."""
        return EmrHook(
            emr_conn_id=self.emr_conn_id,
            aws_conn_id=self.aws_conn_id,
            region_name=self._region_name,
            verify=self._verify,
            config=self.config.merge(NO_RETRIES),
        )


def hook_of(operator: Any) -> IdempotentEmrHook:
    """Return an operator's hook by its type, which the provider's declaration does not know."""
    return operator.hook


def _may_have_taken_effect(error: Exception) -> bool:
    """Say whether a failed request may have been obeyed, or may be next time; a refusal is final."""
    if isinstance(error, ClientError):
        return (
            "Throttl" in error.response["Error"]["Code"] or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
        )
    return not isinstance(error, ParamValidationError)
