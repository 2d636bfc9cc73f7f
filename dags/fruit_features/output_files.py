"""A run's outputs as they are in S3: their files, which are compared with what the steps say of them, and their rows."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import checks, datasets, file_checks, listing, objects
from fruit_features.layout import Location
from fruit_features.listing import Listed
from fruit_features.run import Run
from fruit_features.workspace import Workspace
from fruit_features.written import Written

SUCCESS = "_SUCCESS"
FILES_AT_ONCE = 32  # of which only the images' keys are read
ROWS_AT_ONCE = 2048  # of features: 10 MB


@dataclass(frozen=True)
class Dataset:
    """A dataset of one of the run's steps.

    Attributes:
        where: its folder.
        names: of its files.
        written: what the step says of them; None if an earlier version has written them.
    """

    where: Location
    names: list[str]
    written: Written | None

    @property
    def paths(self) -> list[str]:
        """Return those of the files."""
        return [(self.where / name).path for name in self.names]


def is_hidden(name: str) -> bool:
    """Say whether Spark and Hive pass over a file, by its path in the folder."""
    return any(part.startswith(("_", ".")) for part in name.split("/"))


class Outputs:
    """The datasets and documents of a run in S3."""

    def __init__(self, hook: S3Hook, run: Run) -> None:
        self.hook = hook
        self.run = run
        self.files = datasets.filesystem(hook)

    def listed(self, folder: Location) -> dict[str, Listed]:
        """Return what is in a folder, by its path there; keys that end with a slash only mark folders."""
        client, prefix = self.hook.get_conn(), f"{folder.key}/"
        with listing.own_parser(client):
            found = chain.from_iterable(listing.pages(client, folder.bucket, prefix))
            return {item.key.removeprefix(prefix): item for item in found if not item.key.endswith("/")}

    def committed(self, folder: Location) -> dict[str, Listed]:
        """Return the files of a dataset that a Spark job has finished, by name, and its mark.

        Raises:
            OutputError: it is not finished.
        """
        there = self.listed(folder)
        checks.check(
            SUCCESS in there,
            f"{folder} is not finished: it has no _SUCCESS marker",
            invariant="what a step has written is complete",
            expected=f"{folder / SUCCESS}",
            found="no such object",
            look_at="the log of the step that writes it",
        )
        return {name: found for name, found in there.items() if datasets.PART.fullmatch(name) or name == SUCCESS}

    def extracted(self, folder: Location) -> Dataset:
        """Return the files of features or rejects that are proven to be those that extract_features has written.

        Raises:
            OutputError: it is not finished, or something else has written there.
        """
        there = self.committed(folder)
        mark, written = there.pop(SUCCESS), None
        if mark.size:  # earlier versions left it empty
            document = objects.read_json(self.hook, folder / SUCCESS, "model_id", "files")
            written = Written.parse(folder / SUCCESS, document["files"], document["model_id"])
            file_checks.check_files(folder, there, written)
        return Dataset(folder, sorted(there), written)

    def vectors(self, report: dict[str, Any]) -> Dataset:
        """Return the files of `pca/`, which are proven to be those that reduce_dimensions has written, as `model/` is.

        Raises:
            OutputError: it is not finished, or something else has written there or into `model/`.
        """
        top, said = self.run.layout.run_results, report.get("written", {})  # earlier versions say nothing
        vectors = self.committed(top / "pca")
        del vectors[SUCCESS]
        written = {folder: Written.parse(top / "report.json", files) for folder, files in said.items()}
        for folder, known in written.items():
            there = self.listed(top / folder)  # whatever the names: whoever reads a folder reads all but hidden files
            files = {name: found for name, found in there.items() if not is_hidden(name)}
            file_checks.check_files(top / folder, files, known)
        return Dataset(top / "pca", sorted(vectors), written.get("pca"))

    def collect(self, work: Workspace, name: str, paths: list[str], schema: pa.Schema, columns: list[str]) -> None:
        """Make a table of columns of many files, each of which must have the columns of `schema` and no others."""

        def read(path: str) -> None:
            with self.files.open_input_file(path) as source:
                found = pq.ParquetFile(source)
                checks.check_schema(f"s3://{path}", found.schema_arrow, schema)
                rows.add(found.read(columns, use_threads=False).cast(kept))

        kept = pa.schema([(column, pa.string()) for column in columns])
        with work.collect(name, kept) as rows, ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            for _ in pool.map(read, paths):
                pass

    def rows(self, dataset: Dataset, name: str, schema: pa.Schema, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield columns of a file, which must have those of `schema`, in the file's order, and in batches of 10 MB."""
        where = dataset.where / name
        with self.files.open_input_file(where.path) as source:
            found = pq.ParquetFile(source)
            checks.check_schema(where.uri, found.schema_arrow, schema)
            yield from found.iter_batches(ROWS_AT_ONCE, columns=columns)

    def model_id(self) -> str:
        """Return the network that the run has used."""
        return objects.read_json(self.hook, self.run.layout.model_pointer, "model_id")["model_id"]

    def report(self) -> dict[str, Any]:
        """Return report.json."""
        return objects.read_json(self.hook, self.run.layout.run_results / "report.json")
