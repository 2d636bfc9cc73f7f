"""The tests that docs/failures.md names.

`fault_tests.py airflow` and `fault_tests.py spark` print those of one environment; `fault_tests.py table REPORT.xml...` prints
the page's rows with their verdicts, of pytest's JUnit reports, and ends with 1 if one has failed or was not run;
`fault_tests.py some REPORT.xml...` does the same where only some of them were asked for.
"""

import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "failures.md"
ROW = re.compile(
    r"^\| (?P<failure>[^|]+) \| [^|]+ \| [^|]+ \| (?P<cluster>[^|]+) \| [^|]+ \| (?P<tests>`tests/[^|]+`) \|$",
    re.MULTILINE,
)
TEST = re.compile(r"`(tests/[\w/]+\.py::\w+)`")
# Those that take longest, by far, and so begin first: a file stays in one process, and the last one decides when all have ended.
LONGEST = tuple(
    f"tests/{name}.py"
    for name in (
        "dags/test_s3_faults",
        "dags/test_failing_runs",
        "live/test_airflow_faults",
        "live/test_people",
        "dags/test_refused_runs",
        "live/test_events",
        "dags/test_sigkills",
    )
)
VERDICTS = ("not run", "passed", "skipped", "failed")  # of several with other parameters the last of these counts
WIDTHS = {"failure": 76, "cluster": 44}
LIVED_ON = "cluster_lived_on_s"  # a property that tests of whole runs record: tests/cluster_lives.py


@dataclass(frozen=True)
class Row:
    """A row of the page.

    Attributes:
        failure: what fails.
        cluster: how long the cluster lives on.
        tests: what shows it, as pytest names them.
    """

    failure: str
    cluster: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What pytest says of a test, or of several.

    Attributes:
        word: one of `VERDICTS`.
        seconds: that it took.
        lived_on: the most seconds that a cluster had between its last step and its end, where whole runs were watched.
    """

    word: str = VERDICTS[0]
    seconds: float = 0.0
    lived_on: float | None = None

    def __add__(self, other: Self) -> "Verdict":
        """Return that on both, which is the worse one."""
        known = [one.lived_on for one in (self, other) if one.lived_on is not None]
        worse = max(self.word, other.word, key=VERDICTS.index)
        return Verdict(worse, self.seconds + other.seconds, max(known, default=None))

    @classmethod
    def of(cls, case: ET.Element) -> Self:
        """Return that on a test case of a JUnit report."""
        tags = {child.tag for child in case}
        word = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
        lived = case.find(f"properties/property[@name='{LIVED_ON}']")
        return cls(word, float(case.get("time", 0)), None if lived is None else float(lived.get("value", 0)))


def rows(page: str) -> list[Row]:
    """Return the page's rows."""
    found = (match.groupdict() for match in ROW.finditer(page))
    return [Row(row["failure"], row["cluster"], tuple(TEST.findall(row["tests"]))) for row in found]


def named_tests(page: str) -> list[str]:
    """Return each test that the page names, once, as pytest does."""
    return list(dict.fromkeys(test for row in rows(page) for test in row.tests))


def in_order(tests: Iterable[str]) -> list[str]:
    """Return the tests by file, the longest first, and in each as it has them: pytest runs them as they are given."""

    def place(test: str) -> tuple[int, str, int]:
        file, _, name = test.partition("::")
        rank = LONGEST.index(file) if file in LONGEST else len(LONGEST)
        return rank, file, (PROJECT / file).read_text(encoding="utf-8").index(f"def {name}(")

    return sorted(tests, key=place)


def verdicts(reports: Iterable[str]) -> dict[str, Verdict]:
    """Return the verdict on each test in JUnit reports; a test with parameters is one."""
    found: dict[str, Verdict] = {}
    for report in reports:
        for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - pytest has written it, on this machine
            test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').partition('[')[0]}"
            found[test] = found.get(test, Verdict()) + Verdict.of(case)
    return found


def table(page: str, reports: Iterable[str], *, some: bool = False) -> tuple[str, bool]:
    """Return the table as text, and whether nothing in it has failed, nor was not run, unless only some were asked for."""
    known = verdicts(reports)
    head = " ".join(f"{name:<{width}}" for name, width in WIDTHS.items())
    lines = [f"{head} {'lived on':>8} {'verdict':<8} {'s':>5}  test"]
    counts: Counter[str] = Counter()
    for row in rows(page):
        verdict = sum((known[test] for test in row.tests if test in known), Verdict())
        word = VERDICTS[0] if verdict.word == "passed" and not known.keys() >= {*row.tests} else verdict.word
        counts[word] += 1
        cells = " ".join(f"{_cut(getattr(row, name), width):<{width}}" for name, width in WIDTHS.items())
        lived_on = "" if verdict.lived_on is None else f"{verdict.lived_on:.1f} s"
        lines.append(f"{cells} {lived_on:>8} {word:<8} {verdict.seconds:5.0f}  {', '.join(row.tests)}")
    summary = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    return "\n".join([*lines, f"{counts.total()} rows of docs/failures.md: {summary}"]), not counts["failed"] and (
        some or not counts[VERDICTS[0]]
    )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def main(arguments: list[str]) -> int:
    """Print what is asked for; return 1 if a row is not good."""
    page = PAGE.read_text(encoding="utf-8")
    what, *files = arguments
    if what in {"table", "some"}:
        reports = [Path(file).read_text(encoding="utf-8") for file in files if Path(file).exists()]
        text, good = table(page, reports, some=what == "some")
        print(text)
        return 0 if good else 1
    of_spark = what == "spark"
    print(" ".join(in_order(test for test in named_tests(page) if test.startswith("tests/spark_jobs/") == of_spark)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
