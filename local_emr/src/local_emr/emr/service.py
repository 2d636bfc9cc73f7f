"""The EMR service: every operation, and the clusters behind them."""

from collections.abc import Callable

from local_emr.emr.context import ServerContext
from local_emr.emr.errors import ThrottlingError
from local_emr.emr.operations.clusters import ClusterOperations
from local_emr.emr.operations.instances import InstanceOperations
from local_emr.emr.operations.policies import PolicyOperations
from local_emr.emr.operations.releases import ReleaseOperations
from local_emr.emr.operations.security_configurations import SecurityConfigurationOperations
from local_emr.emr.operations.steps import StepOperations
from local_emr.emr.registry import Answer, Registry, Request

Handler = Callable[[Request, str], Answer]


class EmrService:
    """The API of one server."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self.registry = registry = Registry(context)
        families = (
            ClusterOperations(registry),
            StepOperations(registry),
            InstanceOperations(registry),
            PolicyOperations(registry),
            SecurityConfigurationOperations(registry),
            ReleaseOperations(),
        )
        self.handlers: dict[str, Handler] = {
            name: getattr(family, name)
            for family in families
            for name in vars(type(family))
            if not name.startswith("_")
        }

    def stop(self) -> None:
        """End every cluster at once and remove its files; there are no new ones until `forget`."""
        lifecycles = self.registry.close()
        for lifecycle in lifecycles:
            lifecycle.terminate(force=True)
        for lifecycle in lifecycles:
            lifecycle.join()
            lifecycle.remove_files()

    def forget(self) -> None:
        """Forget everything that `stop` has ended; new clusters are taken again."""
        self.registry.clear()

    def throttle(self, operation: str) -> None:
        """Refuse the request if a fault says so.

        Raises:
            ThrottlingError: a fault does.
        """
        if self._context.faults.match("throttle", {"operation": operation}):
            raise ThrottlingError("Rate exceeded")
