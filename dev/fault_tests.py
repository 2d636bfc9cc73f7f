"""The tests that docs/failures.md names.

`fault_tests.py airflow` and `fault_tests.py spark` print those of one environment; `fault_tests.py table REPORT.xml...` prints
the page's rows with their verdicts, of pytest's JUnit reports, and ends with 1 if one has failed.
"""

import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "failures.md"
ROW = re.compile(
    r"^\| (?P<failure>[^|]+) \| [^|]+ \| [^|]+ \| (?P<cluster>[^|]+) \| [^|]+ \| `(?P<test>tests/[\w/]+\.py::\w+)` \|$",
    re.MULTILINE,
)
VERDICTS = ("not run", "passed", "skipped", "failed")  # of several with other parameters the last of these counts
WIDTHS = {"failure": 76, "cluster": 44}


def rows(page: str) -> list[dict[str, str]]:
    """Return the page's rows: `failure`, `cluster`, `test`."""
    return [match.groupdict() for match in ROW.finditer(page)]


def named_tests(page: str) -> list[str]:
    """Return each test that the page names, once, as pytest does."""
    return list(dict.fromkeys(row["test"] for row in rows(page)))


def verdicts(reports: Iterable[str]) -> dict[str, tuple[str, float]]:
    """Return the verdict on each test in JUnit reports, and its seconds; a test with parameters is one."""
    found: dict[str, tuple[str, float]] = {}
    for report in reports:
        for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - pytest has written it, on this machine
            test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').partition('[')[0]}"
            tags = {child.tag for child in case}
            verdict = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
            before, seconds = found.get(test, (VERDICTS[0], 0.0))
            found[test] = (max(before, verdict, key=VERDICTS.index), seconds + float(case.get("time", 0)))
    return found


def table(page: str, reports: Iterable[str]) -> tuple[str, bool]:
    """Return the table as text, and whether nothing in it has failed."""
    known = verdicts(reports)
    lines = [f"{'failure':<{WIDTHS['failure']}} {'cluster':<{WIDTHS['cluster']}} {'verdict':<8} {'s':>5}  test"]
    counts: Counter[str] = Counter()
    for row in rows(page):
        verdict, seconds = known.get(row["test"], (VERDICTS[0], 0.0))
        counts[verdict] += 1
        cells = " ".join(f"{_cut(row[name], width):<{width}}" for name, width in WIDTHS.items())
        lines.append(f"{cells} {verdict:<8} {seconds:5.0f}  {row['test']}")
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return "\n".join([*lines, f"{counts.total()} rows of docs/failures.md: {summary}"]), not counts["failed"]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def main(arguments: list[str]) -> int:
    """Print what is asked for; return 1 if a row has failed."""
    page = PAGE.read_text(encoding="utf-8")
    what, *files = arguments
    if what == "table":
        text, good = table(page, [Path(file).read_text(encoding="utf-8") for file in files if Path(file).exists()])
        print(text)
        return 0 if good else 1
    of_spark = what == "spark"
    print(" ".join(test for test in named_tests(page) if test.startswith("tests/spark_jobs/") == of_spark))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
