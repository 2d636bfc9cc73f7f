"""The commands of Compose on this machine, and a .env for them."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.conftest import PROJECT

COMPOSE = [["docker", "compose"], ["docker-compose"]]  # 2.x and 1.29
PORTS = ("PORT", "APP_PORT", "ENDPOINT_PORT")


def shell(**further: str) -> dict[str, str]:
    """Return this shell's variables less those that compose would take instead of the ones in .env."""
    not_ours = ("AWS_", "COMPOSE_", "FRUITS_", *PORTS)
    return {name: value for name, value in os.environ.items() if not name.startswith(not_ours)} | further


def works(command: list[str]) -> bool:
    return (
        shutil.which(command[0]) is not None
        and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0
    )


def make_settings(file: Path, *bucket: str, **ports: int) -> Path:
    variables = shell(ENV_FILE=str(file), **{name: str(port) for name, port in ports.items()})
    subprocess.run([PROJECT / "docker/settings", *bucket], env=variables, check=True)
    return file
