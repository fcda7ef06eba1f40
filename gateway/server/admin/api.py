"""The API: ``/api/v1``.

Owns: which operation has which path. Questions are GET, whatever changes something is POST with a
JSON body, so that no link, form or image of another site can bring it about.

Must not know: how operations are carried out.

Nodes stand in bodies and queries rather than in paths where something is done to them: their names
are anybody's text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from gateway.server.admin.messages import AdminRequest, Answer, Problem
from gateway.server.admin.routes import Parameter, Route, RouteHandler
from gateway.server.control import Message
from gateway.server.operations import Operations, Refused
from gateway.server.session_query import (
    DEFAULT_A_PAGE,
    LONGEST_PATTERN,
    MOST_A_PAGE,
    SORTS,
    SessionQuery,
)
from gateway.server.wishes import (
    BlockWish,
    DrainWish,
    Kick,
    LevelWish,
    Nothing,
    Takeover,
    UnblockWish,
)

BASE: Final = "/api/v1"
TRIGGER: Final = "admin API"

_STATUSES: Final = {"not-found": 404, "conflict": 409, "unavailable": 503}

_FILTERS: Final = (
    Parameter("controller", "Only of this controller.", {"type": "string"}),
    Parameter(
        "node",
        f"Only nodes that fit this pattern: * and ? stand for any text and any character, as in"
        f" file names. At most {LONGEST_PATTERN} characters.",
    ),
    Parameter("state", "Only these.", {"type": "string", "enum": ["live", "suspect"]}),
    Parameter("transport", "Only these.", {"type": "string", "enum": ["jnlp4", "websocket"]}),
    Parameter("address", "Only agents from this IP address or network (10.0.0.0/8)."),
    Parameter("search", "Only where node, controller, client or id hold this text."),
    Parameter(
        "sort",
        "By what; with - in front in descending order. Default: controller.",
        {"type": "string", "enum": list(SORTS)},
    ),
    Parameter(
        "offset",
        "Sessions to leave out. Default: 0.",
        {"type": "integer", "minimum": 0, "maximum": 1_000_000},
    ),
    Parameter(
        "limit",
        f"Of one page. Default: {DEFAULT_A_PAGE}.",
        {"type": "integer", "minimum": 1, "maximum": MOST_A_PAGE},
    ),
)


def _asks(
    operation: Callable[[AdminRequest], Awaitable[Message]], status: int = 200
) -> RouteHandler:
    """Return a handler that answers with what ``operation`` returns."""

    async def handle(request: AdminRequest) -> Answer:
        try:
            return Answer.json(await operation(request), status)
        except Refused as refusal:
            raise Problem(_STATUSES[refusal.kind], refusal.kind, refusal.reason) from None

    return handle


def _query(request: AdminRequest) -> SessionQuery:
    try:
        return SessionQuery.model_validate(dict(request.query))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Problem(400, "bad-parameter", f"{where}: {first['msg']}") from None


def api_routes(on: Operations) -> tuple[Route, ...]:
    """Return the routes of all operations."""

    def get(
        path: str,
        name: str,
        summary: str,
        answer: str,
        operation: Callable[[AdminRequest], Awaitable[Message]],
        **more: Any,
    ) -> Route:
        return Route("GET", BASE + path, name, summary, _asks(operation), answer, **more)

    def post(
        path: str,
        name: str,
        summary: str,
        answer: str,
        body: type[BaseModel],
        operation: Callable[[AdminRequest], Awaitable[Message]],
        *,
        status: int = 200,
        **more: Any,
    ) -> Route:
        handle = _asks(operation, status)
        return Route(
            "POST",
            BASE + path,
            name,
            summary,
            handle,
            answer,
            body=body,
            status=status,
            **more,
        )

    return (
        get(
            "/sessions",
            "listSessions",
            "Live sessions of agents",
            "Sessions",
            lambda request: on.sessions(_query(request)),
            parameters=_FILTERS,
            tag="sessions",
        ),
        get(
            "/sessions/{session}",
            "getSession",
            "One session",
            "OneSession",
            lambda request: on.session(request.path["session"]),
            parameters=(Parameter("session", "Its id.", in_path=True),),
            tag="sessions",
            problems=(404,),
        ),
        get(
            "/nodes/{node}/timeline",
            "getTimeline",
            "What happened to a node lately",
            "Timeline",
            lambda request: on.timeline(request.path["node"]),
            parameters=(
                Parameter("node", "Its name, percent-encoded (a/b is a%2Fb).", in_path=True),
            ),
            tag="sessions",
        ),
        get(
            "/ends",
            "listEnds",
            "How the last sessions ended",
            "Ends",
            lambda request: on.ends(),
            description="The last 50, as long as the workers that had them live.",
            tag="sessions",
        ),
        post(
            "/kick",
            "kick",
            "End sessions",
            "Ended",
            Kick,
            lambda request: on.kick(request.body, request.caller),
            description="The agents come back by themselves; `block` keeps them out.",
            tag="sessions",
            problems=(404,),
        ),
        post(
            "/takeover",
            "takeOver",
            "End sessions so that a newcomer may have the node",
            "Ended",
            Takeover,
            lambda request: on.take_over(request.body, request.caller),
            description="What `takeover: always` would do for the next that comes.",
            tag="sessions",
            problems=(404,),
        ),
        get(
            "/blocks",
            "listBlocks",
            "Nodes that are kept out",
            "Blocks",
            lambda request: on.blocks(),
            tag="blocks",
        ),
        post(
            "/blocks",
            "block",
            "Keep a node out",
            "Blocked",
            BlockWish,
            lambda request: on.block(request.body, request.caller),
            description="Outlives reloads, upgrades and restarts. A second one replaces the first.",
            tag="blocks",
            problems=(404, 409),
        ),
        post(
            "/blocks/remove",
            "unblock",
            "Let a node in again",
            "Unblocked",
            UnblockWish,
            lambda request: on.unblock(request.body, request.caller),
            tag="blocks",
            problems=(404,),
        ),
        get(
            "/controllers",
            "listControllers",
            "Controllers, their addresses and how agents get there",
            "Controllers",
            lambda request: on.controllers(),
            tag="controllers",
        ),
        get(
            "/fingerprints",
            "listFingerprints",
            "Idle timers found on the ways",
            "Fingerprints",
            lambda request: on.fingerprints(),
            tag="controllers",
        ),
        get(
            "/certificates",
            "listCertificates",
            "Certificates and when they expire",
            "Certificates",
            lambda request: on.certificates(),
            tag="gateway",
            problems=(503,),
        ),
        get(
            "/config",
            "getConfiguration",
            "The configuration in force",
            "Configuration",
            lambda request: on.configuration(),
            tag="gateway",
        ),
        get(
            "/reloads",
            "listReloads",
            "How the last reloads went",
            "Reloads",
            lambda request: on.reloads(),
            tag="gateway",
        ),
        post(
            "/reload",
            "reload",
            "Load the configuration and certificates again",
            "Reload",
            Nothing,
            lambda request: on.reload(TRIGGER, request.caller),
            description="409: it cannot be used, and the old one stays in force.",
            tag="gateway",
            problems=(409,),
        ),
        get(
            "/drain",
            "getDrain",
            "How far the end has come",
            "Drain",
            lambda request: on.drain_progress(),
            tag="gateway",
        ),
        post(
            "/drain",
            "drain",
            "End the gateway in order",
            "Drain",
            DrainWish,
            lambda request: on.drain(TRIGGER, request.caller),
            status=202,
            tag="gateway",
        ),
        get(
            "/workers",
            "listWorkers",
            "Worker processes",
            "Workers",
            lambda request: on.workers(),
            tag="gateway",
        ),
        get(
            "/log-level",
            "getLogLevel",
            "The level of the log",
            "LogLevel",
            lambda request: on.log_level(),
            tag="gateway",
        ),
        post(
            "/log-level",
            "setLogLevel",
            "Log from another level on, in all processes, at once",
            "LogLevelSet",
            LevelWish,
            lambda request: on.set_log_level(request.body, request.caller),
            tag="gateway",
        ),
        get(
            "/version",
            "getVersion",
            "Which program this is",
            "Version",
            lambda request: on.version(),
            tag="gateway",
        ),
    )
