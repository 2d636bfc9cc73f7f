"""The documentation names files and commands that exist, and `make help` has every command."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT

PAGES = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob(".github/**/*.md")]
FOLDERS = "app|bootstrap|dags|demo|dev|docker|docs|infra|local_emr|notebooks|plugins|requirements|spark_jobs|tests"


def missing(page: Path) -> list[str]:
    """Return the links and the paths in backticks that lead nowhere."""
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in link]
    paths = re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", text)
    return [link for link in links if not (page.parent / link).exists()] + [
        path for path in paths if not (PROJECT / path).exists()
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_and_path_exists(page: Path) -> None:
    assert missing(page) == []


def untypable(page: str) -> list[str]:
    """Return the lines of commands that bash or zsh would not take as they are, typed or pasted."""
    blocks = re.findall(r"^ *```(?:console|bash|sh|shell)\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if re.search(r'(^|\s)#|"[^"\']*![^"]*"', line)]


@pytest.mark.parametrize(
    "page", [*PAGES, PROJECT / "local_emr/README.md"], ids=lambda page: f"{page.relative_to(PROJECT)}"
)
def test_commands_can_be_pasted_into_bash_and_zsh(page: Path) -> None:
    assert untypable(page.read_text(encoding="utf-8")) == []


def test_what_cannot_be_pasted_is_found() -> None:
    lines = ["make demo    # words", 'aws --query "a[?!b]"', "# words", "aws --query 'a[?!b]'", "echo \"#\" '!'"]
    block = "\n".join(["```console", *lines, "```", "# Heading"])

    assert untypable(block) == lines[:3]  # zsh knows no comments when it is typed to; "!" is bash's history


def test_missing_files_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](there.md), [b](page.md#part), [c](http://host/x), `dags/nowhere.py`, `dags/`, `no path`")

    assert missing(page) == ["there.md", "dags/nowhere.py"]


def test_the_readme_quotes_the_figures_of_the_performance_page() -> None:
    table = (PROJECT / "docs/performance.md").read_text(encoding="utf-8")
    figures = {key: float(value) for key, value in re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", table, re.MULTILINE)}
    readme = " ".join((PROJECT / "README.md").read_text(encoding="utf-8").split())

    assert f"processes {figures['rate']:.0f} images per second: {figures['marginal_ratio'] * 100:.0f} % of" in readme
    assert f"{figures['peer_ratio']:.1f} times as fast as Ray Data" in readme
    assert f"{figures['seed_ratio']:.0f} times as fast as the notebook" in readme


@pytest.mark.skipif(not shutil.which("make"), reason="no make on this machine")
def test_make_infra_check_runs_the_dag_on_the_stack_and_its_calls_against_the_policies() -> None:
    dry = ["make", "--no-print-directory", "--dry-run", "infra-check"]
    recipe = subprocess.run(dry, cwd=PROJECT, capture_output=True, text=True, check=True).stdout

    assert re.search(r'-m pytest .*tests/dags/test_end_to_end\.py -k "first_run or fleets or template"', recipe)


@pytest.mark.skipif(not shutil.which("make"), reason="no make on this machine")
def test_make_help_lists_every_target_that_the_documentation_names() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    listed = set(re.findall(r"^  make ([\w-]+) ", done.stdout, re.MULTILINE))
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"(?:`|^)make ([\w-]+)", text, re.MULTILINE))

    assert len(named) > 15
    assert named - listed == set()
