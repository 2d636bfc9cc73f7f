"""The folders that an extraction writes: which chunks are in them, and whether they add up to the manifest."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import pyarrow as pa
from pyarrow import parquet

from spark_jobs import schemas, uris
from spark_jobs.checksums import images_checksum
from spark_jobs.errors import DamagedFileError, JobError
from spark_jobs.extraction.chunks import OWN_NAME, Chunk
from spark_jobs.extraction.feature_file import Committed, Reject, read_committed
from spark_jobs.extraction.reading import ALLOW
from spark_jobs.extraction.rejects import TRANSIENT, Reason
from spark_jobs.stored import Facts, Stored

EXAMPLES = 3  # of each reason, in the error
# Rejects of a reason that may have passed are tried again by the next run, image by image. Only where a chunk has more of them
# than this share (a folder was closed, say) is it worth computing all of it again.
MAX_PASSING = 0.1
READ_AT_ONCE = 32
SUCCESS = "_SUCCESS"
REJECTS_FILE = "part-00000.parquet"

log = logging.getLogger("extract_features")


@dataclass(frozen=True)
class Outputs:
    """Where an extraction writes.

    Attributes:
        features: URI of the folder with a file for each chunk.
        rejects: URI of the folder with the rejects of all chunks.
    """

    features: str
    rejects: str

    def marked(self) -> dict[str, Stored]:
        """Return what an earlier attempt has said of the files with features, if it was finished."""
        mark = uris.join(self.features, SUCCESS)
        content = uris.read_bytes(mark) if uris.exists(mark) else b""
        try:
            files = json.loads(content)["files"]
            return {name: Stored(facts["size"], facts["etag"]) for name, facts in files.items()}
        except (ValueError, LookupError, TypeError, AttributeError):
            return {}  # no mark, or that of an earlier version, which left it empty

    def open(self) -> None:
        """Take back the marks of an earlier attempt: from now on the outputs are not finished."""
        for folder in (self.features, self.rejects):
            uris.delete_file(uris.join(folder, SUCCESS))

    def committed(self, chunks: Sequence[Chunk], model_id: str, marked: Mapping[str, Stored]) -> set[str]:
        """Return the names of the chunks that need not be computed again.

        A file that is damaged, has changed since it was marked, or rejects many images for a reason that may have passed since,
        is deleted.

        Args:
            chunks: of the whole manifest.
            model_id: of the network.
            marked: what `marked` has returned.
        """
        there = uris.list_files(self.features)
        candidates = [chunk for chunk in chunks if chunk.name in there]
        names: set[str] = set()
        for chunk, found in self._read(candidates):
            problem = _mismatch(found, chunk, model_id)
            if isinstance(found, Committed) and _passing(found) > MAX_PASSING * chunk.images:
                problem = f"{_passing(found)} images were rejected for a reason that may have passed"
            if isinstance(found, Committed) and marked.get(chunk.name, found.stored) != found.stored:
                problem = "it has changed since it was written"
            if problem:
                log.warning("%s is computed again: %s", chunk.name, problem)
                uris.delete_file(uris.join(self.features, chunk.name))
            else:
                names.add(chunk.name)
        return names

    def proven(self, chunks: Sequence[Chunk], model_id: str, written: Mapping[str, Stored]) -> dict[str, Committed]:
        """Prove that each chunk's file holds exactly its images, and return what it says of itself, by name.

        Args:
            chunks: of the whole manifest.
            model_id: of the network.
            written: what this job's tasks have written, by name, as far as is known: not what an earlier attempt has.

        Raises:
            JobError: naming a file that is missing, damaged, replaced since it was written, or holds more or less.
        """
        read = list(self._read(chunks))
        replaced = {
            chunk.name: written[chunk.name]
            for chunk, found in read
            if isinstance(found, Committed) and written.get(chunk.name, found.stored) != found.stored
        }
        for name in replaced:  # the next attempt would not know that they are not ours
            uris.delete_file(uris.join(self.features, name))
        files: dict[str, Committed] = {}
        for chunk, found in read:
            problem = _mismatch(found, chunk, model_id)
            if problem or isinstance(found, DamagedFileError):
                raise JobError(f"{uris.join(self.features, chunk.name)}: {problem}: a bug, please report it")
            if chunk.name in replaced:
                raise JobError(
                    f"{uris.join(self.features, chunk.name)}: {found.stored} was there, this job has written "
                    f"{replaced[chunk.name]}: something else writes into this folder; it is deleted, run the step again when "
                    "nothing else writes there"
                )
            files[chunk.name] = found
        return files

    def _read(self, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, Committed | DamagedFileError]]:
        """Yield each chunk with what its file says of itself."""

        def read(chunk: Chunk) -> Committed | DamagedFileError:
            try:
                return read_committed(uris.join(self.features, chunk.name))
            except DamagedFileError as error:
                return error

        with ThreadPoolExecutor(READ_AT_ONCE) as pool:
            yield from zip(chunks, pool.map(read, chunks), strict=True)

    def write_rejects(self, rejects: Sequence[Reject]) -> Stored:
        """Write the rejects, none included, as one file."""
        stream = pa.BufferOutputStream()
        parquet.write_table(pa.Table.from_pylist(rejects, schemas.REJECTS), stream, compression="zstd")
        return uris.write_bytes(uris.join(self.rejects, REJECTS_FILE), stream.getvalue().to_pybytes())

    def close(self, model_id: str, files: Mapping[str, Committed], rejects: Sequence[Reject], stored: Stored) -> None:
        """Delete the files of other manifests or networks that an earlier attempt has left, and mark the outputs as finished.

        The marks say what was written: `check_outputs` compares it with what is there, and with what it has asked for.

        Args:
            model_id: of the network.
            files: `proven`.
            rejects: of all of them.
            stored: what `write_rejects` has written.
        """
        for name in uris.list_files(self.features):
            if OWN_NAME.fullmatch(name) and name not in files:
                uris.delete_file(uris.join(self.features, name))
        images = images_checksum((str(reject["path"]), _text(reject["etag"])) for reject in rejects)
        of_rejects = {REJECTS_FILE: {**stored._asdict(), "rows": len(rejects), "images": images}}
        self._mark(self.features, model_id, {name: _facts(file) for name, file in files.items()})
        self._mark(self.rejects, model_id, of_rejects)  # last: from now on they count as tries at these images

    def _mark(self, folder: str, model_id: str, files: Mapping[str, Mapping[str, object]]) -> None:
        document = {"model_id": model_id, "files": files}
        uris.write_bytes(uris.join(folder, SUCCESS), json.dumps(document, ensure_ascii=False).encode())


def _mismatch(found: Committed | DamagedFileError, chunk: Chunk, model_id: str) -> str | None:
    """Return what is wrong with the file of a chunk, if anything is."""
    if isinstance(found, DamagedFileError):
        return str(found)
    if found.model_id == model_id and found.features + len(found.rejects) == chunk.images:
        return None
    counts = f"{found.features} features and {len(found.rejects)} rejects of {found.model_id}"
    return f"{counts} for {chunk.images} images of {model_id}"


def _passing(file: Committed) -> int:
    """Return how many images a file rejects for a reason that may have passed."""
    return sum(reject["reason"] in TRANSIENT for reject in file.rejects)


def _facts(file: Committed) -> Facts:
    """Return what `_SUCCESS` says of a file; of one that an earlier version has written, no checksums."""
    checksums = asdict(file.checksums) if file.checksums else {}
    return {**file.stored._asdict(), "rows": file.features, **checksums}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def check_reject_share(rejects: Sequence[Reject], total: int, max_share: float) -> None:
    """Fail if too many images were rejected.

    Args:
        rejects: rows of `schemas.REJECTS`.
        total: what the share is one of.
        max_share: the largest that is allowed; all images together never are.

    Raises:
        JobError: with the counts by reason and a few paths of each.
    """
    if not rejects or (len(rejects) / total <= max_share and len(rejects) < total):
        return
    problem = "no image can be used" if len(rejects) == total else f"more than max_reject_share {max_share:g}"
    remedy = f"; {ALLOW}" if all(reject["reason"] == Reason.ACCESS_DENIED for reject in rejects) else ""
    raise JobError(f"{len(rejects)} of {total} images rejected, {problem}: {_by_reason(rejects)}{remedy}")


def _by_reason(rejects: Iterable[Mapping[str, object]]) -> str:
    paths: dict[str, list[str]] = defaultdict(list)
    for reject in rejects:
        paths[str(reject["reason"])].append(str(reject["path"]))
    reasons = sorted(paths.items(), key=lambda found: (-len(found[1]), found[0]))
    return "; ".join(f"{reason} {len(found)} ({', '.join(sorted(found)[:EXAMPLES])})" for reason, found in reasons)
