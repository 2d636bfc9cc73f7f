"""Download the wheels of a cluster's nodes, from any laptop: dev/wheelhouse.py x86_64|aarch64 FOLDER [LOCK].

`pip download` alone judges the lock file's markers by the laptop: on a Mac it takes Mac wheels, and under Python 3.12 none at
all. Here they are judged for a node of EMR 7: Amazon Linux 2023, Python 3.11. Runs with any Python that has pip 24 or later.
"""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# A virtual environment that has pip alone has its copy of packaging too.
_PACKAGING = "packaging" if importlib.util.find_spec("packaging") else "pip._vendor.packaging"
Requirement: Any = importlib.import_module(f"{_PACKAGING}.requirements").Requirement

LOCK = Path(__file__).resolve().parents[1] / "bootstrap/requirements-primary.txt"
GLIBC = 34  # of Amazon Linux 2023, 2.34: its nodes run wheels for every older one too
ARCHITECTURES = ("x86_64", "aarch64")


def node_environment(architecture: str) -> dict[str, str]:
    """Return what the markers of a requirement are judged by on a node."""
    return {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": architecture,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": "3.11.13",
        "python_version": "3.11",
        "sys_platform": "linux",
    }


def pins(lock: str, architecture: str) -> Iterator[str]:
    """Yield the requirements of a lock file that a node installs, each with its hashes and without its marker."""
    for entry in lock.replace("\\\n", " ").splitlines():
        text, *hashes = entry.split("#")[0].split("--hash=")
        if not text.strip():
            continue
        requirement = Requirement(text.strip())
        if requirement.marker is None or requirement.marker.evaluate(node_environment(architecture)):
            yield " ".join([f"{requirement.name}{requirement.specifier}", *(f"--hash={one.strip()}" for one in hashes)])


def tags(architecture: str) -> list[str]:
    """Return pip's options for the platforms whose wheels a node runs."""
    platforms = [f"manylinux_2_{minor}_{architecture}" for minor in range(GLIBC, 4, -1)]
    platforms += [f"manylinux2014_{architecture}", f"manylinux2010_{architecture}", f"manylinux1_{architecture}"]
    return [option for platform in platforms for option in ("--platform", platform)]


def download(architecture: str, folder: Path, lock: Path) -> int:
    """Fill the folder; return how many wheels it holds.

    Raises:
        SystemExit: a wheel is missing or altered, or the index cannot be reached; pip's output is above the message.
    """
    wanted = list(pins(lock.read_text(encoding="utf-8"), architecture))
    if not wanted:
        sys.exit(f"wheelhouse: {lock} has no package for {architecture}: run make lock")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirements:
        requirements.write("\n".join(wanted))
        requirements.flush()
        options = [
            "--no-deps",
            "--only-binary",
            ":all:",
            "--require-hashes",
            "--implementation",
            "cp",
            "--abi",
            "cp311",
        ]
        options += ["--abi", "abi3", "--abi", "none", "--python-version", "3.11", *tags(architecture)]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *options]
        done = subprocess.run([*command, "-r", requirements.name, "-d", str(folder)], check=False)
    if done.returncode:
        sys.exit(f"wheelhouse: not every package of {lock.name} has a wheel for {architecture}: pip names it above")
    wheels = len(list(folder.glob("*.whl")))
    if wheels < len(wanted):
        sys.exit(f"wheelhouse: {wheels} wheels for {len(wanted)} packages in {folder}: empty it and try again")
    return wheels


def main(arguments: list[str]) -> int:
    """Download, and say what came."""
    if len(arguments) not in {2, 3} or arguments[0] not in ARCHITECTURES:
        sys.stderr.write(f"usage: wheelhouse.py {'|'.join(ARCHITECTURES)} FOLDER [LOCK]\n")
        return 2
    architecture, folder, lock = arguments[0], Path(arguments[1]), Path(arguments[2]) if arguments[2:] else LOCK
    folder.mkdir(parents=True, exist_ok=True)
    wheels = download(architecture, folder, lock)
    megabytes = sum(file.stat().st_size for file in folder.glob("*.whl")) / 1e6
    print(f"{wheels} wheels, {megabytes:.0f} MB, for {architecture} in {folder}")
    print(
        f"next: aws s3 sync {folder} s3://<bucket>/wheels/{architecture}/, and the param wheelhouse=s3://<bucket>/wheels/{architecture}/"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
