"""What ``remoting-gateway sessions`` shows: the agents' sessions of all workers, or a node's past.

Owns: putting the workers' answers together, and the names of the values, which programs may rely
on.

Must not know: sessions, how the answers come about.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from gateway.server.control import Message
from gateway.server.fleet import Fleet

# As many as one worker remembers of a node.
MOST_EVENTS: Final = 50


async def list_sessions(fleet: Fleet, node: str | None = None) -> Message:
    """Return every live session, by controller and node, or those of ``node``.

    ``silent`` are the workers that did not answer. Times are ISO 8601, UTC.
    """
    answers = await fleet.ask_all("sessions")
    found = [
        {**each, "since": _time(each["since"]), "worker": child.process.pid}
        for child, answer in answers.items()
        for each in answer.get("sessions", ())
        if node is None or each["node"] == node
    ]
    found.sort(key=lambda each: (each["controller"], each["node"], each["since"]))
    silent = [child.process.pid for child, answer in answers.items() if "sessions" not in answer]
    return {"sessions": found, "silent": sorted(silent)}


async def node_timeline(fleet: Fleet, node: str) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the last events of ``node``, oldest first; at most 50 for each controller.

    Each says which controller and worker it was. Second: the workers that did not answer.
    """
    by_controller: dict[str, list[dict[str, Any]]] = {}
    answers = await fleet.ask_all("timeline", node=node)
    for child, answer in answers.items():
        for event in answer.get("events", ()):
            event["worker"] = child.process.pid
            by_controller.setdefault(event["controller"], []).append(event)
    events = []
    for each in by_controller.values():
        each.sort(key=lambda event: event["time"])  # all of one form, in UTC
        events += each[-MOST_EVENTS:]
    silent = [child.process.pid for child, answer in answers.items() if "events" not in answer]
    return sorted(events, key=lambda event: event["time"]), sorted(silent)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
