"""One step: its record, as DescribeStep and ListSteps show it."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from local_emr.emr.identifiers import identifier, now

FINAL_STATES = frozenset({"COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED"})


@dataclass
class Step:
    """What DescribeStep shows, and where the logs are."""

    name: str
    jar: str
    arguments: list[str]
    action_on_failure: str
    main_class: str | None = None
    properties: dict[str, str] = field(default_factory=dict)
    execution_role: str | None = None
    id: str = field(default_factory=lambda: identifier("s"))
    state: str = "PENDING"
    reason: str | None = None
    failure: dict[str, str] | None = None
    created: datetime = field(default_factory=now)
    started: datetime | None = None
    ended: datetime | None = None
    log_directory: Path | None = None

    @classmethod
    def from_request(cls, request: dict[str, Any], execution_role: str | None = None) -> Self:
        """Return the step of a StepConfig."""
        jar_step = request["HadoopJarStep"]
        return cls(
            name=request["Name"],
            jar=jar_step["Jar"],
            arguments=list(jar_step.get("Args", [])),
            action_on_failure=request.get("ActionOnFailure", "CONTINUE"),
            main_class=jar_step.get("MainClass"),
            properties={pair["Key"]: pair.get("Value", "") for pair in jar_step.get("Properties", [])},
            execution_role=execution_role,
        )

    @property
    def is_final(self) -> bool:
        """Whether the state cannot change any more."""
        return self.state in FINAL_STATES

    def end(self, state: str, reason: str | None = None) -> None:
        """Enter a final state."""
        self.state, self.reason, self.ended = state, reason, now()

    def summary(self) -> dict[str, Any]:
        """Return the StepSummary of ListSteps."""
        return {
            "Id": self.id,
            "Name": self.name,
            "Config": {
                "Jar": self.jar,
                "Properties": self.properties,
                "MainClass": self.main_class,
                "Args": self.arguments,
            },
            "ActionOnFailure": self.action_on_failure,
            "Status": {
                "State": self.state,
                "StateChangeReason": {"Message": self.reason} if self.reason else {},
                "FailureDetails": self.failure,
                "Timeline": {
                    "CreationDateTime": self.created,
                    "StartDateTime": self.started,
                    "EndDateTime": self.ended,
                },
            },
        }

    def description(self) -> dict[str, Any]:
        """Return the Step of DescribeStep."""
        return self.summary() | {"ExecutionRoleArn": self.execution_role}
