"""Nodes from JSON: what ``nodes export`` wrote, or entries with plain secrets issued elsewhere.

Owns: what is taken. A key that is misspelt or missing would be a condition that is not asked for,
so keys are exact and nothing is converted; what ``nodes issue`` refuses is refused here, too.

Must not know: files, the store.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar

from gateway.config.credentials import ClientCertificateCondition
from gateway.config.networks import Network
from gateway.config.times import parse_time
from gateway.credentials.conditions import Conditions
from gateway.credentials.issuing import NodeError, check_times, make_node
from gateway.credentials.node_exchange import FORMAT, check_name, check_secret
from gateway.credentials.nodes import MOST_VALID, Credential, Node
from gateway.credentials.store_keys import Sealed, StoreKeyError, StoreKeys

_T = TypeVar("_T")

_CONDITIONS: Final = frozenset({"note", "valid_from", "valid_until", "allow_from", "certificate"})
_PLAIN: Final = _CONDITIONS | {"controller", "node", "secret", "upstream_secret"}
_PLAIN_REQUIRED: Final = frozenset({"controller", "node", "secret"})
_EXPORTED: Final = _CONDITIONS | {
    "controller",
    "node",
    "created_at",
    "revoked_at",
    "upstream",
    "credentials",
}
_CREDENTIAL: Final = frozenset({"digest", "key", "issued_at", "expires_at", "first_used_at"})
_SEALED: Final = frozenset({"key", "data"})
_DIGEST: Final = 32  # bytes


def read_nodes(document: Any, keys: StoreKeys, now: float) -> list[Node]:
    """Return the nodes of an exported document, or of one with plain secrets.

    Raises NodeError, whose text names the entry and the key and never shows a value that may be
    part of a secret.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise NodeError(f'allowed: a JSON object with "format": "{FORMAT}" and "nodes": [...]')
    found: list[Node] = []
    known: set[str] = set()
    _check_keys(document, frozenset({"format", "nodes"}), frozenset({"format", "nodes"}))
    for i, entry in enumerate(_list(document["nodes"], "nodes")):
        try:
            node = _read(entry, keys, now)
            if node.context in known:
                raise NodeError(f"{node.context} is there a second time; allowed: once")
        except NodeError as error:
            raise NodeError(f"nodes[{i}]: {error}") from None
        known.add(node.context)
        found.append(node)
    return found


def _read(entry: object, keys: StoreKeys, now: float) -> Node:
    if not isinstance(entry, dict):
        raise NodeError("allowed: a JSON object")
    plain = "secret" in entry
    if plain:
        _check_keys(entry, _PLAIN, _PLAIN_REQUIRED)
    else:
        _check_keys(entry, _EXPORTED, _EXPORTED)
    node = Node(
        _text(entry["controller"], "controller"),
        check_name(_text(entry["node"], "node")),
        now if plain else _time(entry["created_at"], "created_at"),
        _conditions(entry),
        None if plain else _or_none(_time, entry["revoked_at"], "revoked_at"),
        _text(entry.get("note", ""), "note"),
    )
    return _with_secret(entry, keys, node, now) if plain else _with_digests(entry, keys, node)


def _conditions(entry: dict[str, Any]) -> Conditions:
    found = Conditions(
        tuple(_network(each) for each in _list(entry.get("allow_from", []), "allow_from")),
        _or_none(_certificate, entry.get("certificate"), "certificate"),
        _or_none(_time, entry.get("valid_from"), "valid_from"),
        _or_none(_time, entry.get("valid_until"), "valid_until"),
    )
    check_times(found)
    return found


def _with_secret(entry: dict[str, Any], keys: StoreKeys, node: Node, now: float) -> Node:
    upstream = _or_none(_text, entry.get("upstream_secret"), "upstream_secret")
    if upstream is not None:
        check_secret(upstream, "upstream_secret")
    secret = check_secret(_text(entry["secret"], "secret"), "secret")
    return make_node(keys, now, node, secret=secret, upstream=upstream)


def _with_digests(entry: dict[str, Any], keys: StoreKeys, node: Node) -> Node:
    upstream = _or_none(_sealed, entry["upstream"], "upstream")
    credentials = tuple(map(_credential, _list(entry["credentials"], "credentials")))
    if len(credentials) > MOST_VALID:
        _refuse("credentials", f"at most {MOST_VALID}")
    used = {each.key_id for each in credentials} | ({upstream.key_id} if upstream else set())
    if not used <= set(keys.ids):
        raise NodeError(
            "made with a key that is not in the key file; copy the key file of the gateway that"
            " exported it first"
        )
    if upstream is not None:
        try:
            keys.open_sealed("upstream-secret", node.context, upstream)
        except StoreKeyError:
            _refuse("upstream", "what `nodes export` wrote for this node, with the same key file")
    return Node(
        node.controller,
        node.name,
        node.created_at,
        node.conditions,
        node.revoked_at,
        node.note,
        upstream,
        credentials,
    )


def _credential(value: object) -> Credential:
    if not isinstance(value, dict):
        _refuse("credentials", "a list of JSON objects")
    _check_keys(value, _CREDENTIAL, _CREDENTIAL)
    digest = _bytes(value["digest"], "digest")
    if len(digest) != _DIGEST:
        _refuse("digest", f"base64 of {_DIGEST} bytes")
    return Credential(
        digest,
        _text(value["key"], "key"),
        _time(value["issued_at"], "issued_at"),
        _or_none(_time, value["expires_at"], "expires_at"),
        _or_none(_time, value["first_used_at"], "first_used_at"),
    )


# -- values ----------------------------------------------------------------------------------------


def _refuse(key: str, allowed: str) -> NoReturn:
    raise NodeError(f'"{key}": allowed: {allowed}')


def _check_keys(value: dict[str, Any], known: frozenset[str], required: frozenset[str]) -> None:
    # Unknown ones are counted, not shown: somebody may have put a secret where a key belongs.
    unknown = len(value.keys() - known)
    if unknown:
        raise NodeError(f"found {unknown} unknown keys; allowed: {', '.join(sorted(known))}")
    missing = required - value.keys()
    if missing:
        raise NodeError(f"missing: {', '.join(sorted(missing))}")


def _or_none(read: Callable[[object, str], _T], value: object, key: str) -> _T | None:
    return None if value is None else read(value, key)


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        _refuse(key, "a string")
    return value


def _list(value: object, key: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(key, "a list")
    return value


def _time(value: object, key: str) -> float:
    try:
        return parse_time(value).timestamp()
    except ValueError as error:
        raise NodeError(f'"{key}": {error}') from None


def _network(value: object) -> Network:
    try:
        return ipaddress.ip_network(_text(value, "allow_from"))
    except ValueError:
        _refuse("allow_from", 'networks without host bits, such as "10.0.0.0/8"')


def _certificate(value: object, key: str) -> ClientCertificateCondition:
    try:
        return ClientCertificateCondition.model_validate(value)
    except ValueError:
        _refuse(key, '{"by": "subject" or "san", "name": NAME}')


def _sealed(value: object, key: str) -> Sealed:
    if not isinstance(value, dict):
        _refuse(key, "a JSON object")
    _check_keys(value, _SEALED, _SEALED)
    return Sealed(_text(value["key"], "key"), _bytes(value["data"], "data"))


def _bytes(value: object, key: str) -> bytes:
    try:
        return base64.b64decode(_text(value, key), validate=True)
    except ValueError:
        _refuse(key, "base64")
