"""Nodes for tests of the store."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

from gateway.config.credentials import ClientCertificateCondition
from gateway.credentials.conditions import Conditions
from gateway.credentials.nodes import Credential, Node
from gateway.credentials.store_keys import Sealed

FULL = Node(
    "main",
    "build-1",
    1000.5,
    Conditions(
        (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")),
        ClientCertificateCondition(by="san", name="{node}.x"),
        1000.0,
        2000.25,
    ),
    None,
    "ask Bob",
    Sealed("k1", b"\0sealed\xff"),
    (Credential(b"b" * 32, "k1", 1500.0), Credential(b"a" * 32, "k0", 1000.0, 1600.0, 1001.0)),
)


def node(name: str = "a", controller: str = "main", **more: Any) -> Node:
    return Node(controller, name, 1.0, **more)


def without_ids(found: Node | None) -> Node | None:
    """Return the node as it was before the store gave numbers to its credentials."""
    if found is None:
        return None
    return replace(found, credentials=tuple(replace(each, id=None) for each in found.credentials))
