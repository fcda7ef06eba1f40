"""What a worker answers to operators' questions.

Owns: the questions besides those of everyday life (``orders``): ending sessions, what is known of
controllers, idle timers, and what operators have set.

Must not know: who asks, what the other workers say. Everything here is at hand: nothing waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.agents.blocks import Block
from gateway.agents.discovery import AgentPort
from gateway.agents.registry import Entry
from gateway.agents.transport import Choice
from gateway.config.keys import fingerprint
from gateway.errors import GatewayError
from gateway.observability.logs import DEFAULT_LEVEL, LEVELS, get_logger, set_level
from gateway.runtime.session_end import SessionEnd
from gateway.server.generation import Generation, Lasting

_log = get_logger("system")

# What a takeover by an operator is called in timelines, where a newcomer's address stands else.
OPERATOR: Final = "an operator"


class Answers:
    """The answers of one worker."""

    def __init__(self, lasting: Lasting, current: Callable[[], Generation]) -> None:
        self._lasting = lasting
        self._current = current
        self._level = DEFAULT_LEVEL

    def answer(self, question: str, message: Mapping[str, Any]) -> dict[str, Any] | None:
        """Answer ``question``; None for one that is not known."""
        try:
            if question == "end":
                return {"ended": self._end(message)}
            if question == "controllers":
                return {"controllers": self._controllers()}
            if question == "fingerprints":
                return {"findings": self._lasting.history.findings()}
            if question == "settings":
                self.take_settings(message["settings"])
                return {"taken": True}
        # Of a supervisor of another version.
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return {"error": f"the question is not understood ({type(error).__name__})"}
        return None

    def take_settings(self, settings: Mapping[str, Any]) -> None:
        """Take what operators have set. Raises KeyError, TypeError, ValueError."""
        self._lasting.blocks.replace(map(Block.of_words, settings.get("blocks", ())))
        level = settings.get("log_level") or DEFAULT_LEVEL
        if level != self._level and level in LEVELS:
            self._level = level
            set_level(level)

    def _end(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        """End the sessions that are meant; return them."""
        ended = []
        for entry in self._lasting.registry.entries():
            if not entry.session.is_running or not _is_meant(entry, message):
                continue
            if message.get("takeover"):
                self._lasting.history.given_up(entry, OPERATOR, str(message["reason"]))
                entry.session.end(SessionEnd.taken_over(OPERATOR))
            else:
                end = SessionEnd.kicked(str(message["reason"]), int(message["close_code"]))
                entry.session.end(end)
            ended.append(
                {
                    "session": entry.id,
                    "controller": entry.controller,
                    "node": entry.node,
                    "client": entry.client,
                }
            )
        return ended

    # -- controllers -------------------------------------------------------------------------------

    def _controllers(self) -> dict[str, Any]:
        generation = self._current()
        counts: dict[str, int] = {}
        for entry in self._lasting.registry.entries():
            counts[entry.controller] = counts.get(entry.controller, 0) + 1
        found: dict[str, Any] = {}
        for name in generation.config.controllers:
            upstream = generation.upstreams.get(name)
            found[name] = {
                "sessions": counts.get(name, 0),
                "addresses": [] if upstream is None else upstream.known_addresses(),
                "transport": _transport(self._lasting.transports.known(name)),
                "agent_port": _agent_port(self._lasting.discovery.known(name)),
            }
        return found


def _is_meant(entry: Entry, message: Mapping[str, Any]) -> bool:
    wanted = {"session": entry.id, "controller": entry.controller, "node": entry.node}
    named = {name: message[name] for name in wanted if message.get(name) is not None}
    # A question that names nothing would mean everybody.
    return bool(named.keys() & {"session", "node"}) and named.items() <= wanted.items()


def _transport(known: Choice | GatewayError | None) -> dict[str, Any] | None:
    if known is None:
        return None
    if isinstance(known, GatewayError):
        return {"transport": None, "reason": known.detail or known.public}
    return {"transport": known.transport.value, "reason": known.reason}


def _agent_port(known: AgentPort | GatewayError | None) -> dict[str, Any] | None:
    if known is None:
        return None
    if isinstance(known, GatewayError):
        return {"address": None, "reason": known.detail or known.public}
    return {
        "address": str(known.address),
        "identity": None if known.identity is None else fingerprint(known.identity),
        "minimum_version": known.minimum_version,
    }
