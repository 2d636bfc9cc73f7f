"""What a step says that it has written, file by file: in `_SUCCESS` of features and rejects, in report.json of results.

Earlier versions have left an empty `_SUCCESS`, and a report without it: of those only what is there is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fruit_features import checksums
from fruit_features.layout import Location
from fruit_features.objects import damaged


@dataclass(frozen=True, slots=True)
class Facts:
    """What a step says of a file.

    Attributes:
        size: in bytes.
        etag: that S3 gave the object.
        rows: how many it has; None where only the bytes are known.
        images: checksum of the images that they are of; None from earlier versions.
        content: checksum of the images and their features; None for other files.
    """

    size: int
    etag: str
    rows: int | None = None
    images: str | None = None
    content: str | None = None


_KEYS = {field.name for field in fields(Facts)}  # what a later version says besides is not needed here


@dataclass(frozen=True)
class Written:
    """What a step says of a dataset.

    Attributes:
        where: the object that says so.
        files: by name.
        model_id: of the network; None for a dataset that does not tell.
    """

    where: Location
    files: Mapping[str, Facts]
    model_id: str | None = None

    @classmethod
    def parse(cls, where: Location, files: Any, model_id: str | None = None) -> "Written":
        """Return what the JSON object `files` of the object `where` says.

        Raises:
            AirflowFailException: it does not say it.
        """
        try:
            found = {name: Facts(**{key: facts[key] for key in _KEYS & facts.keys()}) for name, facts in files.items()}
        except (AttributeError, TypeError) as error:
            raise damaged(where, f"its files are not as a step describes them: {error}") from None
        return cls(where, found, model_id)

    def rows(self) -> int:
        """Return how many rows all files have."""
        return sum(facts.rows or 0 for facts in self.files.values())

    def images(self) -> str | None:
        """Return the checksum of the images of all files; None if it is not known of one."""
        each = [facts.images for facts in self.files.values()]
        return None if None in each else checksums.added([one for one in each if one])
