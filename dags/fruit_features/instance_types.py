"""What the name of an EC2 instance type says about it."""

import re
from collections.abc import Iterable

XLARGE_OR_LARGER = r"^[a-z][a-z0-9-]*\.\d*xlarge$"
# m6g, c7gn, r8gd, im4gn, is4gen, x2gd: a g follows the generation. a1 is the one family before that rule.
GRAVITON = re.compile(r"^([a-z]+\d+g[a-z]*|a1)\.")


def vcpus(instance_type: str) -> int:
    """Return the vCPUs of an instance type of size xlarge or larger: `m5.xlarge` has 4, `c7g.2xlarge` 8."""
    size = instance_type.rpartition(".")[2]
    return 4 * int(size.removesuffix("xlarge") or 1)


def architecture(instance_type: str) -> str:
    """Return `aarch64` or `x86_64`."""
    return "aarch64" if GRAVITON.match(instance_type) else "x86_64"


def mixture(instance_types: Iterable[str]) -> str:
    """Say which two of these types are of different architectures; an empty text if all are of one."""
    of = {architecture(each): each for each in instance_types}
    return f"{of['aarch64']} is Graviton and {of['x86_64']} is not" if len(of) > 1 else ""


def smallest(instance_types: Iterable[str]) -> str:
    """Return the type with the fewest vCPUs, the first of several."""
    return min(instance_types, key=vcpus)
