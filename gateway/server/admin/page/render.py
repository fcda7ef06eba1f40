"""Values become HTML.

Owns: the templates, what each is given, and rendering thousands of rows without holding up whoever
else runs here.

Must not know: HTTP, who looks.

Everything is escaped by Jinja2 unless it is Markup; only ``text.name`` and the templates make any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import jinja2
import trio
from markupsafe import Markup

from gateway.server.admin.page import text
from gateway.server.admin.page.notices import certificate_health, notices
from gateway.server.admin.page.query import (
    MAX_SEARCH,
    ORDERS,
    REFRESHES,
    SIZES,
    Page,
    View,
    select,
)
from gateway.server.admin.page.values import EndRow, SessionRow, Snapshot

_TEMPLATES: Final = Path(__file__).parent / "templates"
# Rows that are rendered between two turns of everybody else: some milliseconds.
_AT_A_TIME: Final = 50
# Columns that hold numbers.
_NUMERIC: Final = frozenset({"age", "received", "sent", "ping"})
_ON_THE_PAGE: Final = {
    "max_search": MAX_SEARCH,
    "orders": ORDERS,
    "sizes": SIZES,
    "refreshes": REFRESHES,
    "numeric": _NUMERIC,
}

# The parts of the page that follow as a whole when what they show changes, and what that is.
_SHOWN: Final[dict[str, Callable[[Snapshot], object]]] = {
    "figures": lambda s: (
        s.state,
        s.ready,
        len(s.sessions),
        sum(row.suspect for row in s.sessions),
        s.connections,
        s.generation,
        s.restarts,
        s.listeners,
        s.version,
        s.started,
    ),
    "attention": notices,
    "controllers": lambda s: s.controllers,
    "ends": lambda s: s.ends,
    "timers": lambda s: s.timers,
    "certificates": lambda s: [(row, certificate_health(row, s.at)) for row in s.certificates],
    "workers": lambda s: s.workers,
    "reloads": lambda s: s.reloads,
}
PARTS: Final = tuple(_SHOWN)


class Renderer:
    """The templates, loaded once. ``assets`` stands in the addresses of static files."""

    def __init__(self, assets: str) -> None:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            auto_reload=False,
        )
        environment.filters |= {
            "age": text.age,
            "certificate_health": certificate_health,
            "clock_time": text.clock_time,
            "machine_time": text.machine_time,
            "milliseconds": text.milliseconds,
            "name": text.name,
            "node_query": _node_query,
            "number": text.number,
            "plain": text.plain,
            "size": text.size,
        }
        environment.globals["assets"] = assets
        self.assets = assets
        self._environment = environment
        self._row = environment.get_template("row.html").module.row  # type: ignore[attr-defined]

    def row(self, session: SessionRow, version: str, now: float) -> str:
        """Return one row of the table of sessions."""
        return str(self._row(session, version, now))

    def part(self, part: str, snapshot: Snapshot) -> str:
        """Return one of ``PARTS``."""
        return self._render(f"{part}.html", snapshot=snapshot, notices=notices(snapshot))

    def count(self, page: Page, view: View) -> str:
        """Return how many sessions there are, and the links to the other pages."""
        return self._render("count.html", page=page, view=view)

    def page(self, template: str, **values: object) -> str:
        """Return a whole page."""
        return self._render(template, **values)

    def _render(self, template: str, **values: object) -> str:
        return self._environment.get_template(template).render(**_ON_THE_PAGE, **values)


class Frame:
    """A snapshot, and whatever was rendered of it: once, for all who look."""

    def __init__(self, snapshot: Snapshot, renderer: Renderer) -> None:
        self.snapshot = snapshot
        self._renderer = renderer
        self._rows: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        self._keys: dict[str, object] = {}

    def select(self, view: View) -> Page:
        """Return the sessions that ``view`` asks for."""
        return select(self.snapshot.sessions, view)

    def shown_in(self, part: str) -> object:
        """Return what a part shows: a value that is equal as long as it need not be sent again."""
        if part not in self._keys:
            self._keys[part] = _SHOWN[part](self.snapshot)
        return self._keys[part]

    def part(self, part: str) -> str:
        """Return one of ``PARTS`` as HTML."""
        if part not in self._parts:
            self._parts[part] = self._renderer.part(part, self.snapshot)
        return self._parts[part]

    def count(self, page: Page, view: View) -> str:
        """Return how many sessions there are, and the links to the other pages, as HTML."""
        return self._renderer.count(page, view)

    async def rows(self, sessions: Iterable[SessionRow]) -> list[str]:
        """Return rows as HTML, giving way to others now and then."""
        found: list[str] = []
        made = 0
        for session in sessions:
            html = self._rows.get(session.id)
            if html is None:
                html = self._renderer.row(session, version_of(session), self.snapshot.at)
                self._rows[session.id] = html
                made += 1
                if made % _AT_A_TIME == 0:
                    await trio.lowlevel.checkpoint()
            found.append(html)
        return found

    async def status_page(self, view: View, *, outcome: str | None, logout: str | None) -> str:
        """Return the whole page. ``logout`` is the token of the form that ends a login, if any."""
        page = self.select(view)
        rows = await self.rows(page.rows)
        parts: dict[str, Markup] = {part: Markup(self.part(part)) for part in PARTS}
        parts["count"] = Markup(self.count(page, view))
        return self._renderer.page(
            "status.html",
            snapshot=self.snapshot,
            view=view,
            parts=parts,
            rows=Markup("".join(rows)),
            outcome=outcome,
            logout=logout,
        )


def version_of(session: SessionRow) -> str:
    """Return a short word that is another one when what is shown of a session has changed."""
    return f"{hash(session) & 0xFFFFFFFFFF:x}"


def node_query(controller: str, node: str) -> str:
    """Return the query of a node's page."""
    return urlencode({"controller": controller, "node": node}, errors="replace")


def _node_query(row: SessionRow | EndRow) -> str:
    return node_query(row.controller, row.node)
