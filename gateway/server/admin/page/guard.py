"""That what a browser asks for was wished for by the person in front of it.

Owns: the one cookie, who is logged in, tokens in forms, and where a form may come from.

Must not know: pages, HTTP but for header fields.

The cookie names a viewer: HttpOnly, SameSite=Strict, Secure over TLS, signed with a key that this
process alone has. Where the admin listener wants a token, the signature is bound to that token, and
the cookie is made only for whoever has shown it: it is not the token, nothing can be computed back
from it, and it ends with a change of token, a restart, an upgrade, or after 12 hours. A form's
token is bound to the viewer and to the one thing that the form does. Besides, browsers say where a
form was sent from, and no page can make them lie.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

# Seconds.
LIFETIME: Final = 12 * 3600
_NAME: Final = "gateway-status"
# Browsers take a cookie of this name only from this very host, over TLS, and for all of it.
_NAME_OVER_TLS: Final = "__Host-gateway-status"


@dataclass(frozen=True, slots=True)
class Viewer:
    """A browser that has the cookie. ``id`` is random and stands in no log."""

    id: str
    expires: int


class Guard:
    """Makes and checks cookies and tokens. ``clock`` gives Unix time."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._key = secrets.token_bytes(32)
        self._clock = clock

    def __repr__(self) -> str:
        return "Guard(***)"

    def new_viewer(self) -> Viewer:
        """Return a viewer whom nobody has seen."""
        return Viewer(secrets.token_urlsafe(16), int(self._clock()) + LIFETIME)

    def cookie(self, viewer: Viewer, *, token: str | None, secure: bool) -> str:
        """Return the value of ``Set-Cookie`` for ``viewer``.

        ``token``: the admin token that it has shown, None where none is wanted.
        """
        value = f"{viewer.id}.{viewer.expires}.{self._signature(viewer, token)}"
        return _cookie(value, LIFETIME, secure=secure)

    def end_cookie(self, *, secure: bool) -> str:
        """Return the value of ``Set-Cookie`` that makes a browser forget who it is."""
        return _cookie("", 0, secure=secure)

    def viewer(self, cookies: str | None, *, token: str | None, secure: bool) -> Viewer | None:
        """Return whose cookie is in the ``Cookie`` field, or None.

        With ``token``: only one that has shown this very token.
        """
        value = _value_of(cookies, _name(secure=secure))
        parts = value.split(".") if value.isascii() else ()
        if len(parts) != 3 or not parts[1].isdigit() or len(parts[1]) > 12:
            return None
        viewer = Viewer(parts[0], int(parts[1]))
        if not _equal(parts[2], self._signature(viewer, token)):
            return None
        return viewer if viewer.expires > self._clock() else None

    def form_token(self, viewer: Viewer, action: str) -> str:
        """Return the token of the form by which ``viewer`` does ``action``."""
        what = f"{viewer.id} {viewer.expires} {action}"
        return self._mac("form", what.encode("utf-8", "replace"))

    def is_form_token(self, given: str, viewer: Viewer, action: str) -> bool:
        """Say whether a form was made for this viewer and action."""
        return _equal(given, self.form_token(viewer, action))

    def _signature(self, viewer: Viewer, token: str | None) -> str:
        who = f"{viewer.id} {viewer.expires}".encode()
        if token is None:
            return self._mac("viewer", who)
        return self._mac("viewer with token", hashlib.sha256(token.encode()).digest() + who)

    def _mac(self, purpose: str, data: bytes) -> str:
        return hmac.new(self._key, purpose.encode() + b"\0" + data, hashlib.sha256).hexdigest()


def is_token(given: str, token: str) -> bool:
    """Say whether ``given`` is the token, in a time that tells nothing."""
    return _equal(given, token)


def is_same_origin(fields: Mapping[str, str]) -> bool:
    """Say whether a form was sent from a page of ours. ``fields``: by lower-case name.

    Browsers say so in ``Sec-Fetch-Site``, which pages cannot set, where the address is https or
    this machine, and in ``Origin`` elsewhere. Whoever says neither is no browser: it has the API.
    """
    site = fields.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    scheme, _, authority = fields.get("origin", "").partition("://")
    host = fields.get("host", "").lower()
    return host != "" and scheme in ("http", "https") and authority == host


def _cookie(value: str, lifetime: int, *, secure: bool) -> str:
    security = "; Secure" if secure else ""
    return (
        f"{_name(secure=secure)}={value}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Strict"
        + security
    )


def _name(*, secure: bool) -> str:
    return _NAME_OVER_TLS if secure else _NAME


def _value_of(cookies: str | None, name: str) -> str:
    if cookies is None or len(cookies) > 8192:
        return ""
    # Other services of this host set cookies, too, and not all are well-formed: SimpleCookie would
    # give up at the first that is not.
    for pair in cookies.split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value
    return ""


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())
