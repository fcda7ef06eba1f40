"""The part of the sessions that a viewer asks for: search, order, page.

Owns: the page's query, what of it is understood, and what it selects.

Must not know: HTML, where sessions come from.

Whatever a query says that is not understood is as if it were not there: links are kept, mended by
hand and come from older versions, and a page is more use than an error.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl, urlencode

from gateway.server.admin.page.values import SessionRow

MAX_SEARCH: Final = 200  # characters
SIZES: Final = (50, 100, 500, 5000)
SIZE: Final = 100
# Seconds; what a browser without JavaScript may be told to reload after. 0: only when asked to.
REFRESHES: Final = (0, 10, 30, 60)
_MAX_FIELDS: Final = 32

Key = Callable[[SessionRow], object]

# What sessions may be ordered by, and the words for it; the first is the default.
_KEYS: Final[dict[str, tuple[str, Key]]] = {
    "node": ("Node", lambda row: row.node.casefold()),
    "controller": ("Controller", lambda row: row.controller),
    "client": ("From", lambda row: row.client),
    "state": ("State", lambda row: not row.suspect),
    "age": ("Age", lambda row: -row.since),
    "received": ("From agent", lambda row: row.from_agent),
    "sent": ("To agent", lambda row: row.to_agent),
    "ping": ("Round trip", lambda row: row.round_trip),
}
ORDERS: Final = {key: words for key, (words, _) in _KEYS.items()}
_BY_DEFAULT: Final = "node"


@dataclass(frozen=True, slots=True)
class View:
    """What a viewer wants to see. ``page`` counts from 1."""

    search: str = ""
    sort: str = _BY_DEFAULT
    descending: bool = False
    page: int = 1
    size: int = SIZE
    refresh: int = 0

    def query(self, **changes: object) -> str:
        """Return it as a query string without ``?``, defaults left out, with ``changes``."""
        view = replace(self, **changes)  # type: ignore[arg-type]
        fields = {
            "q": view.search,
            "sort": view.sort if view.sort != _BY_DEFAULT else "",
            "dir": "desc" if view.descending else "",
            "page": str(view.page) if view.page > 1 else "",
            "size": str(view.size) if view.size != SIZE else "",
            "refresh": str(view.refresh) if view.refresh else "",
        }
        return urlencode({key: value for key, value in fields.items() if value})

    def link(self, **changes: object) -> str:
        """Return the address of it with ``changes``, relative to any of the page's addresses."""
        query = self.query(**changes)
        return f"./?{query}" if query else "./"

    def sorted_by(self, key: str) -> str:
        """Return the address of the same, ordered by ``key``; the other way if it already is."""
        return self.link(sort=key, descending=self.sort == key and not self.descending, page=1)


@dataclass(frozen=True, slots=True)
class Page:
    """The sessions of one page. ``matching``: on all of them; ``first`` counts from 1."""

    rows: tuple[SessionRow, ...]
    total: int
    matching: int
    number: int
    count: int
    first: int


def fields_of(query: str) -> dict[str, str]:
    """Return the fields of a query or a form, the last of each name; none if there are too many."""
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="replace"
        )
    except ValueError:  # too many
        return {}
    return dict(pairs)


def view_of(fields: dict[str, str]) -> View:
    """Return what ``fields`` ask for."""
    sort = fields.get("sort", "")
    return View(
        search=fields.get("q", "").strip()[:MAX_SEARCH],
        sort=sort if sort in _KEYS else _BY_DEFAULT,
        descending=fields.get("dir") == "desc",
        page=max(_number(fields.get("page", "")), 1),
        size=_one_of(SIZES, fields.get("size", ""), SIZE),
        refresh=_one_of(REFRESHES, fields.get("refresh", ""), 0),
    )


def select(rows: tuple[SessionRow, ...], view: View) -> Page:
    """Return the page of ``rows`` that ``view`` asks for; the last one if there are not so many."""
    wanted = [_folded(word) for word in view.search.split()]
    found = [row for row in rows if _fits(row, wanted)] if wanted else list(rows)
    _, key = _KEYS[view.sort]
    # Sorts are stable: equal ones stay in the order of names, whichever way it goes.
    found.sort(key=lambda row: (row.node.casefold(), row.controller, row.since, row.id))
    known = [row for row in found if key(row) is not None]
    known.sort(key=key, reverse=view.descending)  # type: ignore[arg-type]
    found = known + [row for row in found if key(row) is None]  # last, either way
    count = max(-(-len(found) // view.size), 1)
    number = min(view.page, count)
    start = (number - 1) * view.size
    return Page(
        rows=tuple(found[start : start + view.size]),
        total=len(rows),
        matching=len(found),
        number=number,
        count=count,
        first=start + 1 if found else 0,
    )


def _fits(row: SessionRow, wanted: list[str]) -> bool:
    """Say whether every word is somewhere in what is shown of a session."""
    shown = _folded(f"{row.node}\n{row.controller}\n{row.client}\n{row.transport}\n{row.state}")
    return all(word in shown for word in wanted)


def _folded(text: str) -> str:
    """Return it as it is compared: the same name may be typed in several ways."""
    return unicodedata.normalize("NFKC", text).casefold()


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0


def _one_of(allowed: tuple[int, ...], text: str, otherwise: int) -> int:
    number = _number(text)
    return number if number in allowed and text else otherwise
