"""Check the rules of this repository that no linter knows; list what breaks them: dev/house_rules.py FILE...

No function longer than 50 lines, no file longer than 250, no double backticks in docstrings, no picture larger than 200 kB.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FUNCTION_LINES = 50
FILE_LINES = 250
PICTURES = {".png", ".jpg", ".svg"}
PICTURE_BYTES = 200_000  # a README opens on a slow line too

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


def violations(path: str, source: str) -> Iterator[str]:
    """Yield one line for each violation, as `path:line: message`."""
    lines = source.count("\n")
    if lines > FILE_LINES:
        yield f"{path}:1: {lines} lines, more than {FILE_LINES}: split the file"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name}() has {length} lines, more than {FUNCTION_LINES}: split it"
        if isinstance(node, Documented) and "``" in (ast.get_docstring(node) or ""):
            yield f"{path}:{node.body[0].lineno}: double backticks in a docstring: use single ones"


def picture_violations(path: str, size: int) -> Iterator[str]:
    """Yield one line if a picture of this size, in bytes, is too large."""
    if size > PICTURE_BYTES:
        yield f"{path}: {size:,} bytes, more than {PICTURE_BYTES:,}: make it smaller, or write it with fewer colors"


def violations_of(path: Path) -> Iterator[str]:
    """Yield one line for each violation in a file: a picture, or Python."""
    if path.suffix in PICTURES:
        yield from picture_violations(str(path), path.stat().st_size)
    else:
        yield from violations(str(path), path.read_text(encoding="utf-8"))


def main(paths: list[str]) -> int:
    """Print every violation; return 1 if there is any."""
    found = [line for path in paths for line in violations_of(Path(path))]
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
