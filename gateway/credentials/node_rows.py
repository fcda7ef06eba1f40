"""Rows of the node store's tables as records.

Owns: telling what is damaged. A disk, an editor or a bug may have put anything into a row: what has
not the type that was written raises ValueError or TypeError, so that nothing odd is judged by.

Must not know: statements, connections.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any, TypeVar

from gateway.config.credentials import ClientCertificateCondition
from gateway.credentials.conditions import Conditions
from gateway.credentials.nodes import AuditEntry, Credential, Node
from gateway.credentials.store_keys import Sealed

_T = TypeVar("_T")


def read_node(row: tuple[Any, ...], credentials: tuple[tuple[Any, ...], ...]) -> Node:
    """Return a node. Raises ValueError, TypeError."""
    _, controller, name, created_at, revoked_at, note, allow_from, by, bound, *rest = row
    valid_from, valid_until, key_id, upstream = rest
    return Node(
        _checked(controller, str),
        _checked(name, str),
        _time(created_at),
        Conditions(
            tuple(map(ipaddress.ip_network, _list_of_text(allow_from))),
            None if by is None else ClientCertificateCondition(by=by, name=bound),
            _time_or_none(valid_from),
            _time_or_none(valid_until),
        ),
        _time_or_none(revoked_at),
        _checked(note, str),
        None if upstream is None else Sealed(_checked(key_id, str), _checked(upstream, bytes)),
        tuple(map(_credential, credentials)),
    )


def _credential(row: tuple[Any, ...]) -> Credential:
    number, digest, key_id, issued_at, expires_at, first_used_at = row
    return Credential(
        _checked(digest, bytes),
        _checked(key_id, str),
        _time(issued_at),
        _time_or_none(expires_at),
        _time_or_none(first_used_at),
        number,
    )


def read_audit_entry(row: tuple[Any, ...]) -> AuditEntry:
    """Return an entry of the audit trail; damaged details are replaced, the rest is as it is."""
    at, event, operator, controller, node, text = row
    try:
        details = {str(name): str(value) for name, value in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        details = {"damaged": "the details of this entry"}  # the others are to be read all the same
    return AuditEntry(at, event, operator, controller, node, details)


def _checked(value: Any, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise TypeError
    return value


def _time(value: Any) -> float:
    return _checked(value, float)  # whatever is written to a column that is REAL comes back as one


def _time_or_none(value: Any) -> float | None:
    return None if value is None else _time(value)


def _list_of_text(value: Any) -> list[str]:
    # ip_network would take numbers, too.
    return [_checked(each, str) for each in _checked(json.loads(value), list)]
