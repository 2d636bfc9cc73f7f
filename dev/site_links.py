"""A hook of mkdocs: links from pages of docs/ to files outside of it, which the site does not hold, become the files' names.

Whether those files exist is for tests/dev/test_docs.py to say; mkdocs itself checks all other links.
"""

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Return the page with every link out of docs/ as text: what it says, and which file that is."""
    root = Path(config["docs_dir"])

    def inside(match: re.Match[str]) -> str:
        target = (root / page.file.src_uri).parent.joinpath(match["target"]).resolve()
        if target.is_relative_to(root):
            return match[0]
        name = target.relative_to(root.parent).as_posix()
        text = match["text"].strip("`")
        return f"`{name}`" if text in {name, match["target"]} else f"{match['text']} (`{name}`)"

    return LINK.sub(inside, markdown)
