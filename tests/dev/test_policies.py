"""The evaluator of IAM policies, on policies of one statement."""

from typing import Any

import pytest

from policies import Call, Grant, allows, grants, used_grants


def policy(**elements: Any) -> dict[str, Any]:
    return {"Statement": [{"Sid": "One", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **elements}]}


@pytest.mark.parametrize(
    ("elements", "call", "allowed"),
    [
        ({}, Call("s3:GetObject", "arn:aws:s3:::b/k"), True),
        ({}, Call("s3:PutObject", "arn:aws:s3:::b/k"), False),
        ({"Action": ["s3:PutObject", "S3:getobject"]}, Call("s3:GetObject", "arn:aws:s3:::b/k"), True),  # any case
        ({"Action": "s3:*Object"}, Call("s3:PutObject", "arn:aws:s3:::b/k"), True),
        ({"Resource": "arn:aws:s3:::b/images/*"}, Call("s3:GetObject", "arn:aws:s3:::b/images/a/b.jpg"), True),
        ({"Resource": "arn:aws:s3:::b/images/*"}, Call("s3:GetObject", "arn:aws:s3:::b/image"), False),
        ({"Resource": "arn:aws:s3:::b/images/*"}, Call("s3:GetObject", "arn:aws:s3:::b/Images/a"), False),
        ({"Resource": "arn:aws:s3:::b/[a]"}, Call("s3:GetObject", "arn:aws:s3:::b/a"), False),  # no shell pattern
        ({"Resource": "arn:aws:s3:::b/?"}, Call("s3:GetObject", "arn:aws:s3:::b/a"), True),
        ({"Resource": "arn:aws:s3:::b"}, Call("s3:GetObject"), False),  # an action without a resource needs "*"
    ],
)
def test_actions_and_resources(elements: dict[str, Any], call: Call, *, allowed: bool) -> None:
    assert allows([policy(**elements)], call) is allowed


@pytest.mark.parametrize(
    ("condition", "conditions", "allowed"),
    [
        ({"StringEquals": {"k": "v"}}, {"k": "v"}, True),
        ({"StringEquals": {"k": "v"}}, {"k": "w"}, False),
        ({"StringEquals": {"k": "v"}}, {}, False),  # a key that is not there
        ({"StringEquals": {"k": ["u", "v"]}}, {"k": "v"}, True),  # any of the values
        ({"StringEquals": {"k": "v", "l": "w"}}, {"k": "v"}, False),  # all of the keys
        ({"StringEquals": {"k": "v*"}}, {"k": "vw"}, False),
        ({"StringLike": {"k": "v*"}}, {"k": "vw"}, True),
        ({"Bool": {"k": "true"}}, {"k": "True"}, True),
        ({"StringEqualsIfExists": {"k": "v"}}, {"k": "v"}, True),
        ({"StringEqualsIfExists": {"k": "v"}}, {"k": "w"}, False),
        ({"StringEqualsIfExists": {"k": "v"}}, {}, True),
    ],
)
def test_conditions(condition: dict[str, Any], conditions: dict[str, str], *, allowed: bool) -> None:
    call = Call("s3:GetObject", "arn:aws:s3:::b/k", conditions)

    assert allows([policy(Condition=condition)], call) is allowed


def test_one_denial_outweighs_every_permission() -> None:
    call = Call("s3:GetObject", "arn:aws:s3:::b/k")

    assert not allows([policy(), policy(Effect="Deny")], call)
    assert not allows([policy(Effect="Deny")], call)
    assert not allows([], call)


@pytest.mark.parametrize(
    ("elements", "message"),
    [({"NotAction": "s3:*"}, "NotAction is not known"), ({"Condition": {"DateLessThan": {"k": "v"}}}, "DateLessThan")],
)
def test_what_is_not_known_raises(elements: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        allows([policy(**elements)], Call("s3:GetObject", "arn:aws:s3:::b/k"))


def test_what_is_allowed_but_not_used() -> None:
    wide = policy(Action=["s3:GetObject", "s3:PutObject"], Resource=["arn:aws:s3:::b/a/*", "arn:aws:s3:::b/c/*"])
    used = used_grants(wide, [Call("s3:GetObject", "arn:aws:s3:::b/a/1")])

    assert used == {Grant("One", "s3:GetObject", "arn:aws:s3:::b/a/*")}
    assert set(grants(wide)) - used == {
        Grant("One", "s3:GetObject", "arn:aws:s3:::b/c/*"),
        Grant("One", "s3:PutObject", "arn:aws:s3:::b/a/*"),
        Grant("One", "s3:PutObject", "arn:aws:s3:::b/c/*"),
    }
