"""What the runs have left in S3: docs/architecture.md has the layout."""

import io
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

DAG_ID = "fruit_features"
AT_ONCE = 16
KEPT_SECONDS = 60  # a run that is cleared writes its report again
SHOWN_REJECTS = 500
_END = 2**16  # of a Parquet file: its footer

_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d.-]+")


class ResultsError(Exception):
    """S3 gives no answer; the message is for people."""


class NotFoundError(ResultsError):
    """There is no such object."""


@dataclass(frozen=True)
class RunResults:
    """The figures of a run.

    Attributes:
        name: of its folder.
        report: its report.json; empty if it has none.
        new: images that it had to extract; None if unknown.
        published: whether `latest.json` names it.
    """

    name: str
    report: dict[str, Any]
    new: int | None
    published: bool

    @property
    def rejects_by_reason(self) -> list[tuple[str, int]]:
        """Reasons and counts, the most frequent first."""
        found = self.report.get("rejects_by_reason")
        counts = found if isinstance(found, dict) else {}
        return sorted(counts.items(), key=lambda item: (-int(item[1]), item[0]))

    @property
    def labels(self) -> list[str]:
        """The varieties, in order."""
        found = self.report.get("labels")
        return sorted(found) if isinstance(found, dict) else []


@dataclass(frozen=True)
class Rejects:
    """What one run has rejected: counts of all by reason, and the first rows."""

    counts: dict[str, int]
    rows: list[dict[str, str]]


def run_name(run_id: str) -> str:
    """Return the folder's name of an Airflow run_id, as the DAG makes it."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", run_id)


@dataclass
class Results:
    """The results in one bucket, and the images in the same or another.

    Attributes:
        client: of S3.
        bucket: its name.
        prefix: of the pipeline's own keys; ends in a slash, or is empty.
        images_prefix: of the images, likewise.
        images_bucket: theirs; empty, the same.
    """

    client: Any
    bucket: str
    prefix: str = ""
    images_prefix: str = "images/"
    images_bucket: str = ""
    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, tuple[float, RunResults]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.images_bucket = self.images_bucket or self.bucket

    def names(self) -> list[str]:
        """Return the names of all runs with results, the newest first by the time in their names; those without one last.

        Raises:
            ResultsError: S3 does not answer.
        """
        prefix = f"{self.prefix}results/run="
        with translated(f"s3://{self.bucket}/{prefix}"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter="/"
            )
            found = [each["Prefix"][len(prefix) : -1] for page in pages for each in page.get("CommonPrefixes", [])]
        return sorted(found, key=lambda name: (match[0] if (match := _TIME.search(name)) else "", name), reverse=True)

    def runs(self, names: list[str]) -> list[RunResults]:
        """Return the figures of these runs, read side by side and kept for a minute.

        Raises:
            ResultsError: S3 does not answer.
        """
        latest = self.latest()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda name: self._run(name, latest), names))

    def run(self, name: str) -> RunResults:
        """Return the figures of one run.

        Raises:
            NotFoundError: it has no results.
            ResultsError: S3 does not answer.
        """
        found = self._run(name, self.latest())
        if not found.report:
            raise NotFoundError(f"run {name} has no results in s3://{self.bucket}/{self.prefix}results/")
        return found

    def latest(self) -> str:
        """Return the name of the published run; empty if there is none."""
        try:
            return str(json.loads(self._read("results/latest.json"))["run"])
        except (NotFoundError, ValueError, KeyError, TypeError):
            return ""

    def _run(self, name: str, latest: str) -> RunResults:
        kept = self._kept.get(name)
        if kept and self.clock() - kept[0] < KEPT_SECONDS and kept[1].published == (name == latest):
            return kept[1]
        try:
            report = json.loads(self._read(f"results/run={name}/report.json"))
        except (NotFoundError, ValueError):
            report = {}
        found = RunResults(name, report if isinstance(report, dict) else {}, self._new(name), name == latest)
        self._kept[name] = (self.clock(), found)
        return found

    def _new(self, name: str) -> int | None:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            end = self._read(f"runs/{name}/manifest/manifest.parquet", Range=f"bytes=-{_END}")
            return int(parquet.read_metadata(pa.BufferReader(end)).num_rows)
        except (NotFoundError, OSError, pa.ArrowException):
            return None

    def report(self, name: str) -> Iterator[bytes]:
        """Return the run's report.html, in pieces.

        Raises:
            NotFoundError: it has none.
            ResultsError: S3 does not answer.
        """
        return self._body(f"results/run={name}/report.html").iter_chunks(2**16)

    def rejects(self, name: str) -> Rejects:
        """Return what the run has rejected.

        Raises:
            ResultsError: S3 does not answer.
        """
        import pyarrow as pa
        from pyarrow import parquet

        prefix = f"{self.prefix}rejects/run={name}/"
        with translated(f"s3://{self.bucket}/{prefix}"):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        counts: Counter[str] = Counter()
        rows: list[dict[str, str]] = []
        for key in keys:
            if not re.fullmatch(r"part-.*\.parquet", key.removeprefix(prefix)):
                continue
            try:
                content = self._read(key.removeprefix(self.prefix))
                table = parquet.read_table(io.BytesIO(content), columns=["path", "label", "reason", "detail"])
            except (NotFoundError, pa.ArrowException):
                continue  # not a file of the pipeline's
            counts.update(table["reason"].to_pylist())
            rows += table.slice(0, SHOWN_REJECTS - len(rows)).to_pylist()
        return Rejects(dict(counts.most_common()), rows)

    def _read(self, name: str, **options: str) -> bytes:
        with translated(f"s3://{self.bucket}/{self.prefix}{name}"):
            return bytes(self._body(name, **options).read())

    def _body(self, name: str, **options: str) -> Any:
        key = f"{self.prefix}{name}"
        with translated(f"s3://{self.bucket}/{key}"):
            return self.client.get_object(Bucket=self.bucket, Key=key, **options)["Body"]


class translated:  # noqa: N801 - used as a statement
    """Turns boto3's errors into ResultsError."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, ClientError):
            code = error.response.get("Error", {}).get("Code", "")
            if code in ("NoSuchKey", "404", "InvalidRange"):
                raise NotFoundError(f"{self._uri} does not exist") from None
            raise ResultsError(f"{self._uri} cannot be read: {code}: {error}") from None
        if isinstance(error, BotoCoreError):
            raise ResultsError(f"{self._uri} cannot be read: {error}") from None
