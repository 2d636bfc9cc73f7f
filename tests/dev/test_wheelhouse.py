"""The wheels of the nodes, whatever machine downloads them."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

import wheelhouse
from tests.conftest import PROJECT

LOCK = """\
both==1.0 ; python_full_version < '3.12' and (sys_platform == 'darwin' or sys_platform == 'linux') \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via somebody
only-x86==2.0 ; python_full_version < '3.12' and platform_machine == 'x86_64' and sys_platform == 'linux' \\
    --hash=sha256:cc
not-x86==3.0 ; (platform_machine != 'x86_64' and sys_platform == 'linux') or sys_platform == 'darwin' \\
    --hash=sha256:dd
mac==4.0 ; sys_platform == 'darwin' \\
    --hash=sha256:ee
"""


@pytest.mark.parametrize(
    ("architecture", "own"),
    [("x86_64", "only-x86==2.0 --hash=sha256:cc"), ("aarch64", "not-x86==3.0 --hash=sha256:dd")],
)
def test_markers_are_judged_for_the_node(architecture: str, own: str) -> None:
    assert list(wheelhouse.pins(LOCK, architecture)) == ["both==1.0 --hash=sha256:aa --hash=sha256:bb", own]


def test_the_lock_file_has_a_tensorflow_for_each_architecture() -> None:
    lock = wheelhouse.LOCK.read_text(encoding="utf-8")
    found = {
        architecture: [pin.split(" ")[0] for pin in wheelhouse.pins(lock, architecture) if pin.startswith("tensorflow")]
        for architecture in wheelhouse.ARCHITECTURES
    }

    assert any(pin.startswith("tensorflow-cpu==") for pin in found["x86_64"])
    assert any(pin.startswith("tensorflow==") for pin in found["aarch64"])


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    python = PROJECT / ".venv/uv/bin/python"  # as make wheelhouse: it has pip
    command = [python, wheelhouse.__file__, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("tag", "found"), [("manylinux_2_28_x86_64", True), ("macosx_11_0_arm64", False)])
def test_a_missing_wheel_is_an_error_that_says_so(tmp_path: Path, tag: str, *, found: bool) -> None:
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / f"tiny-1.0-cp311-cp311-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(
            "tiny-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-{tag}\n"
        )
    lock = tmp_path / "lock.txt"
    lock.write_text(f"tiny==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": "/dev/null", "HOME": str(tmp_path)}
    done = run("x86_64", tmp_path / "wheels", lock, **offline)

    if found:
        assert done.stdout.startswith("1 wheels, 0 MB, for x86_64")
    else:
        assert "No matching distribution found for tiny==1.0" in done.stderr
        assert done.stderr.endswith("not every package of lock.txt has a wheel for x86_64: pip names it above\n")
    assert (done.returncode == 0) is found


def test_wrong_arguments() -> None:
    done = run("sparc", "x")

    assert (done.returncode, done.stderr) == (2, "usage: wheelhouse.py x86_64|aarch64 FOLDER [LOCK]\n")
