"""What `--data-dir` keeps across restarts: buckets, their current objects, and the record of the clusters.

One SQLite file. Every change is in it before its request is answered. Versions of objects, bucket policies and the
other services of moto live in memory only.
"""

import errno
import json
import sqlite3
import threading
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from local_emr.emr.capacity import Instance, InstanceCollection
from local_emr.emr.cluster import Cluster
from local_emr.emr.s3_access import S3Access
from local_emr.emr.step import Step

SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, region TEXT, versioning TEXT);
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT, key TEXT, body BLOB, etag TEXT, modified TEXT, storage TEXT, metadata TEXT, PRIMARY KEY (bucket, key));
CREATE TABLE IF NOT EXISTS clusters (id TEXT PRIMARY KEY, number INTEGER, record TEXT);
"""
# The fields of a Cluster that make its record; `request` and the rest of them are plain JSON.
CLUSTER_FIELDS = (
    *("request", "region", "account", "id", "state", "reason", "error_details", "created", "ready", "ended", "tags"),
    *("step_concurrency", "keep_alive", "protected", "unhealthy_node_replacement", "auto_termination"),
    "managed_scaling",
)
Model = TypeVar("Model", Cluster, Step, Instance, InstanceCollection)


class Persistence:
    """The file below the data directory.

    Raises:
        OSError: it cannot be made, read or written.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / "local_emr.sqlite"
        self._lock = threading.RLock()
        try:
            self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            # Survives a crash of the process, not of the operating system.
            self._database.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; {SCHEMA}")
        except sqlite3.Error as error:
            raise OSError(errno.EIO, str(error), str(file)) from error

    def close(self) -> None:
        """Keep nothing from here on."""
        with self._lock:
            self._database.close()

    # ------------------------------------------------------------------ S3

    def restore_objects(self, s3: S3Access) -> None:
        """Fill the emulated S3 with what was kept, and follow its changes from now on."""
        with self._lock, s3.lock:
            for name, region, versioning in self._database.execute("SELECT name, region, versioning FROM buckets"):
                s3.backend.create_bucket(name, region).versioning_status = versioning
            kept = "SELECT bucket, key, body, etag, modified, storage, metadata FROM objects"
            for bucket, key, body, etag, modified, storage, metadata in self._database.execute(kept):
                restored = s3.backend.put_object(
                    bucket, key, body, storage=storage, etag=etag, disable_notification=True
                )
                restored.last_modified = datetime.fromisoformat(modified)
                restored.set_metadata(json.loads(metadata), replace=True)
        s3.on_change = lambda bucket, key: self._follow(s3, bucket, key)

    def _follow(self, s3: S3Access, bucket: str, key: str) -> None:
        found = s3.bucket(bucket)
        with self._lock:
            if found is None:
                self._database.execute("DELETE FROM objects WHERE bucket = ?", (bucket,))
                self._database.execute("DELETE FROM buckets WHERE name = ?", (bucket,))
                return
            if key:
                self._follow_object(s3, bucket, key)
                return
            values = (bucket, found.region_name, found.versioning_status)
            self._database.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?)", values)
            # A request to a bucket may be the removal of many objects.
            for (kept,) in self._database.execute("SELECT key FROM objects WHERE bucket = ?", (bucket,)).fetchall():
                if kept not in found.keys:
                    self._follow_object(s3, bucket, kept)

    def _follow_object(self, s3: S3Access, bucket: str, key: str) -> None:
        found = s3.backend.get_object(bucket, key)
        if found is None:
            self._database.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key))
            return
        self._database.execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                bucket,
                key,
                found.value,
                found.etag.strip('"'),
                found.last_modified.isoformat(),
                found.storage_class,
                json.dumps(dict(found.metadata)),
            ),
        )

    # ------------------------------------------------------------------ EMR

    def save_cluster(self, cluster: Cluster) -> None:
        """Write the cluster's record."""
        with cluster.lock:
            record = {name: getattr(cluster, name) for name in CLUSTER_FIELDS}
            record["steps"] = [asdict(step) for step in cluster.steps]
            record["collections"] = [asdict(collection) for collection in cluster.collections]
            text = json.dumps(record, default=_plain)
            with self._lock:  # within the cluster's: an older record must not be written over a later one
                number = "(SELECT coalesce(max(number), 0) + 1 FROM clusters)"
                self._database.execute(
                    f"INSERT INTO clusters VALUES (?, {number}, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record",  # noqa: S608
                    (cluster.id, text),
                )

    def restore_clusters(self) -> list[Cluster]:
        """Return the clusters of earlier runs, oldest first. Those that were alive were lost with their server."""
        with self._lock:
            records = self._database.execute("SELECT record FROM clusters ORDER BY number").fetchall()
        restored = []
        for (text,) in records:
            record = json.loads(text)
            # Paths of an earlier run mean nothing any more.
            record["steps"] = [_restored(Step, step | {"log_directory": None}) for step in record["steps"]]
            for collection in record["collections"]:
                collection["instances"] = [_restored(Instance, instance) for instance in collection["instances"]]
            record["collections"] = [_restored(InstanceCollection, collection) for collection in record["collections"]]
            cluster = _restored(Cluster, record)
            cluster.mark_lost("local_emr was stopped while the cluster was alive")
            self.save_cluster(cluster)
            restored.append(cluster)
        return restored

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._database.executescript("DELETE FROM objects; DELETE FROM buckets; DELETE FROM clusters")


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _restored(model: type[Model], record: dict[str, Any]) -> Model:
    """Return the model of a record. Its own dates alone are dates: tags and requests may have such names, too."""
    dates = {field.name for field in fields(model) if field.type in (datetime, datetime | None)}
    return model(**record | {name: datetime.fromisoformat(record[name]) for name in dates if record[name]})
