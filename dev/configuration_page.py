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

The trigger form shows all of them; `airflow dags trigger fruit_features --conf '{"variance": 0.9}'`, the REST API and
`make demo PARAMS='{"variance": 0.9}'` take the same names. A value out of bounds is refused when the run is triggered. An unknown name,
or values that contradict each other, make the run's first task fail with a message that says what is wrong, before anything costs
money.

| param | label in the form | default | type and bounds | what it is |
|---|---|---|---|---|
"""
MIDDLE = """
## Settings of an installation

Set these environment variables for every Airflow component; each is read once, when it starts. The output `DotEnv` of the
[stack](aws.md#2-the-settings) has their values for an AWS account. `AWS_ENDPOINT_URL`, `HTTPS_PROXY` and all other variables that boto3
reads apply as well.

| variable | value in `.env.example` | what it is |
|---|---|---|
"""


def page() -> str:
    """Return the page."""
    params = [_row(name, field, SCHEMAS[name]) for name, field in RunSettings.model_fields.items()]
    return HEAD + "".join(params) + MIDDLE + "".join(_variables((PROJECT / ".env.example").read_text(encoding="utf-8")))


def _row(name: str, field: FieldInfo, schema: dict[str, Any]) -> str:
    default = "required" if field.is_required() else _value(field.default)
    return f"| `{name}` | {field.title} | {default} | {_bounds(schema)} | {_literal(field.description or '')} |\n"


def _literal(text: str) -> str:
    """Return text of which Markdown makes no emphasis: patterns of keys have asterisks."""
    return text.replace("*", r"\*")


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
    """Yield a row for each variable; the comment right above it says what it is.

    Raises:
        ValueError: a variable has no comment of its own.
    """
    comment: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
            continue
        if line:
            name, _, value = line.partition("=")
            if not comment:
                raise ValueError(f"{name} has no comment in .env.example: say right above it what it is")
            yield f"| `{name}` | {f'`{value}`' if value else 'none'} | {_literal(' '.join(comment))} |\n"
        comment = []


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE).write_text(page(), encoding="utf-8")
