"""`make test-faults` ends with a table: each row of docs/failures.md and whether its test has passed."""

from fault_tests import PAGE, named_tests, rows, table, verdicts

ROWS = """
| failure | injected by | what the user sees | cluster | what a rerun does | test |
|---|---|---|---|---|---|
| S3 is down | `s3-error` | a longer run | as its work | not needed | `tests/dags/test_a.py::test_down` |
| the bucket is gone | DeleteBucket | an error | none | runs | `tests/dags/test_a.py::test_gone` |
| a node is lost | `kill-node` | nothing | as its work | - | `tests/yarn/test_b.py::test_node` |
| a late attempt | a second call | nothing | as its work | - | `tests/spark_jobs/test_c.py::test_late` |
"""
REPORT = """<testsuites><testsuite>
<testcase classname="tests.dags.test_a" name="test_down[find]" time="1.5"/>
<testcase classname="tests.dags.test_a" name="test_down[reduce]" time="2.5"><failure message="no"/></testcase>
<testcase classname="tests.dags.test_a" name="test_gone" time="0.1"/>
<testcase classname="tests.yarn.test_b" name="test_node" time="0"><skipped/></testcase>
</testsuite></testsuites>"""


def test_a_test_with_parameters_has_the_worst_of_its_verdicts() -> None:
    assert verdicts([REPORT])["tests/dags/test_a.py::test_down"] == ("failed", 4.0)


def test_every_row_has_its_verdict() -> None:
    text, good = table(ROWS, [REPORT])
    _, *lines, summary = text.splitlines()
    assert not good
    assert [line.split()[-3] for line in lines] == ["failed", "passed", "skipped", "run"]
    assert summary == "4 rows of docs/failures.md: 1 failed, 1 passed, 1 skipped, 1 not run"


def test_nothing_failed_is_good() -> None:
    assert table(ROWS, [REPORT.replace("failure", "skipped")])[1]


def test_every_row_of_the_page_is_in_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| failure ")]
    assert len(rows(page)) == len(lines)
    assert named_tests(page)
