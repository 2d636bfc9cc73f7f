"""What Spark notes of each application of a step: a file on the node while it runs, a gzip object below LogUri afterwards."""

import gzip
from contextlib import suppress
from pathlib import Path

from local_emr.emr.cluster import Cluster
from local_emr.emr.s3_access import S3Access
from local_emr.emr.step import Step

FOLDER = "spark-events"
RUNNING = ".inprogress"  # the end of the name of a log that Spark still writes, or was killed over


def properties(logs: Path) -> dict[str, str]:
    """Return the properties that make Spark write a step's event logs into the step's folder, one file per application.

    Args:
        logs: of the node.
    """
    return {
        "spark.eventLog.enabled": "true",
        # Spark puts the variable in by itself.
        "spark.eventLog.dir": f"{logs.as_uri()}/steps/${{env:EMR_STEP_ID}}/{FOLDER}",
        # Compressed when the step has ended: Spark's own codecs would cost each driver the load of a native library.
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",  # Spark 4 would make a folder of each
    }


def push(directory: Path, uri: str, s3: S3Access) -> None:
    """Write the event logs of a step's directory to S3."""
    for log in sorted(_logs(directory / FOLDER)):
        s3.write(f"{uri}{FOLDER}/{log.name}.gz", gzip.compress(log.read_bytes(), 1))


def application_ids(cluster: Cluster, step: Step, s3: S3Access) -> list[str]:
    """Return the ids of the step's Spark applications, in the order of their names."""
    names = {path.name for path in _local(step)} or {uri.rpartition("/")[2] for uri in _copies(cluster, step, s3)}
    # Spark keeps no dot in a name but those before the codec and the state.
    return sorted({name.partition(".")[0] for name in names})


def collect(cluster: Cluster, step: Step, s3: S3Access, target: Path) -> None:
    """Make a folder on the same disk have the step's event logs as they are now: the node's own, or those below LogUri.

    Raises:
        OSError, EOFError, zlib.error: a log cannot be read or copied.
    """
    for path in (here := _local(step)):
        link, before = target / path.name, target / f"{path.name}{RUNNING}"
        with suppress(FileNotFoundError):  # renamed by Spark right now
            if before.exists():  # as Spark has done: who looks at the application finds it all the time
                before.rename(link)
            elif not link.exists():
                link.hardlink_to(path)
    for uri in [] if here else _copies(cluster, step, s3):
        copy = target / uri.rpartition("/")[2].removesuffix(".gz")
        if not copy.exists() and (body := s3.read(uri)):
            part = target / f".{copy.name}"  # which the history server does not read
            part.write_bytes(gzip.decompress(body))
            part.rename(copy)


def _local(step: Step) -> list[Path]:
    folder = step.log_directory / FOLDER if step.log_directory else None
    return _logs(folder) if folder and folder.is_dir() else []


def _logs(folder: Path) -> list[Path]:
    # A name that begins with a dot is a checksum of Hadoop's; a folder, the log of a cluster that asks for rolling ones.
    return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]


def _copies(cluster: Cluster, step: Step, s3: S3Access) -> list[str]:
    return s3.uris(f"{cluster.log_uri}steps/{step.id}/{FOLDER}/") if cluster.log_uri else []
