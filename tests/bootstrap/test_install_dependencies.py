"""The bootstrap script with real bash, venv and pip; `aws`, `sudo` and `dnf` are shims, and S3 is a folder."""

import base64
import hashlib
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PROJECT

SCRIPT = PROJECT / "bootstrap" / "install_dependencies.sh"


@dataclass
class Node:
    """A node: its files, S3 as a folder, and the commands that the script calls."""

    root: Path

    def __post_init__(self) -> None:
        self.bin, self.s3, self.folder = self.root / "bin", self.root / "s3", self.root / "opt"
        self.info, self.calls = self.root / "instance.json", self.root / "calls"
        self.bin.mkdir()
        self.s3.mkdir()
        self.path = f"{self.bin}:/usr/bin:/bin"
        self.calls.touch()
        (self.s3 / "empty").mkdir()
        self.command("sudo", 'exec "$@"')
        self.command("dnf", "exit 0")
        self.command("python3.11", f'exec {sys.executable} "$@"')
        # aws s3 cp|sync --only-show-errors SOURCE TARGET
        self.command(
            "aws",
            f"""source={self.s3}/"${{4#s3://}}"; [ -e "$source" ] || exit 1
if [ "$2" = sync ]; then mkdir -p "$5" && cp -r "$source/." "$5"; else cp "$source" "$5"; fi""",
        )
        self.set_role("core")

    def command(self, name: str, body: str) -> None:
        file = self.bin / name
        file.write_text(f'#!/bin/bash\necho "{name} $*" >> {self.calls}\n{body}\n')
        file.chmod(0o755)

    def set_role(self, role: str) -> None:
        self.info.write_text(f'{{"isMaster": {str(role == "primary").lower()}, "isRunningResourceManager": false}}')

    def put(self, name: str, content: str) -> str:
        (self.s3 / name).write_text(content)
        return f"s3://{name}"

    def install(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": self.path,
            "FRUITS_NODE_FOLDER": str(self.folder),
            "FRUITS_NODE_INFO": str(self.info),
        }
        return subprocess.run(
            ["bash", SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    def packages(self) -> set[str]:
        done = subprocess.run(
            [self.folder / "venv/bin/python", "-m", "pip", "freeze"], capture_output=True, text=True, check=True
        )
        return set(done.stdout.split())


def make_wheel(folder: Path, name: str) -> str:
    """Write an installable wheel; return its line for a requirements file, hash included."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "answer = 42\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}"
        for path, text in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
def arguments(node: Node) -> list[str]:
    """Arguments that name a wheelhouse with `engine` for every node and `framework` for the primary node."""
    engine, framework = (make_wheel(node.s3 / "wheels", name) for name in ("engine", "framework"))
    return [
        *("--requirements", node.put("requirements.txt", engine)),
        *("--primary-requirements", node.put("requirements-primary.txt", engine + framework)),
        *("--wheelhouse", "s3://wheels"),
    ]


def test_core_node_installs_its_requirements(node: Node, arguments: list[str]) -> None:
    done = node.install(*arguments)

    assert done.returncode == 0, done.stderr
    assert node.packages() == {"engine==1.0"}


def test_primary_node_installs_the_primary_requirements(node: Node, arguments: list[str]) -> None:
    node.set_role("primary")
    done = node.install(*arguments)

    assert done.returncode == 0, done.stderr
    assert node.packages() == {"engine==1.0", "framework==1.0"}
    size_and_time = rf"primary node, {platform.machine()}, Python packages in {node.folder}/venv: \d+ MB, \d+ s\n$"
    assert re.search(size_and_time, done.stdout)
    assert not (node.folder / "wheelhouse").exists(), "half a gigabyte that nobody needs any more"


def test_second_run_changes_nothing(node: Node, arguments: list[str]) -> None:
    node.install(*arguments)
    marker = node.folder / "venv" / "marker"
    marker.touch()
    again = node.install(*arguments)

    assert again.returncode == 0
    assert "up to date" in again.stdout
    assert marker.exists()


def test_changed_requirements_are_installed_into_a_new_environment(node: Node, arguments: list[str]) -> None:
    node.install(*arguments)
    node.put("requirements.txt", make_wheel(node.s3 / "wheels", "other"))
    again = node.install(*arguments)

    assert again.returncode == 0, again.stderr
    assert node.packages() == {"other==1.0"}


def test_package_with_a_wrong_hash_is_refused(node: Node, arguments: list[str]) -> None:
    wheel = node.s3 / "wheels" / "engine-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes() + b" ")
    done = node.install(*arguments)

    assert done.returncode == 1
    assert (
        "install_dependencies: could not install the packages of s3://requirements.txt from s3://wheels" in done.stderr
    )


def test_a_missing_wheel_is_named_in_the_log_of_the_node(node: Node, arguments: list[str]) -> None:
    # EMR copies stderr to logs/<cluster>/node/<instance>/bootstrap-actions/1/.
    next((node.s3 / "wheels").glob("framework*.whl")).unlink()
    node.set_role("primary")
    done = node.install(*arguments)

    assert done.returncode == 1
    assert "No matching distribution found for framework==1.0" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("install_dependencies: could not install the packages")
    assert not (node.folder / "installed.txt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ["--requirements", "s3://nowhere.txt"],
            "cannot read s3://nowhere.txt: does it exist, and does the instance profile allow",
        ),
        (["--wheelhouse", "s3://nowhere"], "cannot read the wheelhouse s3://nowhere"),
        (["--wheelhouse", "s3://empty"], "the wheelhouse s3://empty has no wheel: make wheelhouse ARCH="),
        (["--wheels", "s3://wheels"], "unknown option --wheels"),
        (["--wheelhouse"], "--wheelhouse needs a value"),
        (["--requirements", ""], "--requirements is missing"),
    ],
)
def test_invalid_arguments_fail_with_a_message(
    node: Node, arguments: list[str], change: list[str], message: str
) -> None:
    done = node.install(*arguments, *change)

    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("dnf", "works"), [("succeeds", True), ("fails", False)])
def test_a_node_without_python_installs_it_or_names_the_release(
    node: Node, arguments: list[str], dnf: str, *, works: bool
) -> None:
    (node.bin / "python3.11").rename(node.root / "python3.11")
    node.command("dnf", f"mv {node.root}/python3.11 {node.bin}/" if dnf == "succeeds" else "exit 1")
    node.path = f"{node.bin}:{node.root}/tools"  # without a python3.11 of this machine
    (node.root / "tools").mkdir()
    for name in ("awk", "bash", "chown", "cmp", "cp", "cut", "df", "du", "grep", "id", "mkdir", "mv", "rm", "uname"):
        (node.root / "tools" / name).symlink_to(shutil.which(name) or pytest.fail(f"no {name} on this machine"))
    done = node.install(*arguments)

    assert "dnf install -y -q python3.11 python3.11-pip" in node.calls.read_text()
    assert (done.returncode == 0) is works, done.stderr
    if not works:
        message = "python3.11 could not be installed: EMR releases before 7.0 are not supported"
        assert done.stderr.splitlines()[-1] == f"install_dependencies: {message}"


def test_requirements_are_hashed_and_consistent() -> None:
    """Every package is pinned with a hash, only the primary node gets TensorFlow, and both lists match the Spark environment."""

    def pins(file: str) -> dict[str, str]:
        lines = (PROJECT / file).read_text().splitlines()
        return dict(
            line.split(" ")[0].split("==") for line in lines if "==" in line and not line.startswith((" ", "#"))
        )  # type: ignore[misc]

    core, primary, spark = (
        pins(file)
        for file in ("bootstrap/requirements.txt", "bootstrap/requirements-primary.txt", "requirements/spark.txt")
    )
    assert "tensorflow-cpu" not in core
    assert "tensorflow-cpu" in primary
    assert "pyspark" not in primary, "pyspark is EMR's own"
    assert core.items() <= primary.items() <= spark.items()
    for file in ("bootstrap/requirements.txt", "bootstrap/requirements-primary.txt"):
        text = (PROJECT / file).read_text()
        assert text.count("==") <= text.count("--hash=sha256:")
