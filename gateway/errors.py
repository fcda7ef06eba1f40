"""The error tree and the one table from an error to what is said, closed and logged.

Owns: every class of failure that ends an exchange or a session, and ``outcome_of``, the only
mapping from an error to an HTTP status, a WebSocket close code, a log level and a public text. Two
readers: ``http/connection`` before 101, ``agents/session`` after it. Nobody else writes a status or
a close code for an error.

Must not know: who raises what, sockets, trio, configuration.

``GatewayError.public`` is a text for strangers: it goes into ``X-Gateway-Error`` and a response
body. It never holds a secret, a cookie or an address of the inside. ``str(error)`` is for the log
and may say more, but no secret either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


class ConfigError(Exception):
    """The configuration cannot be used; the text names file, line, key and remedy."""


class GatewayError(Exception):
    """Something ended an exchange or a session. Subclasses say what; the table says what follows.

    ``public`` is shown to the peer, ``detail`` is added for the log only.
    """

    default_public = "internal error"

    def __init__(self, public: str | None = None, *, detail: str = "") -> None:
        self.public = self.default_public if public is None else public
        self.detail = detail
        self.quiet = False  # it has been reported before: debug level is enough
        super().__init__(f"{self.public}: {detail}" if detail else self.public)


class RemoteProtocolError(GatewayError):
    """The peer broke a protocol. ``status_hint`` is the HTTP status if no 101 was sent (400, 414,
    431, 501).

    ``close_hint`` is the WebSocket close code (RFC 6455 section 7.4.1) when 1002 says too little.
    """

    default_public = "protocol error"

    def __init__(
        self,
        public: str | None = None,
        *,
        detail: str = "",
        status_hint: int = 400,
        close_hint: int = 1002,
    ) -> None:
        super().__init__(public, detail=detail)
        self.status_hint = status_hint
        self.close_hint = close_hint


class UpgradeRefused(GatewayError):
    """The request cannot become a WebSocket (PROTOCOLS A.3 rows 8 and 9)."""

    default_public = "did not manage to upgrade"


class MethodRefused(GatewayError):
    """``allowed``: the methods that are (RFC 9110 section 15.5.6), by default what a controller may
    be asked.
    """

    default_public = "method not allowed"

    def __init__(
        self,
        public: str | None = None,
        *,
        detail: str = "",
        allowed: str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    ) -> None:
        super().__init__(public, detail=detail)
        self.allowed = allowed


class NotImplementedHere(GatewayError):
    default_public = "not implemented"


class UnsupportedMessage(RemoteProtocolError):
    """A text frame from an agent: remoting only ever sends binary ones."""

    default_public = "only binary messages are accepted here"


class MessageTooBig(RemoteProtocolError):
    default_public = "message too big"


class BodyTooBig(GatewayError):
    default_public = "body too big"


class MissingAgentHeaders(GatewayError):
    """PROTOCOLS A.3 row 1: the sentence is Jenkins' own."""

    default_public = "This endpoint is only for use from agent.jar in WebSocket mode"


class UnknownNode(GatewayError):
    """Only ever on the controller's word: what the gateway itself judges is NotAuthorized."""

    default_public = "no such agent"


class NotAuthorized(GatewayError):
    default_public = "not authorized"


class LockedOut(NotAuthorized):
    """Same answer as NotAuthorized, so that a caller cannot tell them apart."""


class Blocked(NotAuthorized):
    """An operator has blocked the node. Same answer: who asks has shown no secret yet."""


class Kicked(GatewayError):
    """An operator ended the session; the public text is the reason that was given."""

    default_public = "ended by an operator"


class CredentialsUnavailable(GatewayError):
    """What secrets are compared with cannot be read now: nobody can be let in, or told that his is
    wrong.
    """

    default_public = "credentials cannot be checked at the moment, try again"


class AlreadyConnected(GatewayError):
    default_public = "already connected"


class TakenOver(GatewayError):
    """Another connection, whose secret is proved, has the node now."""

    default_public = "another connection of this node took over"


class RouteNotFound(GatewayError):
    default_public = "no route for this path"


class HostNotServed(GatewayError):
    default_public = "this host is not served here"


class RequestTimeout(GatewayError):
    default_public = "the request did not arrive in time"


class LimitExceeded(GatewayError):
    default_public = "too many connections, try again later"


class Draining(GatewayError):
    default_public = "the gateway is shutting down, try again"


class ControllerUnreachable(GatewayError):
    """No answer, or none that can be used. ``for_agents`` picks 503, which agents wait out, over
    502.
    """

    default_public = "the controller cannot be reached"

    def __init__(
        self, public: str | None = None, *, detail: str = "", for_agents: bool = False
    ) -> None:
        super().__init__(public, detail=detail)
        self.for_agents = for_agents


