"""What docker-compose.yaml promises, without an engine: as a file, and as Compose reads it; `make test-compose` runs it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT
from tests.docker.compose import COMPOSE, make_settings, shell, works

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


def of_a_new_env(tmp_path: Path, *bucket: str) -> str:
    """What `make compose-env` writes."""
    file = tmp_path / "env"
    variables = {"PATH": os.environ["PATH"], "ENV_FILE": str(file)}
    subprocess.run([PROJECT / "docker/settings", *bucket], env=variables, check=True, capture_output=True)
    return file.read_text(encoding="utf-8")


@pytest.mark.parametrize(("bucket", "lines"), [((), ["DAGS_PAUSED=False"]), (("own",), [])])
def test_only_on_the_local_endpoint_do_runs_start_unasked(
    bucket: tuple[str, ...], lines: list[str], tmp_path: Path
) -> None:
    """On AWS the schedule and the queue of the stack would start clusters, which cost money, before anybody asks for one."""
    paused = {SERVICES[name]["environment"]["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] for name in AIRFLOW}

    assert paused == {"${DAGS_PAUSED:-True}"}
    assert re.findall(r"^DAGS_PAUSED.*$", of_a_new_env(tmp_path, *bucket), re.MULTILINE) == lines


def test_an_env_is_not_replaced_and_the_database_that_needs_it_goes_first(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("POSTGRES_PASSWORD=kept\n")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        of_a_new_env(tmp_path)

    assert re.search(r"docker compose down -v; rm \S+/env$", failure.value.stderr.decode().strip())  # down reads .env
    assert (tmp_path / "env").read_text() == "POSTGRES_PASSWORD=kept\n"


@pytest.mark.parametrize("command", COMPOSE, ids=" ".join)
def test_each_version_of_compose_reads_the_file(command: list[str], tmp_path: Path) -> None:
    if not works(command):
        pytest.skip(f"{' '.join(command)} is not installed")

    def services(settings: Path, **variables: str) -> dict[str, Any]:
        config = [*command, "--env-file", str(settings), "config"]
        return yaml.safe_load(subprocess.check_output(config, cwd=PROJECT, env=shell(**variables)))["services"]

    local = services(make_settings(tmp_path / "local", ENDPOINT_PORT=5556))
    assert {"local-emr", "bucket"} < local.keys()
    link = "http://localhost:{}/_local_emr/clusters/{{cluster}}"
    environment = local["scheduler"]["environment"]
    assert environment["FRUITS_CLUSTER_LINK"] == link.format(5556)
    assert environment["FRUITS_SPARK_HISTORY_LINK"] == f"{link.format(5556)}/steps/{{step}}/spark-history"
    assert environment["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] == "False"
    of_shell = services(make_settings(tmp_path / "plain"), ENDPOINT_PORT="5557")
    assert of_shell["scheduler"]["environment"]["FRUITS_CLUSTER_LINK"] == link.format(5557)

    of_account = make_settings(tmp_path / "aws", "my-bucket")
    with of_account.open("a", encoding="utf-8") as settings:
        settings.write("FRUITS_REGION=eu-west-1\n")  # of the stack; the later line counts
        settings.write("FRUITS_IMAGES_PREFIX='my fruit/'\nFRUITS_SCHEDULE='0 5 * * *'\n")
        settings.write("FRUITS_PRICES='{\"r\": {}}'\n")
    aws = services(of_account, AWS_ACCESS_KEY_ID="of-the-shell")
    started = {name for name, service in aws.items() if not service.get("profiles")}  # 1.29 lists the others, too
    assert not {"local-emr", "bucket"} & started
    assert aws["app"]["command"] == ["s3://my-bucket/"]
    below = services(of_account, FRUITS_OUTPUT_PREFIX="out/")
    assert below["app"]["command"] == ["s3://my-bucket/out/"]
    environment = aws["scheduler"]["environment"]
    assert environment["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] == "True"
    assert environment["AWS_ACCESS_KEY_ID"] == "of-the-shell"
    assert {environment["FRUITS_REGION"], environment["AWS_DEFAULT_REGION"]} == {"eu-west-1"}
    assert aws["app"]["environment"]["AWS_DEFAULT_REGION"] == "eu-west-1"
    quoted = [environment[f"FRUITS_{name}"] for name in ("IMAGES_PREFIX", "SCHEDULE", "PRICES")]
    assert quoted == ["my fruit/", "0 5 * * *", '{"r": {}}']
    assert [environment[name] for name in ("AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "FRUITS_CLUSTER_LINK")] == [None] * 3
