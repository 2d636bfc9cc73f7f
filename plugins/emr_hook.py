"""An EMR hook whose requests to create something can be repeated safely.

RunJobFlow and AddJobFlowSteps have no idempotency token. Sent again because an answer was lost, or because a task was retried,
they create a second cluster or add a step twice, and the first cluster leaks. This hook looks up by `Name` what an earlier
request has created before it sends another.
"""

import random
import time
from collections.abc import Callable, Collection, Iterator
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Self

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from aws_sessions import OwnSettings, SharedDescriptions

ACTIVE_CLUSTER = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
ENDED_CLUSTER = ["TERMINATED", "TERMINATED_WITH_ERRORS"]
ENDING_CLUSTER = ["TERMINATING", *ENDED_CLUSTER]
ACTIVE_STEP = ["PENDING", "RUNNING"]

# EMR throttles per account, and hard: reads and TerminateJobFlows are repeated until they get through.
ADAPTIVE_RETRIES = Config(retries={"mode": "adaptive", "max_attempts": 10})
NO_RETRIES = Config(retries={"total_max_attempts": 1})
# Airflow kills a task for good five seconds after it has asked it to end.
HURRIED = Config(connect_timeout=1, read_timeout=1.5, retries={"mode": "standard", "total_max_attempts": 2})

# How far back to look among clusters of all states: ListClusters needs one page, however long the account's history. Active ones
# are few, whenever they were created: a task may be cleared days after its cluster was.
LOOKBACK = timedelta(days=2)

# Between the name of a lost cluster and its id, in the name of the one that takes its place.
IN_PLACE_OF = " in place of "


class IdempotentEmrHook(SharedDescriptions, OwnSettings):
    """A hook for EMR that reuses the cluster or the step of the same name instead of creating a second one.

    It is no `EmrHook`, which creates clusters of what a connection of Airflow's says, beside what it is given.

    Args:
        settle_seconds: pauses after a request that got no answer. Each is followed by a look whether the request took effect
            and, if it did not, by another one.
    """

    settings = ADAPTIVE_RETRIES

    def __init__(self, *, settle_seconds: tuple[float, ...] = (2, 4, 8, 16, 32), **kwargs: Any) -> None:
        super().__init__(client_type="emr", **kwargs)
        self.settle_seconds = settle_seconds

    def create_cluster(self, request: dict[str, Any]) -> str:
        """Create the cluster, unless there is an active one of the same `Name`; return its id.

        Args:
            request: RunJobFlow's.

        Raises:
            ClientError: EMR refused the request, or throttled it every time.
            BotoCoreError: EMR did not answer, and there is no such cluster.
        """
        return self._create_once(
            "RunJobFlow",
            lambda: self.find_cluster(request["Name"]),
            lambda: self._sending_once.run_job_flow(**request)["JobFlowId"],
        )

    def add_step(
        self, cluster_id: str, step: dict[str, Any], *, reuse_completed: bool = False, except_for: Collection[str] = ()
    ) -> str:
        """Add the step, unless the cluster has one of the same `Name`; return its id.

        Args:
            cluster_id: of the cluster.
            step: a StepConfig.
            reuse_completed: whether a completed step counts too: a retry wants its result, a cleared task does not.
            except_for: ids of steps that never count: a cleared task repeats what is running still.

        Raises:
            ClientError: EMR refused the request, or throttled it every time.
            BotoCoreError: EMR did not answer, and the cluster has no such step.
        """
        return self._create_once(
            "AddJobFlowSteps",
            lambda: self.find_steps(cluster_id, completed=reuse_completed, except_for=except_for).get(step["Name"]),
            lambda: self._sending_once.add_job_flow_steps(JobFlowId=cluster_id, Steps=[step])["StepIds"][0],
        )

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
        pages = self.conn.get_paginator("list_clusters")
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

    def find_steps(
        self, cluster_id: str, *, completed: bool = False, except_for: Collection[str] = ()
    ) -> dict[str, str]:
        """Return the ids of the cluster's active steps by name, and of its completed ones: of two of a name the later one."""
        states = [*ACTIVE_STEP, "COMPLETED"] if completed else ACTIVE_STEP
        pages = self.conn.get_paginator("list_steps").paginate(ClusterId=cluster_id, StepStates=states)
        steps = [step for page in pages for step in page["Steps"] if step["Id"] not in except_for]
        return {step["Name"]: step["Id"] for step in reversed(steps)}  # EMR lists the newest first

    def cancel_steps(self, cluster_id: str, step_ids: Collection[str]) -> None:
        """Cancel the steps that have not ended.

        EMR sends SIGTERM to the step's process. In client deploy mode that is Spark's driver, whose application ends with it.
        What goes wrong is logged: the cluster's teardown ends the steps too.
        """
        try:
            if step_ids:
                self.conn.cancel_steps(
                    ClusterId=cluster_id, StepIds=[*step_ids], StepCancellationOption="SEND_INTERRUPT"
                )
        except (BotoCoreError, ClientError) as error:
            self.log.warning("Could not cancel %s: %s", ", ".join(step_ids), error)

    @cached_property
    def hurried(self) -> Self:
        """This hook, for a task that is being killed: an EMR that does not answer takes it four seconds, not minutes."""
        hook = copy(self)
        hook.conn = self.get_client_type(region_name=self.region_name, config=self.config.merge(HURRIED))
        return hook

    def _create_once(self, operation: str, find: Callable[[], str | None], send: Callable[[], str]) -> str:
        def find_or_send() -> str:
            if found := find():
                self.log.info("%s has taken effect before: reusing %s", operation, found)
                return found
            return send()

        for pause in self.settle_seconds:
            try:
                return find_or_send()
            except (BotoCoreError, ClientError) as error:
                if not _may_have_taken_effect(error):
                    raise
                seconds = pause * random.uniform(0.5, 1.5)  # noqa: S311 - jitter: throttled tasks must not return together
                self.log.warning("%s got no answer (%s): looking for its effect in %.0f s", operation, error, seconds)
                time.sleep(seconds)
        return find_or_send()

    @cached_property
    def _sending_once(self) -> Any:
        """A client that never repeats a request whose answer was lost, as botocore would."""
        return self.get_client_type(region_name=self.region_name, config=self.config.merge(NO_RETRIES))


def _may_have_taken_effect(error: Exception) -> bool:
    """Say whether a failed request may have been obeyed, or may be next time; a refusal is final."""
    if isinstance(error, ClientError):
        return (
            "Throttl" in error.response["Error"]["Code"] or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
        )
    return not isinstance(error, ParamValidationError)
