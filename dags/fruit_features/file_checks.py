"""The invariants of a run's files: they are what the cluster wrote, and hold what it says of them. Nothing here reads S3."""

from collections.abc import Mapping

from fruit_features.checks import OutputError, check
from fruit_features.checksums import FileChecksums
from fruit_features.layout import Location
from fruit_features.listing import Listed
from fruit_features.written import Facts, Written

AS_WRITTEN = "the files of a dataset are those that its step has written, byte for byte"
AS_SAID = "a file's rows have the checksums that were computed while it was written"
REMEDY = (
    "Something else has written there since: delete what is not of this run, and clear the step's task, which makes anew what is "
    "missing or changed (a new run would take features of this one as they are)"
)


def check_files(where: Location, listed: Mapping[str, Listed], written: Written) -> None:
    """Check that a folder has the files that a step says it has written, by name, size and ETag, and no others.

    Args:
        where: the folder.
        listed: its files, by name.
        written: what the step says.

    Raises:
        OutputError: naming a file.
    """
    there, said = listed.keys(), written.files.keys()
    others = [name for name in sorted(there & said) if _listed(listed[name]) != _said(written.files[name])]
    for names, problem in (
        (sorted(said - there), "are not there any more"),
        (sorted(there - said), "are there that the step has not written"),
        (others, "are not what the step has written"),
    ):
        if names:
            name = names[0]
            raise OutputError(
                f"{where}: {len(names)} file(s) {problem}, e.g. {name}",
                invariant=AS_WRITTEN,
                expected=_said(written.files[name]) if name in said else "no such file",
                found=_listed(listed[name]) if name in there else "no such file",
                example=where / name,
                look_at=f"{written.where}, which says what was written. {REMEDY}",
            )


def _said(facts: Facts) -> str:
    return f"{facts.size} bytes, ETag {facts.etag}"


def _listed(found: Listed) -> str:
    return f"{found.size} bytes, ETag {found.etag}"


def check_network(written: Written, model_id: str) -> None:
    """Check that a dataset is of the run's network, by what its step says."""
    check(
        written.model_id in (None, model_id),
        f"{written.where}: the step has used the network {written.model_id}, not {model_id}",
        invariant="all features of a run are made by its network",
        expected=model_id,
        found=written.model_id,
        look_at=f"{written.where}, and the log of extract_features",
    )


def check_sample(where: str, facts: Facts, found: FileChecksums) -> None:
    """Check that a file that was read again has what its step says of it, as far as the step does.

    Args:
        where: the file's URI.
        facts: what the step says.
        found: of the file's rows.
    """
    for what, said, now in (
        ("rows", facts.rows, found.rows),
        ("checksum of images", facts.images, found.images),
        ("checksum of numbers", facts.content, found.content),
    ):
        check(
            said in (None, now),
            f"{where}: its {what} is {now}, the step that wrote it says {said}",
            invariant=AS_SAID,
            expected=said,
            found=now,
            example=where,
            look_at=f"{where}: rows were changed or exchanged before it was written, or it was put there by something else",
        )


def check_sums(asked: tuple[int, str], done: tuple[int, str | None], where: str, invariant: str) -> None:
    """Check that the images that a step was asked for are those that it says it has written.

    Args:
        asked: how many, and their checksum.
        done: of what the cluster says that it has written.
        where: what an error calls the files.
        invariant: that does not hold otherwise.
    """
    check(
        asked == done,
        f"{where}: what the cluster says of its files does not add up to the images it was given, though their rows do",
        invariant=invariant,
        expected=f"{asked[0]} images, checksum {asked[1]}",
        found=f"{done[0]} images, checksum {done[1]}",
        look_at=f"{where}; a bug of the step that writes it, please report it",
    )
