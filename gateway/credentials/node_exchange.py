"""Nodes as JSON: for ``nodes list|show --json`` and export; and which names and secrets there are.

Owns: the two forms. An exported node has digests and sealed secrets, worth nothing without the key
file. What is listed has neither.

Must not know: files, the store.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final

from gateway.credentials.conditions import format_time
from gateway.credentials.issuing import NodeError
from gateway.credentials.nodes import Credential, Node

FORMAT: Final = "remoting-gateway nodes 1"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_VALUE: Final = 1024  # bytes, as the endpoint takes them
_SHORTEST_SECRET: Final = 32  # characters: what somebody could guess needs another kind of digest


def check_name(name: str) -> str:
    """Return a node name that an agent can send; NodeError otherwise (PROTOCOLS A.2)."""
    if not name or len(name) > _MAX_VALUE or _CONTROL.search(name) or not _is_latin(name):
        raise NodeError(
            "NODE: allowed: a name of up to 1024 ISO-8859-1 characters, none of them a control"
            " character; agents can send no others"
        )
    if name != name.strip():
        raise NodeError(
            "NODE: allowed: a name without white space around it; Jenkins knows no others"
        )
    return name


def check_secret(secret: str, what: str) -> str:
    """Return a secret that an agent can send; NodeError, without it, otherwise."""
    if _CONTROL.search(secret) or not _is_latin(secret) or len(secret) > _MAX_VALUE:
        raise NodeError(f"{what}: allowed: one line of ISO-8859-1 characters, such as 64 of hex")
    if len(secret) < _SHORTEST_SECRET:
        raise NodeError(
            f"{what}: allowed: {_SHORTEST_SECRET} characters or more, of chance; a shorter one"
            " could be guessed from its digest"
        )
    return secret


def _is_latin(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def state_of(node: Node, now: float) -> str:
    """Return a word for what the node may do now."""
    if node.revoked_at is not None:
        return "revoked"
    conditions = node.conditions
    if conditions.valid_until is not None and now >= conditions.valid_until:
        return "expired"
    if conditions.valid_from is not None and now < conditions.valid_from:
        return "not yet valid"
    return "rotating" if len(node.valid_credentials(now)) > 1 else "active"


def to_listing(node: Node, now: float) -> dict[str, Any]:
    """Return what may be shown of a node."""
    return {
        **_common(node),
        "state": state_of(node, now),
        "upstream_secret": "stored" if node.upstream is not None else "computed",
        "credentials": [
            {"id": each.id, "key": each.key_id, **_times(each)}
            for each in node.credentials
            if each.is_valid(now)
        ],
    }


def to_export(node: Node) -> dict[str, Any]:
    """Return all of a node."""
    sealed = node.upstream
    return {
        **_common(node),
        "upstream": None if sealed is None else {"key": sealed.key_id, "data": _b64(sealed.data)},
        "credentials": [
            {"digest": _b64(each.digest), "key": each.key_id, **_times(each)}
            for each in node.credentials
        ],
    }


def _common(node: Node) -> dict[str, Any]:
    conditions = node.conditions
    certificate = conditions.certificate
    return {
        "controller": node.controller,
        "node": node.name,
        "note": node.note,
        "created_at": format_time(node.created_at),
        "revoked_at": _time_or_none(node.revoked_at),
        "valid_from": _time_or_none(conditions.valid_from),
        "valid_until": _time_or_none(conditions.valid_until),
        "allow_from": [str(network) for network in conditions.allow_from],
        "certificate": None
        if certificate is None
        else {"by": certificate.by, "name": certificate.name},
    }


def _times(credential: Credential) -> dict[str, Any]:
    return {
        "issued_at": format_time(credential.issued_at),
        "expires_at": _time_or_none(credential.expires_at),
        "first_used_at": _time_or_none(credential.first_used_at),
    }


def _time_or_none(time: float | None) -> str | None:
    return None if time is None else format_time(time)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
