"""Print the licenses of the packages in bills of materials, as a Markdown table: dev/licenses.py SBOM.json..."""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any


def name_of(component: dict[str, Any]) -> str:
    """Return a component's license, as its metadata names it."""
    names = [
        one.get("expression") or one["license"].get("id") or one["license"]["name"]
        for one in component.get("licenses", [])
        if one.get("acknowledgement", one.get("license", {}).get("acknowledgement")) != "concluded"
    ]
    return (
        " / ".join(
            dict.fromkeys(" ".join(name.split())[:60].removeprefix("License :: OSI Approved :: ") for name in names)
        )
        or "not declared"
    )


def table(documents: list[dict[str, Any]]) -> str:
    """Return packages by license, the most frequent license first."""
    found: dict[str, set[str]] = defaultdict(set)
    for document in documents:
        for component in document.get("components", []):
            found[name_of(component)].add(component["name"])
    rows = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    lines = [f"| {name} | {len(packages)} | {', '.join(sorted(packages))} |\n" for name, packages in rows]
    return "| license | packages | |\n|---|---|---|\n" + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table([json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]))
