"""Requests for the status page, and their answers.

Owns: the addresses, what each answers, the security policy that every page has, logging in and out,
and that a kick is asked for twice.

Must not know: sockets, HTTP beyond header fields, how sessions are known or ended (``Source``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import trio

from gateway.observability.logs import get_logger
from gateway.server.admin.messages import Answer
from gateway.server.admin.page import live
from gateway.server.admin.page.guard import Guard, Viewer, is_same_origin, is_token
from gateway.server.admin.page.live import Looks
from gateway.server.admin.page.query import View, fields_of, view_of
from gateway.server.admin.page.render import Renderer
from gateway.server.admin.page.values import NodeHistory, SessionRow, Snapshot

_log = get_logger("system")

HTML: Final = "text/html; charset=utf-8"
# No script and no style but our files, nothing from elsewhere, forms to here, frames nowhere.
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    b" form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_ALWAYS: Final = (
    (b"Content-Security-Policy", _POLICY),
    # Not ``no-referrer``: browsers would then say ``Origin: null`` with our own forms.
    (b"Referrer-Policy", b"same-origin"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
)
_FOLDER: Final = Path(__file__).parent / "static"
STATIC: Final = {
    "icon.svg": "image/svg+xml",
    "status.css": "text/css; charset=utf-8",
    "status.js": "text/javascript; charset=utf-8",
}
# Wrong tokens that are being answered at a time, each after this many seconds.
MOST_TRIALS: Final = 8
TRIAL: Final = 1.0
# How long what is on a page may have been known already, seconds.
_FRESH: Final = 1.0

_OUTCOMES: Final = {
    "kicked": "The session was ended.",
    "gone": "That session is not there any more: it ended by itself, or its worker did not answer.",
}

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What the page needs to know of a request.

    ``fields``: header fields by lower-case name. ``form``: those of a POST. ``token``: what the
    browser has to have shown, None where it need not (nothing is asked for, or it was shown
    otherwise). ``caller``: who asks, for the log.
    """

    query: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    secure: bool = False
    token: str | None = field(default=None, repr=False)
    caller: str = "unknown"


class Source(Protocol):
    """The gateway, as the page knows it."""

    async def snapshot(self) -> Snapshot:
        """Return how things are now; within a few seconds, whatever workers do."""

    async def kick(self, session: SessionRow, caller: str) -> bool:
        """End a session; False if it is not there any more."""

    async def history(self, controller: str, node: str) -> NodeHistory:
        """Return what happened to a node lately, the newest first."""