class ControllerTimeout(GatewayError):
    default_public = "the controller did not answer in time"


class ControllerRefused(GatewayError):
    """The controller said ``ERROR:`` or ``FATAL:``; the public text is its own reason."""

    default_public = "the controller refused the connection"


class IdentityMismatch(GatewayError):
    """The controller's key is not the pinned one. Nothing secret has been sent to it."""

    default_public = "the controller's identity is not the expected one"


class ControllerClosed(GatewayError):
    default_public = "the controller closed the connection"


class PeerLost(GatewayError):
    """No byte for ``dead_after`` while we read, a reset, or an EOF without a Close frame."""

    default_public = "the connection was lost"


class Stalled(GatewayError):
    """A send made no progress for too long."""

    default_public = "a send made no progress"


class ClientGone(GatewayError):
    """The client left before its answer: nobody is there to be told, 499 is for the log only."""

    default_public = "the client closed the connection"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows from an error.

    ``status``: HTTP status before 101, or None where the error cannot happen then (it is then 500).
    ``close_code``: WebSocket close code after 101, or None where it cannot happen then (then 1011).
    ``level``: ``info``, ``warning`` or ``error``. ``silent``: no body, as Jenkins
    answers a wrong secret; the public text is one constant for whatever the gateway itself judged.
    """

    status: int | None
    close_code: int | None
    level: str
    silent: bool = False


_INTERNAL: Final = Outcome(500, 1011, "error")

OUTCOMES: Final[dict[type[GatewayError], Outcome]] = {
    RemoteProtocolError: Outcome(400, 1002, "info"),  # both are hints, see outcome_of
    UpgradeRefused: Outcome(400, 1002, "info"),
    MethodRefused: Outcome(405, None, "info"),
    NotImplementedHere: Outcome(501, None, "info"),
    UnsupportedMessage: Outcome(None, 1003, "info"),
    MessageTooBig: Outcome(413, 1009, "warning"),
    BodyTooBig: Outcome(413, 1009, "warning"),
    MissingAgentHeaders: Outcome(400, None, "info"),
    UnknownNode: Outcome(400, None, "warning"),
    NotAuthorized: Outcome(403, 1008, "warning", silent=True),
    LockedOut: Outcome(403, 1008, "warning", silent=True),
    Blocked: Outcome(403, 1008, "warning", silent=True),
    Kicked: Outcome(None, 1008, "warning"),
    CredentialsUnavailable: Outcome(503, 1011, "error"),
    AlreadyConnected: Outcome(400, None, "warning"),
    TakenOver: Outcome(None, 1008, "warning"),
    RouteNotFound: Outcome(404, None, "info"),
    HostNotServed: Outcome(421, None, "info"),
    RequestTimeout: Outcome(408, None, "info"),
    LimitExceeded: Outcome(503, 1013, "info"),
    Draining: Outcome(503, 1012, "info"),
    ControllerUnreachable: Outcome(502, 1011, "error"),  # 503 for agents, see outcome_of
    ControllerTimeout: Outcome(504, 1011, "error"),
    ControllerRefused: Outcome(400, None, "warning"),
    IdentityMismatch: Outcome(502, None, "error"),
    ControllerClosed: Outcome(None, 1000, "info"),
    PeerLost: Outcome(None, 1011, "warning"),
    Stalled: Outcome(None, 1011, "warning"),
    ClientGone: Outcome(499, None, "info"),
}


def outcome_of(error: BaseException) -> Outcome:
    """Say what follows from ``error``: its row, at level debug where it is ``quiet``."""
    outcome = _outcome_of(error)
    if isinstance(error, GatewayError) and error.quiet:
        return replace(outcome, level="debug")
    return outcome


def _outcome_of(error: BaseException) -> Outcome:
    """Say what follows from ``error``; anything that is not a GatewayError is an internal error.

    The three errors that carry a hint (RemoteProtocolError's statuses and codes,
    ControllerUnreachable's 503 for agents) are resolved here and nowhere else.
    """
    if isinstance(error, ControllerUnreachable) and error.for_agents:
        return Outcome(503, 1011, "error")
    for cls in type(error).__mro__:
        if cls is RemoteProtocolError:
            assert isinstance(error, RemoteProtocolError)
            return Outcome(error.status_hint, error.close_hint, OUTCOMES[cls].level)
        if cls in OUTCOMES:
            return OUTCOMES[cls]
    return _INTERNAL


def public_text(error: BaseException) -> str:
    """Return what a stranger may read about ``error``; internals are never described."""
    return error.public if isinstance(error, GatewayError) else GatewayError.default_public
