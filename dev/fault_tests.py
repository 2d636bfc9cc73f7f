"""Print the tests that docs/failures.md names, those of one environment: `fault_tests.py airflow` or `fault_tests.py spark`."""

import re
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "failures.md"


def named_tests() -> list[str]:
    """Return each test that the page names, once, as pytest does."""
    return list(dict.fromkeys(re.findall(r"`(tests/[\w/]+\.py::\w+)`", PAGE.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    of_spark = sys.argv[1:] == ["spark"]
    sys.stdout.write(" ".join(test for test in named_tests() if test.startswith("tests/spark_jobs/") == of_spark))