class StatusPage:
    """Answers every request for the page. One for all that ask, through reloads."""

    def __init__(self, source: Source, *, guard: Guard | None = None) -> None:
        self._source = source
        self._guard = guard or Guard()
        self._static = {name: (_FOLDER / name).read_bytes() for name in STATIC}
        assets = hashlib.sha256(b"".join(self._static.values())).hexdigest()[:12]
        self._renderer = Renderer(assets)
        self.looks = Looks(source.snapshot, self._renderer)
        self._trials = 0

    # -- pages -------------------------------------------------------------------------------------

    async def status(self, request: Request) -> Answer:
        """Answer ``GET /``."""
        viewer = self._let_in(request)
        if viewer is None:
            return self._see("./login")
        asked = fields_of(request.query)
        frame = await self.looks.frame(fresh=_FRESH)
        text = await frame.status_page(
            view_of(asked),
            outcome=_OUTCOMES.get(asked.get("outcome", "")),
            logout=self._guard.form_token(viewer, "logout") if request.token else None,
        )
        return self._page(text)

    async def node(self, request: Request) -> Answer:
        """Answer ``GET /node``: what happened to one node."""
        if self._let_in(request) is None:
            return self._see("./login")
        asked = fields_of(request.query)
        controller, node = asked.get("controller", ""), asked.get("node", "")
        history = await self._source.history(controller, node)
        text = self._renderer.page(
            "node.html",
            node=node,
            controller=controller,
            events=history.events,
            silent=history.silent,
            sessions_query=View(search=node[:100]).query(),
        )
        return self._page(text)

    # -- kicking -----------------------------------------------------------------------------------

    async def ask_to_kick(self, request: Request) -> Answer:
        """Answer ``GET /kick``: the question, and the form that does it."""
        viewer = self._let_in(request)
        if viewer is None:
            return self._see("./login")
        asked = fields_of(request.query)
        view = view_of(fields_of(asked.get("view", "")))
        session = await self._find(asked.get("session", ""))
        if session is None:
            return self._problem(404, "No such session", _OUTCOMES["gone"])
        token = self._guard.form_token(viewer, _kick(session.id))
        text = self._renderer.page("kick.html", session=session, view=view, token=token)
        return self._page(text, *self._cookie(viewer, request))

    async def kick(self, request: Request) -> Answer:
        """Answer ``POST /kick``."""
        viewer = self._known(request)
        wanted = request.form.get("session", "")
        if not self._is_meant(request, viewer, _kick(wanted)):
            return self._not_meant("kick")
        view = view_of(fields_of(request.form.get("view", "")))
        session = await self._find(wanted)
        is_done = session is not None and await self._source.kick(session, request.caller)
        self.looks.forget()
        query = view.query()
        outcome = "outcome=kicked" if is_done else "outcome=gone"
        return self._see(f"./?{query}&{outcome}" if query else f"./?{outcome}")

    async def _find(self, session: str) -> SessionRow | None:
        frame = await self.looks.frame(fresh=_FRESH)
        return next((row for row in frame.snapshot.sessions if row.id == session), None)

    # -- logging in and out ------------------------------------------------------------------------

    async def login_form(self, request: Request) -> Answer:
        """Answer ``GET /login``."""
        if self._let_in(request) is not None:
            return self._see("./")
        return self._login_page(request)

    async def login(self, request: Request) -> Answer:
        """Answer ``POST /login``: the token for a cookie, slowly if it is the wrong one."""
        if request.token is None:
            return self._see("./")
        if not is_same_origin(request.fields):
            return self._not_meant("log in")
        # The right one first: strangers who try wrong ones must not keep anybody out.
        if not is_token(request.form.get("secret", ""), request.token):
            if self._trials >= MOST_TRIALS:
                text = "Too many wrong tokens. Try again in a moment."
                return self._login_page(request, 429, text)
            self._trials += 1
            try:
                await trio.sleep(TRIAL)
            finally:
                self._trials -= 1
            return self._login_page(request, 403, "That is not the token.")
        _log.info("status page: logged in", client=request.caller)
        viewer = self._guard.new_viewer()
        return self._see("./", *self._cookie(viewer, request))

    async def logout(self, request: Request) -> Answer:
        """Answer ``POST /logout``."""
        if not self._is_meant(request, self._known(request), "logout"):
            return self._not_meant("log out")
        cookie = self._guard.end_cookie(secure=request.secure).encode()
        return self._see("./login", (b"Set-Cookie", cookie))

    def _login_page(
        self, request: Request, status: int = 200, problem: str | None = None
    ) -> Answer:
        text = self._renderer.page("login.html", problem=problem, secure=request.secure)
        return self._page(text, status=status)

    # -- live --------------------------------------------------------------------------------------

    def watch(self, request: Request) -> AbstractContextManager[live.Viewer] | Answer:
        """Answer ``GET /events``: a viewer's place, or why there is none (no stream then)."""
        if self._let_in(request) is None:
            return self._problem(403, "Not logged in", "The login has ended.")
        # Nobody else's page could read it, but it could take the places of those who may.
        if request.fields.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return self._problem(403, "Refused to follow", "A page of another site asks for this.")
        if self.looks.viewers >= self.looks.most_viewers:
            return self._problem(503, "Too many viewers", "Close other status pages.")
        return self.looks.watching(view_of(fields_of(request.query)))

    # -- files -------------------------------------------------------------------------------------

    def static(self, name: str, request: Request) -> Answer:
        """Answer ``GET /static/NAME``. No login: there is nothing in them."""
        body = self._static.get(name)
        if body is None:
            return self._problem(404, "Not found", "There is no such file.")
        # The page names them with what they are, so that a browser asks once for each version.
        lasting = request.query == self._renderer.assets
        caching = b"public, max-age=31536000, immutable" if lasting else b"no-cache"
        return Answer(200, STATIC[name], body, (*_ALWAYS, (b"Cache-Control", caching)))

    # -- who asks ----------------------------------------------------------------------------------

    def _known(self, request: Request) -> Viewer | None:
        cookies = request.fields.get("cookie")
        return self._guard.viewer(cookies, token=request.token, secure=request.secure)

    def _let_in(self, request: Request) -> Viewer | None:
        """Return who looks; a new viewer where anybody may; None where a login is needed first."""
        viewer = self._known(request)
        if viewer is None and request.token is None:
            return self._guard.new_viewer()
        return viewer

    def _is_meant(self, request: Request, viewer: Viewer | None, action: str) -> bool:
        if viewer is None or not is_same_origin(request.fields):
            return False
        return self._guard.is_form_token(request.form.get("token", ""), viewer, action)

    def _cookie(self, viewer: Viewer, request: Request) -> Fields:
        cookie = self._guard.cookie(viewer, token=request.token, secure=request.secure)
        return ((b"Set-Cookie", cookie.encode()),)

    # -- answers -----------------------------------------------------------------------------------

    def _page(self, text: str, *more: tuple[bytes, bytes], status: int = 200) -> Answer:
        # A lone surrogate in a name was made visible; one in what a viewer typed becomes "?".
        body = text.encode("utf-8", "replace")
        return Answer(status, HTML, body, (*_ALWAYS, *more))

    def _problem(self, status: int, title: str, text: str) -> Answer:
        page = self._renderer.page("problem.html", title=title, text=text)
        return self._page(page, status=status)

    def _not_meant(self, what: str) -> Answer:
        text = (
            "This form was not sent from this page, or it is older than 12 hours, or the gateway"
            " was restarted since. Nothing was done. Go back, reload, and try again."
        )
        return self._problem(403, f"Refused to {what}", text)

    def _see(self, address: str, *more: tuple[bytes, bytes]) -> Answer:
        where = (b"Location", address.encode("ascii"))
        return Answer(303, HTML, b"", (*_ALWAYS, where, *more))


def _kick(session: str) -> str:
    return f"kick {session}"
