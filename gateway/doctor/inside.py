"""What only a gateway's own configuration and machine can tell (``doctor -c FILE``).

Owns: the configuration and its warnings, state_dir, listeners, and the interval of pings. What the
gateway that runs there knows is in ``inside_running``, controllers in ``inside_controllers``.

Must not know: the path from outside.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.config.load import Loaded, load
from gateway.config.models import GatewayConfig, ListenerConfig
from gateway.doctor.case import Subject
from gateway.doctor.causes import Cause
from gateway.doctor.findings import Finding, Setting, error, warning
from gateway.doctor.remedies import GATEWAY
from gateway.errors import ConfigError
from gateway.observability.known_timers import KNOWN_TIMERS, Counts


@dataclass(slots=True)
class Inside(Subject):
    """A gateway's configuration in ``path``; ``status``: of the one that runs, if one does.

    ``node``: whether it is blocked, and why it was refused, is looked at. ``is_shut``: one runs
    that may not be asked.
    """

    path: Path
    node: str | None = None
    loaded: Loaded | None = None
    status: Mapping[str, Any] | None = None
    is_shut: bool = False

    @property
    def config(self) -> GatewayConfig:
        assert self.loaded is not None  # what needs it is left out otherwise
        return self.loaded.config


async def check_configuration(inside: Inside) -> list[Finding]:
    """Load the file as ``check`` does, certificates included."""
    from gateway.transport.tls_context import ServerContexts

    try:
        inside.loaded = load(inside.path)
        for listener in inside.loaded.config.listeners:
            if listener.tls is not None:
                ServerContexts(listener.tls)
    except ConfigError as problem:
        inside.note("cannot be used")
        return [
            error(
                Cause.CONFIGURATION,
                "the configuration cannot be used",
                seen=str(problem).splitlines()[:5],
                meaning="The gateway does not start with it; one that runs keeps the old one.",
                remedy=f"Mend the line named above, then: remoting-gateway check -c {inside.path}",
            )
        ]
    inside.note(f"{inside.path} is valid")
    return [_warned(each) for each in inside.loaded.warnings]


def _warned(text: str) -> Finding:
    """Return the finding for a warning of the configuration's own checks."""
    if "expired on" in text:
        return error(
            Cause.CERTIFICATE_EXPIRED,
            "a certificate of the gateway has expired",
            seen=text,
            meaning="Agents refuse it.",
            remedy="Renew it; a new file is in force within two seconds.",
        )
    if "expires soon" in text:
        return warning(
            Cause.CERTIFICATE_ENDS_SOON,
            "a certificate of the gateway ends soon",
            seen=text,
            meaning="From then on no agent gets in.",
            remedy="Renew it now, and find out why nothing has done so by itself.",
        )
    if "PKIX" in text:
        return warning(
            Cause.INTERMEDIATE_MISSING,
            "a certificate file of the gateway holds no intermediate",
            seen=text,
            meaning='Java refuses it: "PKIX path building failed".',
            remedy="Append the intermediate to the file.",
        )
    return warning(
        Cause.CONFIGURATION,
        "the configuration may not mean what it says",
        seen=text,
        meaning="The gateway runs with it all the same.",
        remedy="Look at the line named above.",
    )


async def check_state_dir(inside: Inside) -> list[Finding]:
    """Look at the permissions of state_dir: it holds keys, pins and the control socket."""
    folder: Path = inside.config.state_dir
    try:
        found = os.stat(folder)
    except FileNotFoundError:
        inside.note(f"{folder} is not there yet")
        return []
    except OSError as problem:
        inside.note(f"{folder}: {problem.strerror}")
        return [_unusable(folder, str(problem.strerror))]
    inside.note(f"{folder}, mode {stat.S_IMODE(found.st_mode):04o}")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return [_unusable(folder, "this user may not read and write it")]
    if found.st_mode & 0o077:
        return [
            warning(
                Cause.STATE_DIR,
                "others than the gateway may get into state_dir",
                seen=f"{folder} has mode {stat.S_IMODE(found.st_mode):04o}",
                meaning="It holds private keys, pinned identities and the control socket.",
                remedy=f"chmod 0700 {folder}",
            )
        ]
    return []


def _unusable(folder: Path, reason: str) -> Finding:
    return error(
        Cause.STATE_DIR,
        "state_dir cannot be used",
        seen=f"{folder}: {reason}",
        meaning="The gateway cannot keep identities and cookies, or does not start.",
        remedy=f"chown it to the gateway's user, mode 0700; and run the doctor as that user."
        f" Look: ls -ld {folder}",
    )


async def check_listeners(inside: Inside) -> list[Finding]:
    """Find out whether each listener's address is ours, or free to bind."""
    if inside.is_shut:
        inside.note("not known: the gateway that runs cannot be asked which are its own")
        return []
    ours = _ports(inside.status)
    findings, said = [], []
    for listener in inside.config.listeners:
        address = str(listener.address)
        if listener.address.port in ours:
            said.append(f"{address} is ours")
            continue
        reason = _why_not(listener)
        said.append(f"{address} is free" if reason is None else f"{address}: {reason[1]}")
        if reason is not None:
            findings.append(_taken(listener, *reason))
    inside.note("; ".join(said))
    return findings


def _ports(status: Mapping[str, Any] | None) -> set[int]:
    texts = (status or {}).get("listeners", [])
    return {int(text.rpartition(":")[2]) for text in texts if text.rpartition(":")[2].isdigit()}


def _why_not(listener: ListenerConfig) -> tuple[int, str] | None:
    """Return number and words of the error that binding brings about; None if it works."""
    host, port = listener.address.host, listener.address.port
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen(1)
    except OSError as problem:
        return problem.errno or 0, (problem.strerror or str(problem)).lower()
    return None


def _taken(listener: ListenerConfig, number: int, words: str) -> Finding:
    address = listener.address
    remedy = f"Find out who has it: ss -ltnp | grep :{address.port}"
    if number == errno.EACCES:
        remedy = (
            f"Ports below 1024 need a privilege: AmbientCapabilities=CAP_NET_BIND_SERVICE in the"
            f" unit, or a port above instead of {address.port}."
        )
    elif number == errno.EADDRNOTAVAIL:
        remedy = f"This machine has no address {address.host}: mend the listener's address."
    return error(
        Cause.LISTENER_TAKEN,
        f"the gateway cannot listen on {address}",
        seen=f"{address}: {words}",
        meaning="It does not start, or another program gets what is meant for it.",
        remedy=remedy,
    )


async def check_interval(inside: Inside) -> list[Finding]:
    """Compare the interval of pings with the idle timers that are known."""
    interval = inside.config.agents.keepalive.interval
    late = [
        timer
        for timer in KNOWN_TIMERS
        if timer.counts is Counts.IDLE and timer.seconds <= interval + 1
    ]
    inside.note(f"pings after {interval:g} s of silence")
    if not late:
        return []
    names = ", ".join(f"{timer.name} ({timer.seconds:g} s)" for timer in late)
    return [
        warning(
            Cause.PING_INTERVAL,
            f"pings every {interval:g} s come too late for some idle timers",
            seen=f"agents.keepalive.interval: {interval:g}s; known timers: {names}",
            meaning="Behind one of these, sessions are cut again and again.",
            remedy="Set agents.keepalive.interval to 20s, the default.",
            settings=(Setting(GATEWAY, "agents: {keepalive: {interval: 20s}}"),),
        )
    ]
