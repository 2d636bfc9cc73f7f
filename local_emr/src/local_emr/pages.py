"""What the pages for people are made of."""

from html import escape
from typing import Any
from urllib.parse import quote

PREFIX = "/_local_emr"
HTML, TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'"
)

Answer = tuple[str, list[tuple[str, str]], bytes]


class NotFoundError(Exception):
    """There is no such page."""


def answer(kind: str, body: bytes, policy: str) -> Answer:
    """Return an answer of this content type, with this Content-Security-Policy."""
    headers = [("Content-Type", kind), ("Content-Security-Policy", policy), ("X-Content-Type-Options", "nosniff")]
    return "200 OK", headers, body


def page(title: str, content: str, *, refresh_seconds: int = 0, script: bool = False) -> Answer:
    """Return a page; `content` is HTML."""
    head = f'<meta http-equiv="refresh" content="{refresh_seconds}">' if refresh_seconds else ""
    end = f'<script src="{PREFIX}/browser.js"></script>' if script else ""
    text = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{head}'
        f'<link rel="stylesheet" href="{PREFIX}/browser.css"></head><body><main>{content}</main>{end}</body></html>'
    )
    return answer(HTML, text.encode(), POLICY)


def link(path: str, text: str) -> str:
    """Return a link to a page below `PREFIX`."""
    return f'<a href="{PREFIX}/{quote(path)}">{escape(text)}</a>'


def up(path: str = "", text: str = "Local AWS") -> str:
    """Return the link to the page above."""
    return f'<nav aria-label="Up">{link(path, text)}</nav>'


def state(name: str) -> str:
    """Return the state of a cluster or step."""
    return f'<b class="{"bad" if "ERROR" in name or name == "FAILED" else "state"}">{escape(name)}</b>'


def time(moment: Any) -> str:
    """Return a moment in UTC, or a dash for one that has not come."""
    return moment.strftime("%Y-%m-%d %H:%M:%S") if moment else "–"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table; the cells of `rows` are HTML."""
    top = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{head[0]}s">'
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )
