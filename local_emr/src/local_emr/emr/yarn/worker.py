"""What each YARN node has of its own, as each EMR node has: a Python environment, and a home with AWS credentials."""

import shutil
import subprocess
from pathlib import Path

from local_emr.emr.settings import SYSTEM_PATH, Spark

# Executors find it by the PATH of their node: where it lies differs, and Spark tells all executors the same name.
PYTHON = "python3"


class Worker:
    """The folders of one node.

    Args:
        folder: to make them in.
        spark: whose packages the environment has, without a copy of them.
        home: home directory to copy the AWS configuration from.
    """

    def __init__(self, folder: Path, spark: Spark, home: Path) -> None:
        self.home = folder / "home"
        self._environment = folder / "venv"
        self._spark, self._original_home = spark, home

    @property
    def path(self) -> str:
        """PATH of its containers."""
        return f"{self._environment}/bin:{SYSTEM_PATH}"

    def create(self) -> None:
        """Make the folders.

        Raises:
            RuntimeError: the environment cannot be made; the message says what Python said.
        """
        shutil.copytree(self._original_home / ".aws", self.home / ".aws")
        spark = self._spark
        is_virtual = (spark.python.parent.parent / "pyvenv.cfg").is_file()
        options = ["--without-pip", *([] if is_virtual else ["--system-site-packages"])]
        command = [str(spark.python), "-m", "venv", *options, str(self._environment)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stdout[-300:]}{done.stderr[-300:]}".strip())
        (self.packages / "packages.pth").write_text(
            f"import site; site.addsitedir({str(spark.home.parent)!r})\n", encoding="utf-8"
        )

    @property
    def packages(self) -> Path:
        """The environment's site-packages: what lies there is found before what the nodes share."""
        (found,) = self._environment.glob("lib/python3*/site-packages")
        return found

    def lose_packages(self) -> None:
        """Leave Python's standard library alone, as where a bootstrap action has failed unnoticed."""
        (self.packages / "packages.pth").unlink(missing_ok=True)
        settings = self._environment / "pyvenv.cfg"
        settings.write_text(settings.read_text().replace("site-packages = true", "site-packages = false"))

    def lose_credentials(self) -> None:
        """Leave its AWS clients without credentials, as where the instance metadata service does not answer."""
        (self.home / ".aws/credentials").unlink(missing_ok=True)
