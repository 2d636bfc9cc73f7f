"""Look for known vulnerabilities in lock files, with pip-audit: dev/audit.py [--advise] LOCK...

PyPI's JSON API knows them. A company's mirror often has none, and a laptop may be offline: one package is asked for first, and
if there is no answer, a note says that nothing was checked. With `--advise` what is found is a note too: a vulnerability that
becomes known today must not fail a change that has nothing to do with it.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PROBE = "pip==24.0"  # any old release: whether there is an answer matters, not which

# Vulnerabilities that do not concern this project: its id, and why. Take out what an upgrade has fixed.
ACCEPTED: dict[str, str] = {}


def pip_audit(requirements: Path) -> tuple[dict[str, object], str]:
    """Return pip-audit's report on a file of pinned requirements, and what it wrote to stderr."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--format", "json", "--timeout", "10"]
    done = subprocess.run(
        [*command, "--progress-spinner", "off", "-r", str(requirements)], capture_output=True, text=True, check=False
    )
    try:
        return json.loads(done.stdout), done.stderr
    except json.JSONDecodeError:
        return {}, done.stderr


def is_audited(report: dict[str, object]) -> bool:
    """Say whether the index knew at least one package."""
    dependencies = report.get("dependencies", [])
    assert isinstance(dependencies, list)
    return any("vulns" in one for one in dependencies)


def vulnerabilities(report: dict[str, object]) -> Iterator[str]:
    """Yield one line for each vulnerability that is not accepted."""
    dependencies = report.get("dependencies", [])
    assert isinstance(dependencies, list)
    for one in dependencies:
        for found in one.get("vulns", []):
            if not {found["id"], *found.get("aliases", [])} & ACCEPTED.keys():
                fixed = ", ".join(found.get("fix_versions", [])) or "no release yet"
                yield f"{one['name']} {one['version']}: {found['id']}, fixed in {fixed}"


def main(locks: list[str], *, advise: bool) -> int:
    """Audit each lock file; return 1 if there is a vulnerability, unless this is only for advice."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.txt"
        probe.write_text(PROBE + "\n", encoding="utf-8")
        report, _ = pip_audit(probe)
    if not is_audited(report):
        print("note: nothing audited, as PyPI's vulnerability data cannot be reached from here")
        return 0
    found = [f"{lock}: {line}" for lock in locks for line in audit(lock)]
    if found and advise:
        print(f"note: {len(found)} known: see make audit")
        return 0
    if found:
        print(
            *found,
            "upgrade with make lock ARGS=--upgrade-package=NAME, or add the id to ACCEPTED in dev/audit.py with the reason",
            sep="\n",
        )
    return int(bool(found))


def audit(lock: str) -> list[str]:
    """Return one line for each vulnerability in a lock file, or for what kept pip-audit from looking."""
    report, errors = pip_audit(Path(lock))
    if not report:
        return [f"pip-audit failed: {(errors.strip().splitlines() or ['no output'])[-1]}"]
    return sorted(set(vulnerabilities(report)))


if __name__ == "__main__":
    sys.exit(main([name for name in sys.argv[1:] if name != "--advise"], advise="--advise" in sys.argv))
