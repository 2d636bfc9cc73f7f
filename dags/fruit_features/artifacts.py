"""Local files -> content-addressed S3 keys: same content, same key, no upload.

A run never sees half of a deployment: keys are never overwritten with other content, so a cluster that is still working
for an earlier version keeps the scripts it was started with.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException

from fruit_features.config import RunConfig

ENTRY_SCRIPTS = ("export_model", "extract_features", "reduce_dimensions")
BOOTSTRAP_FILES = ("install_dependencies.sh", "requirements.txt", "requirements-primary.txt")


@dataclass(frozen=True)
class Artifact:
    """A file to deploy: its name and content."""

    name: str
    content: bytes

    @property
    def key(self) -> str:
        """``<first 16 hex digits of the content's SHA-256>/<name>``, relative to the artifacts folder."""
        return f"{hashlib.sha256(self.content).hexdigest()[:16]}/{self.name}"


def jobs_zip(package: Path) -> bytes:
    """The package as a ZIP for ``--py-files``; the same bytes wherever and whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(package.rglob("*.py")):
            # A fixed time and mode: a checkout's dates must not change the content's address.
            entry = zipfile.ZipInfo(f"{package.name}/{path.relative_to(package)}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def local_artifacts(project: Path) -> list[Artifact]:
    """Every file that the cluster needs.

    Raises:
        AirflowFailException: naming the file that the project folder lacks, and the setting that points there.
    """
    jobs, bootstrap = project / "spark_jobs", project / "bootstrap"
    files = [jobs / f"{name}.py" for name in ENTRY_SCRIPTS] + [bootstrap / name for name in BOOTSTRAP_FILES]
    for file in files:
        if not file.is_file():
            raise AirflowFailException(f"{file} is missing: set FRUITS_PROJECT to the folder that holds spark_jobs/")
    return [Artifact("spark_jobs.zip", jobs_zip(jobs)), *(Artifact(file.name, file.read_bytes()) for file in files)]


def deploy(hook: S3Hook, config: RunConfig, project: Path) -> dict[str, str]:
    """Upload what S3 does not hold yet; return each artifact's name and s3:// URI."""
    uris = {}
    for artifact in local_artifacts(project):
        key = config.key("artifacts", artifact.key)
        if hook.check_for_key(key, config.bucket):
            hook.log.info("unchanged  %s", key)
        else:
            hook.load_bytes(artifact.content, key, config.bucket, replace=True)
            hook.log.info("uploaded   %s (%d bytes)", key, len(artifact.content))
        uris[artifact.name] = config.as_uri(key)
    return uris
