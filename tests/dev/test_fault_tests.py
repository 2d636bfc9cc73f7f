"""`make test-faults` ends with a table: each row of docs/failures.md and whether its test has passed."""

import re

from fault_tests import LONGEST, PAGE, Verdict, in_order, named_tests, rows, table, verdicts

ROWS = """
| failure | injected by | what the user sees | cluster | what a rerun does | test |
|---|---|---|---|---|---|
| S3 is down | `s3-error` | a longer run | as its work | not needed | `tests/dags/test_a.py::test_down` |
| the bucket is gone | DeleteBucket | an error | none | runs | `tests/dags/test_a.py::test_gone` |
| a node is lost | `kill-node` | nothing | as its work | - | `tests/yarn/test_b.py::test_node` |
| a late attempt | a second call | nothing | as its work | - | `tests/spark_jobs/test_c.py::test_late` |
| no role | its name | an error | none | runs | `tests/dags/test_a.py::test_gone`, `tests/dags/test_d.py::test_whole` |
| a step fails | `step-exit` | an error | none | runs | `tests/dags/test_d.py::test_whole`, `tests/dags/test_e.py::test_life` |
"""
REPORT = """<testsuites><testsuite>
<testcase classname="tests.dags.test_a" name="test_down[find]" time="1.5"/>
<testcase classname="tests.dags.test_a" name="test_down[reduce]" time="2.5"><failure message="no"/></testcase>
<testcase classname="tests.dags.test_a" name="test_gone" time="0.1"/>
<testcase classname="tests.yarn.test_b" name="test_node" time="0"><skipped/></testcase>
<testcase classname="tests.dags.test_e" name="test_life[a]" time="2"><properties><property name="cluster_lived_on_s" value="0.6"/>
</properties></testcase>
<testcase classname="tests.dags.test_e" name="test_life[b]" time="2"><properties><property name="cluster_lived_on_s" value="1.2"/>
</properties></testcase>
</testsuite></testsuites>"""


def test_a_test_with_parameters_has_the_worst_of_its_verdicts() -> None:
    assert verdicts([REPORT])["tests/dags/test_a.py::test_down"] == Verdict("failed", 4.0)


def test_of_several_clusters_the_one_that_lived_on_for_longest_counts() -> None:
    assert verdicts([REPORT])["tests/dags/test_e.py::test_life"] == Verdict("passed", 4.0, lived_on=1.2)


def test_every_row_has_its_verdict() -> None:
    text, good = table(ROWS, [REPORT])
    _, *lines, summary = text.splitlines()
    assert not good
    found = [re.search(r"(not run|passed|skipped|failed)  ", line) for line in lines]
    assert [match and match[1] for match in found] == ["failed", "passed", "skipped", "not run", "not run", "not run"]
    assert summary == "6 rows of docs/failures.md: 3 not run, 1 failed, 1 passed, 1 skipped"


def test_a_row_of_two_tests_has_the_worse_verdict_and_the_time_of_both() -> None:
    ran = '<testsuite><testcase classname="tests.dags.test_d" name="test_whole" time="3"/></testsuite>'
    text, _ = table(ROWS, [REPORT, ran])
    assert "  1.2 s passed       7  tests/dags/test_d.py::test_whole, tests/dags/test_e.py::test_life" in text
    text, _ = table(ROWS, [REPORT, ran.replace("/></", "><error/></testcase></")])
    assert text.count(" failed       7  ") == 1


def test_rows_that_were_not_run_are_good_only_if_they_were_not_asked_for() -> None:
    reports = [REPORT.replace("failure", "skipped")]
    assert table(ROWS, reports, some=True)[1]
    assert not table(ROWS, reports)[1]


def test_rows_that_have_all_passed_are_good() -> None:
    page = ROWS.partition("| a node is lost")[0].rstrip()
    assert table(page, [REPORT.replace('<failure message="no"/>', "")])[1]


def test_tests_run_by_file_the_longest_first_and_as_the_file_has_them() -> None:
    """A test may build on what an earlier one of its file has left."""
    named = named_tests(PAGE.read_text(encoding="utf-8"))
    found = in_order(named)
    assert sorted(found) == sorted(named)
    files = list(dict.fromkeys(test.partition("::")[0] for test in found))
    assert tuple(files[: len(LONGEST)]) == LONGEST
    assert [test.partition("::")[0] for test in found] == sorted(
        (test.partition("::")[0] for test in found), key=files.index
    )
    of_janitor = [test for test in found if "test_janitor.py" in test]
    assert of_janitor[0].endswith("::test_only_what_nobody_needs_is_found_and_ended")


def test_every_row_of_the_page_is_in_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| failure ")]
    assert len(rows(page)) == len(lines)
    assert named_tests(page)
