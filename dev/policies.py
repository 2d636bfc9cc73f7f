"""Whether IAM policies allow a call: the part of IAM's evaluation that the policies of infra/ use.

An element or an operator that is not known here raises: a policy must not count as narrower or wider than it is. Not known are
principals, boundaries, and what other accounts, organizations and resources allow or deny.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Statement = Mapping[str, Any]
ELEMENTS = {"Sid", "Effect", "Action", "Resource", "Condition"}


@dataclass(frozen=True)
class Call:
    """What somebody asks AWS for.

    Attributes:
        action: e.g. `s3:GetObject`.
        resource: an ARN; `*` where the action takes none.
        conditions: the values of condition keys.
    """

    action: str
    resource: str = "*"
    conditions: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.action} on {self.resource}" + (f" with {dict(self.conditions)}" if self.conditions else "")


@dataclass(frozen=True)
class Grant:
    """One action on one resource, as a statement allows it; the smallest thing that a policy could do without."""

    sid: str
    action: str
    resource: str

    def __str__(self) -> str:
        return f"{self.sid}: {self.action} on {self.resource}"


def allows(policies: Iterable[Mapping[str, Any]], call: Call) -> bool:
    """Say whether a statement allows the call and none denies it.

    Raises:
        ValueError: a policy has an element or an operator that is not known here.
    """
    effects = {found["Effect"] for policy in policies for found in statements(policy) if matches(found, call)}
    return effects == {"Allow"}


def statements(policy: Mapping[str, Any]) -> list[Statement]:
    """Return the statements of a policy document.

    Raises:
        ValueError: see `allows`.
    """
    found = _list(policy["Statement"])
    for statement in found:
        if unknown := set(statement) - ELEMENTS:
            raise ValueError(f"statement {statement.get('Sid')}: {', '.join(sorted(unknown))} is not known here")
    return found


def matches(statement: Statement, call: Call) -> bool:
    """Say whether a statement speaks of the call."""
    return (
        any(_like(pattern.lower(), call.action.lower()) for pattern in _list(statement["Action"]))
        and any(_like(pattern, call.resource) for pattern in _list(statement["Resource"]))
        and all(
            _holds(operator, wanted, call.conditions.get(key))
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def grants(policy: Mapping[str, Any]) -> Iterator[Grant]:
    """Yield what a policy allows, one action on one resource each."""
    for statement in statements(policy):
        if statement["Effect"] == "Allow":
            for action in _list(statement["Action"]):
                for resource in _list(statement["Resource"]):
                    yield Grant(statement.get("Sid", ""), action, resource)


def used_grants(policy: Mapping[str, Any], calls: Iterable[Call]) -> set[Grant]:
    """Return the grants of a policy that at least one of the calls needs."""
    by_sid = {statement.get("Sid", ""): statement for statement in statements(policy)}
    calls = list(calls)
    return {
        grant
        for grant in grants(policy)
        if any(matches({**by_sid[grant.sid], "Action": grant.action, "Resource": grant.resource}, one) for one in calls)
    }


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _like(pattern: str, value: str) -> bool:
    """Say whether a value matches a pattern, in which `*` stands for any characters and `?` for one."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value, re.DOTALL) is not None


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringLike": _like,
    "ArnLike": _like,
    "ArnEquals": _like,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
}


def _holds(operator: str, wanted: Any, value: str | None) -> bool:
    """Say whether one condition holds; on a key that the call lacks one does only if its operator ends in `IfExists`."""
    plain = operator.removesuffix("IfExists")
    if plain not in OPERATORS:
        raise ValueError(f"condition operator {operator} is not known here: expected {', '.join(OPERATORS)}")
    if value is None:
        return plain != operator
    return any(OPERATORS[plain](str(one), value) for one in _list(wanted))
