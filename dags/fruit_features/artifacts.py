"""Local files -> content-addressed S3 keys: same content, same key, no upload.

A run never sees half of a deployment: keys are never overwritten with other content, so a cluster that is still working
for an earlier version keeps the scripts it was started with. What something else has written there is found by S3's own
checksum, and replaced: nodes run these files.
"""

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException

from fruit_features import objects
from fruit_features.run import Run

ENTRY_SCRIPTS = ("export_model", "extract_features", "reduce_dimensions")
BOOTSTRAP_FILES = ("install_dependencies.sh", "requirements.txt", "requirements-primary.txt")


@dataclass(frozen=True)
class Artifact:
    """A file to deploy: its name and content."""

    name: str
    content: bytes

    @cached_property
    def digest(self) -> bytes:
        """Return the content's SHA-256."""
        return hashlib.sha256(self.content).digest()

    @property
    def key(self) -> str:
        """Return `<first 16 hex digits of the digest>/<name>`, relative to the artifacts folder."""
        return f"{self.digest.hex()[:16]}/{self.name}"

    @property
    def checksum(self) -> str:
        """Return the digest as S3 writes it."""
        return base64.b64encode(self.digest).decode()


def jobs_zip(package: Path) -> bytes:
    """Return the package, its data files too, as a ZIP for `--py-files`; the same bytes wherever and whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(file for file in package.rglob("*") if file.is_file()):
            name = path.relative_to(package)
            if path.name == "ruff.toml" or path.suffix == ".pyc" or any(part.startswith(".") for part in name.parts):
                continue
            # A fixed time and mode: a checkout's dates must not change the content's address.
            entry = zipfile.ZipInfo(f"{package.name}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def local_artifacts(project: Path) -> list[Artifact]:
    """Return every file that the cluster needs.

    Raises:
        AirflowFailException: naming the file that the project folder lacks, and the setting that points there.
    """
    jobs, bootstrap = project / "spark_jobs", project / "bootstrap"
    files = [jobs / f"{name}.py" for name in ENTRY_SCRIPTS] + [bootstrap / name for name in BOOTSTRAP_FILES]
    for file in files:
        if not file.is_file():
            raise AirflowFailException(f"{file} is missing: set FRUITS_PROJECT to the folder that holds spark_jobs/")
    return [Artifact("spark_jobs.zip", jobs_zip(jobs)), *(Artifact(file.name, file.read_bytes()) for file in files)]


def deploy(hook: S3Hook, run: Run, project: Path) -> dict[str, str]:
    """Upload what S3 does not hold as it is here; return each artifact's name and s3:// URI."""
    uris = {}
    for artifact in local_artifacts(project):
        target = run.layout.artifacts / artifact.key
        found = objects.sha256(hook, target)
        if found == artifact.checksum:
            hook.log.info("unchanged  %s", target.key)
        else:
            if found is not None:  # another content's, or none: of an earlier version, or something else has written it
                hook.log.warning("%s does not have the checksum of the file to deploy: uploaded again", target.uri)
            objects.put(hook, target, artifact.content, ChecksumAlgorithm="SHA256")
            hook.log.info("uploaded   %s (%d bytes)", target.key, len(artifact.content))
        uris[artifact.name] = target.uri
    return uris
