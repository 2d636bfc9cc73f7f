"""Write docs/configuration.md from the declarations of the settings: dev/configuration_page.py [FILE].

The params come from `fruit_features.settings`, the settings of an installation from .env.example.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from fruit_features.settings import SCHEMAS, RunSettings

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs/configuration.md"
HEAD = """\
# Configuration

<!-- Written by dev/configuration_page.py from dags/fruit_features/*settings.py and .env.example: edit those, then `make docs`. -->

## Params of a run

The trigger form has them all; `airflow dags trigger fruit_features --conf '{"variance": 0.9}'`, the REST API and
`make demo PARAMS='{"variance": 0.9}'` take the same names. A value out of bounds is refused when the run is triggered. A name that does
not exist, or values that do not go together, fail the run's first task with a message that says what is wrong, before anything costs
money.

| param | default | type and bounds | what it is |
|---|---|---|---|
"""
MIDDLE = """
## Settings of an installation

Environment variables of every Airflow component, read once. The output `DotEnv` of the [stack](aws.md#2-the-settings) has their values
for an AWS account. `AWS_ENDPOINT_URL`, `HTTPS_PROXY` and whatever else boto3 reads apply as well.

| variable | value in `.env.example` | what it is |
|---|---|---|
"""


def page() -> str:
    """Return the page."""
    params = [_row(name, field, SCHEMAS[name]) for name, field in RunSettings.model_fields.items()]
    return HEAD + "".join(params) + MIDDLE + "".join(_variables((PROJECT / ".env.example").read_text(encoding="utf-8")))


def _row(name: str, field: FieldInfo, schema: dict[str, Any]) -> str:
    default = "required" if field.is_required() else _value(field.default)
    what = ": ".join(filter(None, [field.title, field.description]))
    return f"| `{name}` | {default} | {_bounds(schema)} | {what} |\n"


def _value(default: Any) -> str:
    if default is None:
        return "none"
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"


def _bounds(schema: dict[str, Any]) -> str:
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = [" or ".join("none" if name == "null" else name for name in types)]
    for key, sign in (("exclusiveMinimum", "above"), ("minimum", "from"), ("maximum", "to")):
        if key in schema:
            words.append(f"{sign} {schema[key]:g}")
    if "pattern" in schema:
        words.append("`" + schema["pattern"].replace("|", r"\|") + "`")
    return " ".join(words)


def _variables(text: str) -> Iterator[str]:
    """Yield a row for each variable; the comment above it, or above its block, says what it is."""
    comment: list[str] = []
    for block in text.split("\n\n"):
        comment = [line.removeprefix("#").strip() for line in block.splitlines() if line.startswith("#")]
        for line in block.splitlines():
            if "=" in line and not line.startswith("#"):
                name, _, value = line.partition("=")
                yield f"| `{name}` | {f'`{value}`' if value else 'none'} | {' '.join(comment)} |\n"


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE).write_text(page(), encoding="utf-8")
