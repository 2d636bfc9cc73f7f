"""Tables of images that need not fit into memory: collected on disk by many threads, sorted and joined by DuckDB."""

import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

# What does not fit into this memory DuckDB writes to the workspace's folder. It downloads nothing.
SETTINGS = """
    SET memory_limit = '384MB'; SET threads = 2; SET preserve_insertion_order = false; SET autoinstall_known_extensions = false
"""
ROWS_PER_FILE = 64 * 1024  # 10 MB in memory
SECONDS_BETWEEN_LINES = 10

log = logging.getLogger(__name__)


class Ticker:
    """Logs how far a long piece of work is, every ten seconds; a short one says nothing."""

    def __init__(self, what: str) -> None:
        self.rows = 0
        self._what = what
        self._told = time.monotonic()

    def add(self, rows: int) -> None:
        """Count rows."""
        self.rows += rows
        if time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            log.info("%s: %s rows so far", self._what, f"{self.rows:,}")


class Collector:
    """Collects the rows of one table from any number of threads."""

    def __init__(self, name: str, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._ticker = Ticker(name)
        self._lock = threading.Lock()
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._files = 0

    @property
    def rows(self) -> int:
        """The number of rows so far."""
        return self._ticker.rows

    def add(self, rows: pa.Table) -> None:
        """Add rows that have the columns of the schema."""
        with self._lock:
            self._ticker.add(len(rows))
            self._pending.append(rows)
            self._pending_rows += len(rows)
            if self._pending_rows < ROWS_PER_FILE:
                return
            full, self._pending, self._pending_rows, self._files = self._pending, [], 0, self._files + 1
            number = self._files
        self._write(full, number)

    def close(self) -> None:
        """Write what is left; no rows at all make an empty table."""
        self._write(self._pending, 0)

    def _write(self, tables: list[pa.Table], number: int) -> None:
        rows = pa.concat_tables([self._schema.empty_table(), *tables])
        pq.write_table(rows, self._folder / f"{number}.parquet", compression="zstd")


class Workspace:
    """A folder with tables, and the database that sees them by their names."""

    def __init__(self, folder: Path, database: duckdb.DuckDBPyConnection) -> None:
        self.folder = folder
        self._database = database

    @contextmanager
    def collect(self, name: str, schema: pa.Schema) -> Iterator[Collector]:
        """Yield the collector of a table, which is there after the block."""
        folder = self.folder / name
        folder.mkdir()
        collector = Collector(name, folder, schema)
        yield collector
        collector.close()
        self.define(name, folder / "*.parquet")

    def define(self, name: str, files: Path) -> None:
        """Give Parquet files a name in queries."""
        self._database.read_parquet(str(files)).create_view(name)

    def set(self, **variables: Any) -> None:
        """Set what queries read with `getvariable`."""
        for name, value in variables.items():
            self._database.execute(f"SET VARIABLE {name} = ?", [value])

    def run(self, sql: str) -> None:
        """Run a statement."""
        self._database.execute(sql)

    def row(self, sql: str) -> tuple[Any, ...]:
        """Return the one row of a query."""
        (found,) = self._database.execute(sql).fetchall()  # fetchone leaves the connection busy
        return tuple(found)

    def stream(self, name: str, sql: str, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query in batches of `rows`, with the types of `schema`; never all of them at once."""
        ticker = Ticker(name)
        for batch in self._database.sql(sql).to_arrow_reader(rows):
            ticker.add(len(batch))
            yield batch.select(schema.names).cast(schema)


@contextmanager
def workspace() -> Iterator[Workspace]:
    """Yield a workspace in the folder for temporary files (`TMPDIR`), which is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="fruits-") as name, duckdb.connect() as database:
        database.execute(f"SET temp_directory = '{name}/spill'")
        database.execute(SETTINGS)
        yield Workspace(Path(name), database)
