"""What ``remoting-gateway status`` shows.

Owns: the names of the values, which programs may rely on, and the words for what a gateway does.

Must not know: how any of it comes about.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime

from gateway import __version__
from gateway.server.control import Message
from gateway.server.fleet import Fleet
from gateway.server.reloader import Reload


async def describe(
    fleet: Fleet,
    *,
    configuration: str,
    last_reload: Reload | None,
    started: float,
    draining: object,
    admin: str | None = None,
) -> Message:
    """Return everything that is known of a running gateway. Times are ISO 8601, UTC.

    ``sessions`` and ``connections`` of a worker that did not answer are None, and not in the sums.
    """
    in_force = fleet.in_force
    workers = [
        {
            "worker": child.process.pid,
            "slot": child.slot,
            "state": child.state.value,
            "incarnation": child.incarnation,
            "generation": child.generation,
            "started": _time(child.started),
            "linger_until": _time(child.linger_until),
            "sessions": answer.get("sessions"),
            "connections": answer.get("connections"),
        }
        for child, answer in (await fleet.statuses()).items()
    ]
    return {
        "state": "draining" if draining else _state(fleet),
        "ready": not draining and fleet.is_serving,
        "version": __version__,
        "process": os.getpid(),
        "started": _time(started),
        "incarnation": fleet.incarnation,
        "upgraded": fleet.incarnation > 1 and fleet.is_settled,
        "generation": in_force.generation,
        "state_dir": str(in_force.config.state_dir),
        "configuration": configuration,
        "last_reload": None
        if last_reload is None
        else {**asdict(last_reload), "ok": last_reload.ok},
        "listeners": fleet.addresses,
        "admin": admin,
        "sessions": sum(each["sessions"] or 0 for each in workers),
        "connections": sum(each["connections"] or 0 for each in workers),
        "restarts": fleet.restarts,
        "workers": sorted(workers, key=lambda each: (each["incarnation"], each["slot"])),
    }


def _state(fleet: Fleet) -> str:
    if not fleet.is_settled:
        return "starting" if fleet.incarnation == 1 else "upgrading"
    return "serving" if fleet.is_serving else "recovering"


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
