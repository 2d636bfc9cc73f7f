"""Check the rules of this repository that no linter knows; list what breaks them: dev/house_rules.py FILE...

No function longer than 50 lines, no file longer than 250, no double backticks in docstrings.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FUNCTION_LINES = 50
FILE_LINES = 250

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


def main(paths: list[str]) -> int:
    """Print every violation; return 1 if there is any."""
    found = [line for path in paths for line in violations(path, Path(path).read_text(encoding="utf-8"))]
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
