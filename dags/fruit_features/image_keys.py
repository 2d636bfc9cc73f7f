"""Which keys of a bucket are the user's images: those below a prefix that the patterns of a run take.

Patterns are those of `aws s3 cp --include`: `*` stands for any characters, a slash too, `?` for one, `[ab]` for one of these,
`[!ab]` for one that is none of these; letters are capital or small as written. Unlike there, their order means nothing.
"""

import fnmatch
import re
from dataclasses import dataclass
from functools import cached_property

WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class ImageKeys:
    """The keys below a prefix that match a pattern of `include`, and none of `exclude`.

    Attributes:
        prefix: ends in a slash, or is empty.
        include: patterns of what follows the prefix; none, and all of it is taken.
        exclude: patterns of what is left out of that.
    """

    prefix: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @cached_property
    def regex(self) -> str:
        """The same as one regular expression, which such a key matches from its start."""
        left_out = f"(?!{'|'.join(map(fnmatch.translate, self.exclude))})" if self.exclude else ""
        taken = f"(?:{'|'.join(map(fnmatch.translate, self.include))})" if self.include else ""
        return re.escape(self.prefix) + left_out + taken

    def __contains__(self, key: str) -> bool:
        return self._pattern.match(key) is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.regex)

    def skip(self, folder: str) -> bool:
        """Say whether no key below a folder can be among these; False where only a listing would show it.

        Args:
            folder: a key's beginning that ends in a slash.
        """
        below = folder.removeprefix(self.prefix)
        # A star at the end takes whatever follows the folder's name.
        if any(pattern.endswith("*") and fnmatch.fnmatchcase(below, pattern) for pattern in self.exclude):
            return True
        starts = [WILDCARD.split(pattern, maxsplit=1)[0] for pattern in self.include]
        return bool(starts) and not any(below.startswith(start) or start.startswith(below) for start in starts)
