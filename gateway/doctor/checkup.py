"""The checks in their order, and when each of them makes sense.

Owns: the list. Must not know: how a check does its work.
"""

from __future__ import annotations

from typing import Final

from gateway.doctor.case import Case
from gateway.doctor.check_agent import check_endpoint, check_secret, check_upgrade
from gateway.doctor.check_cli import check_buffering, check_origin
from gateway.doctor.check_hold import check_hold, check_ping
from gateway.doctor.check_network import check_addresses
from gateway.doctor.check_pages import check_clock, check_login
from gateway.doctor.check_paths import check_forwarded, check_header_limit, check_slashes
from gateway.doctor.check_port import check_agent_port, check_discovery, check_identity
from gateway.doctor.check_tls import check_tls
from gateway.doctor.runner import Check

_NOBODY: Final = "no agent to play: give --node and --secret-file"


def _not_reached(case: Case) -> str | None:
    """Say why the discovery document makes no sense: what answers is not Jenkins."""
    return None if case.is_ready or case.held_back else "nothing of Jenkins answers"


def _no_port(case: Case) -> str | None:
    return None if case.agent_port is not None else "no agent port is published"


def _no_contact(case: Case) -> str | None:
    if case.port_trouble is not None:
        return "the agent port was not reached"
    return _no_port(case)


def _no_agent(case: Case) -> str | None:
    question = case.question
    if question.node is None or question.secret is None:
        return _NOBODY
    if question.tcp:
        return "the agent comes over TCP (--tcp)"
    return None if question.session else "no session is to be opened (--no-session)"


def _no_secret(case: Case) -> str | None:
    question = case.question
    if question.node is None or question.secret is None:
        return _NOBODY
    return "a session tells" if question.session and not question.tcp else None


def _an_agent(case: Case) -> str | None:
    if case.question.tcp:
        return "the agent comes over TCP (--tcp)"
    return "as an agent, below" if _no_agent(case) is None else None


def _no_hold(case: Case) -> str | None:
    return None if case.question.hold > 0 else "not wanted (--hold 0)"


CHECKS: Final[tuple[Check[Case], ...]] = (
    Check("addresses", "name and addresses", check_addresses),
    Check("tls", "TLS and certificates", check_tls, needs=("addresses",)),
    Check("login", "/login, as an agent asks", check_login, needs=("tls",)),
    Check("discovery", "the discovery document", check_discovery, ("tls",), _not_reached),
    Check("agent port", "the TCP agent port", check_agent_port, ("tls",), _no_port),
    Check("identity", "the agent port's key", check_identity, ("tls",), _no_contact),
    Check("endpoint", "/wsagents/", check_endpoint, ("login",), _an_agent),
    Check("secret", "the secret, without a session", check_secret, ("login",), _no_secret),
    Check("slashes", "%2F in paths", check_slashes, ("login",)),
    Check("headers", "large request headers", check_header_limit, ("login",)),
    Check("forwarded", "forwarded headers", check_forwarded, ("login",)),
    Check("cli", "the CLI's WebSocket", check_origin, ("login",)),
    Check("buffering", "the CLI over HTTP: buffering", check_buffering, ("login",)),
    Check("clock", "the clocks", check_clock, ("login",)),
    # Last, and one after the other: a session that nobody reads cannot be judged.
    Check("upgrade", "/wsagents/, as the agent", check_upgrade, ("login",), _no_agent),
    Check("ping", "ping and pong", check_ping, ("upgrade",)),
    Check("hold", "the session while idle", check_hold, ("ping",), _no_hold, holds=True),
)
