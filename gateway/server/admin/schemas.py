"""The forms of the API's answers, as JSON Schema 2020-12.

Owns: every field of every answer, with its unit. A test compares real answers with them, and
nothing may be in an answer that is not here.

Must not know: routes, where the values come from.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]


def _text(description: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"description": description} if description else {}), **more}


def _time(description: str) -> Schema:
    return _text(f"{description} ISO 8601, UTC.", format="date-time")


def _number(description: str) -> Schema:
    return {"type": "number", "description": description}


def _whole(description: str = "") -> Schema:
    return {"type": "integer", "description": description}


def _truth(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _list(items: Schema, description: str = "") -> Schema:
    return {"type": "array", "items": items, "description": description}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(description: str, fields: Schema, optional: Schema | None = None) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": {**fields, **(optional or {})},
        "required": list(fields),
        "additionalProperties": False,
    }


_PARTIAL: Final[Schema] = {
    "partial": _truth("Some workers did not answer in time; what they know is missing."),
    "missing_workers": _list(_whole(), "Process ids of those workers."),
}
_SESSION: Final[Schema] = {
    "session": _text("Id of the session, also in the log."),
    "controller": _text(),
    "node": _text("As the agent gave it: any text."),
    "client": _text("IP address of the agent, as far as proxies are believed."),
    "since": _time("Begin."),
    "suspect": _truth("The agent has not answered a ping in time."),
    "takeovers": _whole("Takeovers of the node in the last minutes."),
    "transport": _text("jnlp4 or websocket."),
    "controller_address": _text("The controller leg's other end."),
    "age_s": _number("Seconds."),
    "agent_idle_s": _number("Seconds since the last byte of the agent."),
    "controller_idle_s": _number("Seconds since the last byte of the controller."),
    "bytes_from_agent": _whole(),
    "bytes_to_agent": _whole(),
    "round_trip_ms": _or_null(_number("Of the last ping that was answered, milliseconds.")),
    "config_generation": _whole("Of the configuration under which it began."),
    "worker": _whole("Process id."),
}
_ENDED: Final = _list(
    _object(
        "A session that was told to end.",
        {
            "session": _text(),
            "controller": _text(),
            "node": _text(),
            "client": _text(),
            "worker": _whole(),
        },
    )
)
_WORKER: Final[Schema] = {
    "worker": _whole("Process id."),
    "slot": _whole(),
    "state": _text("starting, serving, lingering or stopping."),
    "incarnation": _whole("Which program started it; the first is 1."),
    "generation": _whole("Of the configuration it serves by."),
    "started": _or_null(_time("Begin.")),
    "linger_until": _or_null(_time("When its last sessions are ended.")),
    "sessions": _or_null(_whole("null where it did not answer.")),
    "connections": _or_null(_whole("null where it did not answer.")),
}


def _items(what: str, item: Schema, *, partial: bool = False, more: Schema | None = None) -> Schema:
    fields = {"items": _list(item), **(more or {}), **(_PARTIAL if partial else {})}
    return _object(what, fields)


SCHEMAS: Final[dict[str, Schema]] = {
    "Problem": _object(
        "What was wrong with a request (RFC 9457).",
        {
            "type": _text("urn:remoting-gateway:problem:KIND."),
            "title": _text(),
            "status": _whole(),
            "detail": _text("For people."),
            "instance": _text("urn:remoting-gateway:request:ID; the id is also in the log."),
        },
    ),
    "Health": _object("Whether it lives.", {"alive": _truth("true.")}),
    "Readiness": _object(
        "Whether it is ready for clients.",
        {
            "ready": _truth("The same as the status 200."),
            "reasons": _list(_text(), "Why not."),
            "warnings": _list(_text(), "What is wrong without keeping it from serving."),
            "checks": _object(
                "Each by itself.",
                {
                    "listeners": _truth("Bound, and a worker accepts."),
                    "configuration": _truth("A worker serves by the one in force."),
                    "not_draining": _truth("It is not about to end."),
                },
            ),
        },
    ),
    "Session": _object("A live session.", _SESSION),
    "OneSession": _object("A live session.", {**_SESSION, **_PARTIAL}),
    "Sessions": _items(
        "A page of live sessions.",
        _ref("Session"),
        partial=True,
        more={
            "total": _whole("Of all pages."),
            "offset": _whole("Of this page."),
            "limit": _whole("Of a page."),
            "left_out": _whole("Of all pages, that did not fit into a worker's answer."),
        },
    ),
    "Timeline": _items(
        "What happened to a node lately, oldest first.",
        {
            "type": "object",
            "description": "An event, with the fields of its kind.",
            "properties": {
                "time": _time("When."),
                "event": _text("opened, ended, refused or takeover."),
                "controller": _text(),
                "worker": _whole(),
            },
            "required": ["time", "event", "controller", "worker"],
        },
        partial=True,
        more={"node": _text()},
    ),
    "Ends": _items(
        "The last sessions that ended, the latest first.",
        _object(
            "A session that has ended, and what was seen last.",
            {
                "at": _time("When."),
                "session": _text(),
                "controller": _text(),
                "node": _text(),
                "client": _text("IP address of the agent."),
                "controller_address": _text(),
                "by": _text("Who ended it: agent, controller or gateway."),
                "how": _text("A word for programs, as in the log."),
                "reason": _text("For people."),
                "close_code": _or_null(_whole("Of the WebSocket's Close frame.")),
                "duration_s": _number("Seconds."),
                "bytes_from_agent": _whole(),
                "bytes_to_agent": _whole(),
                "agent_idle_s": _number("Seconds since the last byte of the agent."),
                "to_agent_idle_s": _number("Seconds since the last byte to it."),
                "controller_idle_s": _number("Seconds since the last byte of the controller."),
                "to_controller_idle_s": _number("Seconds since the last byte to it."),
                "round_trip_ms": _or_null(_number("Of the last ping, milliseconds.")),
                "config_generation": _whole("Of the configuration under which it began."),
                "worker": _whole("Process id."),
            },
        ),
        partial=True,
    ),
    "Ended": _object("The sessions that were told to end.", {"ended": _ENDED, **_PARTIAL}),
    "Block": _object(
        "A node that is kept out.",
        {
            "node": _text(),
            "controller": _or_null(_text("null: of every controller.")),
            "until": _or_null(_time("null: until it is unblocked.")),
            "since": _time("Begin."),
            "reason": _text(),
            "by": _text("Who blocked it."),
        },
    ),
    "Blocks": _items("The nodes that are kept out.", _ref("Block")),
    "Blocked": _object(
        "A block, and what followed.",
        {
            "block": _ref("Block"),
            "ended": _ENDED,
            "kept": _truth("It is in state_dir, and outlives a restart."),
            **_PARTIAL,
        },
    ),
    "Unblocked": _object(
        "The block that is gone.",
        {"block": _ref("Block"), "kept": _truth("state_dir says so, too."), **_PARTIAL},
    ),
    "Controllers": _items(
        "Each controller, as each worker knows it.",
        _object(
            "A controller.",
            {
                "name": _text(),
                "url": _or_null(_text()),
                "protocol": _text(),
                "sessions": _whole(),
                "workers": _list(
                    _object(
                        "What one worker knows; nothing was asked for this.",
                        {
                            "worker": _whole(),
                            "sessions": _whole(),
                            "addresses": _list(
                                _object(
                                    "An address of its url, best first.",
                                    {
                                        "address": _text(),
                                        "up": _truth("By the last checks, where there are any."),
                                        "ejected": _truth("It failed requests, and comes last."),
                                        "failures": _whole("Of requests, in a row."),
                                    },
                                )
                            ),
                            "transport": _or_null(
                                _object(
                                    "How agents get there; null: no agent came yet.",
                                    {"transport": _or_null(_text()), "reason": _text()},
                                )
                            ),
                            "agent_port": _or_null(
                                _object(
                                    "Its agent port; null: no agent came yet.",
                                    {"address": _or_null(_text())},
                                    {
                                        "reason": _text("Why there is none."),
                                        "identity": _or_null(_text("Fingerprint of its key.")),
                                        "minimum_version": _or_null(_text("Of remoting.")),
                                    },
                                )
                            ),
                        },
                    )
                ),
            },
        ),
        partial=True,
    ),
    "Fingerprints": _items(
        "Idle timers found on the ways to agents and controllers.",
        _object(
            "A timer, as one worker has found it.",
            {
                "controller": _text(),
                "leg": _text("agent or controller."),
                "network": _text("Where the other ends are."),
                "measure": _text("What it counts: idle, received, sent or age."),
                "seconds": _number("After which it cuts."),
                "count": _whole("Sessions that it cut."),
                "total": _whole("Of so many that were cut."),
                "first_at": _whole("Unix time."),
                "last_at": _whole("Unix time."),
                "ping_interval_s": _or_null(_number("Seconds.")),
                "known": _text("Products that have such a timer."),
                "chance": _number("Of so many by accident."),
                "text": _text("All of that as a sentence, with a remedy."),
                "worker": _whole(),
            },
        ),
        partial=True,
    ),
    "Certificates": _items(
        "The certificates that listeners show, the soonest to expire first.",
        _object(
            "A certificate file.",
            {
                "used_by": _text("listeners[N] or admin."),
                "file": _text(),
                "subject": _or_null(_text()),
                "issuer": _or_null(_text()),
                "names": _list(_text(), "Host names and addresses that it is for."),
                "begins": _or_null(_time("Begin.")),
                "expires": _or_null(_time("End; of the file's first to expire.")),
                "expires_in_s": _or_null(_whole("Seconds; negative afterwards.")),
                "sha256": _or_null(_text("Fingerprint.")),
                "problem": _or_null(_text("Why it is not good.")),
            },
        ),
    ),
    "Configuration": _object(
        "The configuration in force, defaults included, secrets as ***.",
        {
            "generation": _whole("Its number."),
            "configuration": {"type": "object", "description": "As of `remoting-gateway schema`."},
        },
    ),
    "Reload": _object(
        "How a reload went.",
        {
            "at": _time("When."),
            "trigger": _text(),
            "generation": _whole("Of the configuration in force afterwards."),
            "ok": _truth("The new configuration is in force."),
            "reason": _or_null(_text("Why the old one stays.")),
        },
    ),
    "Reloads": _items("The last 50 reloads, the latest first.", _ref("Reload")),
    "Drain": _object(
        "How far the end has come.",
        {
            "draining": _truth("The gateway is about to end."),
            "within_s": _number("At most so long from its begin, seconds."),
            "sessions": _whole("That are left."),
            "connections": _whole("That are left."),
            "workers": _whole("That are left."),
            **_PARTIAL,
        },
    ),
    "Worker": _object("A worker.", _WORKER),
    "Workers": _items(
        "The workers.",
        _ref("Worker"),
        partial=True,
        more={"restarts": _whole("Workers that were replaced.")},
    ),
    "LogLevel": _object(
        "The level of the log.",
        {
            "level": _text("debug, info, warning or error."),
            "until": _or_null(_time("When it goes back; null: it does not.")),
        },
    ),
    "LogLevelSet": _object(
        "The level of the log, as it was set.",
        {
            "level": _text("debug, info, warning or error."),
            "until": _or_null(_time("When it goes back; null: it does not.")),
            **_PARTIAL,
        },
    ),
    "Version": _object(
        "Which program this is.",
        {"name": _text(), "version": _text(), "process": _whole("Id of the supervisor.")},
    ),
}
