"""The root directory in which a node's bootstrap actions run: the files of an EMR node, and stubs for its commands."""

import json
import shutil
from pathlib import Path

from local_emr.emr.capacity import Instance

SHIMS = Path(__file__).with_name("shims")
ENTER = SHIMS / "enter.sh"  # runs a program with such a directory as its root
COMMANDS = "emr/commands"  # where the stubs write down what was asked of them
# Stubs that only write down what was asked, beside those of `shims/` that do something.
RECORDING = (
    *("alternatives", "amazon-linux-extras", "dnf", "gem", "groupadd", "ldconfig", "npm", "pip", "pip3", "pip3.9"),
    *("pip3.11", "rpm", "service", "sysctl", "systemctl", "update-ca-trust", "useradd", "usermod", "uv", "yum"),
)
PYTHONS = ("python", "python3", "python3.9", "python3.11")
DIRECTORIES = ("etc", "home/hadoop", "mnt/var/lib/info", "opt", "root", "tmp", "var/tmp", "emr/shims", "proc")

OS_RELEASE = 'NAME="Amazon Linux"\nVERSION="2023"\nID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"\n'
ACCOUNTS = "root:x:0:0:root:/root:/bin/bash\nhadoop:x:996:993::/home/hadoop:/bin/bash\n"


def make_root(root: Path, instance: Instance, port: int) -> None:
    """Make the root directory of an instance.

    Args:
        root: does not exist yet.
        instance: the node.
        port: the endpoint's, for the node's `aws s3`.
    """
    for directory in DIRECTORIES:
        (root / directory).mkdir(parents=True)
    (root / "etc/os-release").write_text(OS_RELEASE, encoding="utf-8")
    (root / "etc/passwd").write_text(ACCOUNTS, encoding="utf-8")
    (root / "mnt/var/lib/info/instance.json").write_text(
        json.dumps({"isMaster": instance.role == "MASTER", "instanceGroupId": instance.collection_id}, indent=2),
        encoding="utf-8",
    )
    shims = root / "emr/shims"
    for name in RECORDING:
        shutil.copy(SHIMS / "recording", shims / name)
    for name in PYTHONS:
        shutil.copy(SHIMS / "python", shims / name)
    shutil.copy(SHIMS / "sudo", shims)
    aws = (SHIMS / "aws").read_text(encoding="utf-8").replace("@PORT@", str(port))
    (shims / "aws").write_text(aws, encoding="utf-8")
    for shim in shims.iterdir():
        shim.chmod(0o755)
