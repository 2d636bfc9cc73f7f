"""What docker-compose.yaml promises, without an engine; `make test-compose` runs it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT

TEXT = (PROJECT / "docker-compose.yaml").read_text(encoding="utf-8")
FILE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
AIRFLOW = [name for name, service in SERVICES.items() if service["image"] == "fruit-features-airflow"]


def mounts() -> Iterator[tuple[str, str]]:
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            if mount.startswith("."):
                yield name, mount


def test_compose_1_29_and_2_read_it() -> None:
    assert set(FILE) - {"services", "volumes"} == {"x-safe", "x-aws", "x-airflow"}  # 1.29 knows no `name`
    assert "dockerfile_inline" not in TEXT


def test_airflow_is_its_own_quick_starts_five_services_with_one_jwt_secret() -> None:
    assert set(AIRFLOW) == {"airflow-init", "api-server", "scheduler", "dag-processor", "triggerer"}
    secrets = {SERVICES[name]["environment"]["AIRFLOW__API_AUTH__JWT_SECRET"] for name in AIRFLOW}
    assert secrets == {"${JWT_SECRET:?run make compose-env first}"}


def test_no_secret_is_in_the_file() -> None:
    for line in TEXT.splitlines():
        if re.search(r"SECRET|PASSWORD|FERNET", line) and not line.lstrip().startswith("#"):
            assert "${" in line or line.rstrip().endswith(":"), line


def test_only_this_machine_reaches_the_ports() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize(("service", "mount"), mounts())
def test_folders_of_the_checkout_are_mounted_read_only(service: str, mount: str) -> None:
    source, _, mode = mount.split(":")

    assert mode == "ro"
    assert (PROJECT / source).exists()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_restarts_unless_its_work_is_done_once(name: str) -> None:
    once = name in ("airflow-init", "bucket")

    assert SERVICES[name]["restart"] == ("no" if once else "unless-stopped")
    assert once or "test" in SERVICES[name]["healthcheck"]


def test_the_local_endpoint_is_a_profile_that_nothing_else_depends_on() -> None:
    local = {name for name, service in SERVICES.items() if service.get("profiles") == ["local"]}

    assert local == {"local-emr", "bucket"}
    for name in SERVICES.keys() - local:
        assert not local & set(SERVICES[name].get("depends_on", {}))


def test_an_image_is_built_by_one_service_which_starts_first() -> None:
    for image in {service["image"] for service in SERVICES.values() if service["image"].startswith("fruit-features")}:
        users = [name for name, service in SERVICES.items() if service["image"] == image]
        (builder,) = (name for name in users if "build" in SERVICES[name])
        for name in set(users) - {builder}:
            assert builder in SERVICES[name]["depends_on"], f"{name} would be started before {image} is there"
            assert SERVICES[name]["pull_policy"] == "never"


@pytest.mark.parametrize("file", sorted((PROJECT / "docker").glob("*.Dockerfile")), ids=lambda file: file.name)
def test_an_image_drops_root(file: Path) -> None:
    users = re.findall(r"^USER (\w+)$", file.read_text(encoding="utf-8"), re.MULTILINE)

    assert users
    assert users[-1] != "root"


def test_every_setting_of_the_installation_reaches_airflow() -> None:
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    settings = set(re.findall(r"^(FRUITS_\w+)=", example, re.MULTILINE))
    settings -= {"FRUITS_PROJECT"}  # the folders are mounted where it is not needed

    for name in AIRFLOW:
        assert settings <= SERVICES[name]["environment"].keys(), name


def test_the_region_of_the_stack_reaches_airflow_and_every_client_of_aws() -> None:
    """As the output DotEnv of infra/template.yaml names it; a default within a default is too new for Compose 1.29."""
    asked = {name: service["environment"] for name, service in SERVICES.items() if "environment" in service}
    del asked["postgres"]

    assert {asked[name]["FRUITS_REGION"] for name in AIRFLOW} == {"${FRUITS_REGION:-eu-west-3}"}
    assert {variables["AWS_DEFAULT_REGION"] for variables in asked.values()} == {"${FRUITS_REGION:-eu-west-3}"}


@pytest.mark.parametrize(
    ("bucket", "of_the_shell", "region"),
    [("", "us-east-1", "eu-west-3"), ("own", "us-east-1", "us-east-1"), ("own", None, "eu-west-3")],
)
def test_make_compose_env_writes_the_region(bucket: str, of_the_shell: str | None, region: str, tmp_path: Path) -> None:
    file = tmp_path / "env"
    variables = {"PATH": os.environ["PATH"], "ENV_FILE": str(file)}
    if of_the_shell:
        variables["AWS_DEFAULT_REGION"] = of_the_shell
    subprocess.run([PROJECT / "docker/settings", bucket], env=variables, check=True, capture_output=True)

    written = file.read_text(encoding="utf-8")
    assert re.findall(r"^\w+_REGION=.*$", written, re.MULTILINE) == [f"FRUITS_REGION={region}"]
