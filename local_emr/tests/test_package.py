"""The package by itself: built, installed into an empty environment, and its program run there."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = sorted((PACKAGE / "src").rglob("*.py"))
# Where the dependencies are; an editable local_emr there comes after an installed one.
DEPENDENCIES = Path(find_spec("moto").origin).parents[1]


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has nothing but the package, and its dependencies on the path."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(PACKAGE, folder / "local_emr", ignore=shutil.ignore_patterns("tests", "__pycache__", ".*"))
    venv = folder / "venv"
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        run(uv, "venv", "--python", sys.executable, venv)
        run(uv, "pip", "install", "--no-deps", "--python", venv / "bin/python", folder / "local_emr")
    else:
        run(sys.executable, "-m", "venv", venv)
        run(venv / "bin/python", "-m", "pip", "install", "--no-deps", folder / "local_emr")
    (site,) = venv.glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(f"{DEPENDENCIES}\n")
    return venv


def test_it_has_the_shims_the_license_and_the_marker_of_types(installed: Path) -> None:
    (package,) = installed.glob("lib/python3*/site-packages/local_emr")
    shims = {path.name for path in (PACKAGE / "src/local_emr/emr/shims").iterdir()}
    assert len(shims) >= 5
    assert {path.name for path in (package / "emr/shims").iterdir()} == shims
    assert (package / "py.typed").exists()
    assert list(package.parent.glob("local_emr-*.dist-info/licenses/LICENSE"))
    assert not (package.parent / "tests").exists()


def test_its_program_runs_steps_and_says_what_spark_needs(installed: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LOCAL_EMR", "PYTHON"))}
    command = [installed / "bin/local-emr", "--port", "0", "--starting-seconds", "0.1"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout
            url = re.fullmatch(r"local_emr ready on (http://\S+)\n", program.stdout.readline())[1]
            done = run(installed / "bin/python", "-c", STEPS, url)
        finally:
            program.send_signal(signal.SIGTERM)
    assert program.returncode == 0
    found = json.loads(done)
    assert found["module"].startswith(str(installed))
    assert found["states"] == ["COMPLETED", "FAILED"]
    assert found["stdout"] == "hello\n"
    assert "local_emr cannot run spark-submit: no pyspark beside" in found["stderr"]
    assert "pip install pyspark" in found["stderr"]


STEPS = """
import gzip, json, sys, time
import boto3, local_emr
options = dict(endpoint_url=sys.argv[1], region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
emr, s3 = boto3.client("emr", **options), boto3.client("s3", **options)
s3.create_bucket(Bucket="logs")
cluster = emr.run_job_flow(
    Name="test", ReleaseLabel="emr-7.13.0", LogUri="s3://logs/",
    Instances={"MasterInstanceType": "m5.xlarge", "InstanceCount": 1},
    Steps=[
        {"Name": name, "ActionOnFailure": "CONTINUE", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": arguments}}
        for name, arguments in (("echo", ["echo", "hello"]), ("spark", ["spark-submit", "s3://logs/job.py"]))
    ],
)["JobFlowId"]
while not emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"].startswith("TERMINATED"):
    time.sleep(0.1)
steps = emr.list_steps(ClusterId=cluster)["Steps"][::-1]
def log(step, name):
    body = s3.get_object(Bucket="logs", Key=f"{cluster}/steps/{step['Id']}/{name}.gz")["Body"].read()
    return gzip.decompress(body).decode()
print(json.dumps({
    "module": local_emr.__file__, "states": [step["Status"]["State"] for step in steps],
    "stdout": log(steps[0], "stdout"), "stderr": log(steps[1], "stderr"),
}))
"""


def test_it_imports_nothing_but_its_dependencies() -> None:
    """And knows no folder of the repository it happens to lie in."""
    declared = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    allowed = {re.match(r"\w+", name)[0] for name in declared} | {"botocore", "werkzeug", "pytest", "local_emr"}
    imported = {
        found
        for path in SOURCES
        for found in re.findall(r"^(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert imported - set(sys.stdlib_module_names) <= allowed | {"pyspark"}
    named = [
        path.name for path in SOURCES if re.search(r"\.venv|parents\[[3-9]\]|fruit", path.read_text(encoding="utf-8"))
    ]
    assert named == []
