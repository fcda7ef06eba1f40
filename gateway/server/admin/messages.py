"""A request to the admin listener, its answer, and a problem (RFC 9457).

Owns: the forms that routes' handlers see and return, and the fields that every answer has.

Must not know: routes, who may ask.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from gateway.http.exchange import Exchange
from gateway.protocol.http_headers import Field

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
# Nothing here is for other sites' pages, frames or caches; the status page has a policy of its own.
_ALWAYS: Final[tuple[Field, ...]] = (
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Referrer-Policy", b"no-referrer"),
)
_POLICY: Final = b"content-security-policy"
_NOTHING: Final[Field] = (
    b"Content-Security-Policy",
    b"default-src 'none'; frame-ancestors 'none'",
)


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """One request that is let in. ``query`` and ``path`` are checked against the route's table.

    ``body`` is the route's model, where it has one, ``data`` what it was made from. ``caller`` is
    who asks, for the audit log. ``token``, on routes for browsers: what is still to be shown.
    ``is_over`` says that another token has taken the place of the one it was let in by.
    """

    exchange: Exchange
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    caller: str = "unknown"
    data: bytes = b""
    token: str | None = field(default=None, repr=False)
    is_over: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int = 200
    content_type: str = JSON
    body: bytes = b""
    headers: tuple[Field, ...] = ()
    close: bool = False

    @classmethod
    def json(cls, value: object, status: int = 200, *, headers: Iterable[Field] = ()) -> Answer:
        """Answer with a JSON value. Everything beyond ASCII is escaped, so names drive nothing."""
        return cls(status, JSON, json.dumps(value).encode() + b"\n", tuple(headers))

    @property
    def fields(self) -> list[Field]:
        """Return the header fields, those that every answer has among them."""
        own = list(self.headers)
        if self.body:
            own.append((b"Content-Type", self.content_type.encode("ascii")))
        names = {name.lower() for name, _ in own}
        if _POLICY not in names:
            own.append(_NOTHING)
        return own + [each for each in _ALWAYS if each[0].lower() not in names]


class Problem(Exception):
    """A request that is not answered as it was meant: becomes problem JSON (RFC 9457).

    ``kind`` is a word for programs, ``detail`` a sentence for people, without secrets.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        headers: Iterable[Field] = (),
        close: bool = False,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = tuple(headers)
        self.close = close
        self.more = dict(more or {})

    def answer(self, request_id: str) -> Answer:
        """Return the answer; ``request_id`` is also in the log."""
        value = {
            "type": f"urn:remoting-gateway:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": f"urn:remoting-gateway:request:{request_id}",
            **self.more,
        }
        body = json.dumps(value).encode() + b"\n"
        return Answer(self.status, PROBLEM, body, self.headers, self.close)
