"""What a reload cannot change.

Owns: the keys that are settled when the processes start, and how each change of one is named.

Must not know: who reloads, or how.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.config.admin import AdminConfig
from gateway.config.models import GatewayConfig, ListenerConfig

# Settled for the whole program: the folder holds the control socket and pins in use, the store's
# key is that of what is in it, and each worker has listening sockets of its own. Of listeners, the
# admin listener among them, where they listen and whether they speak TLS.
_FIXED: Final = ("state_dir", "store", "workers")


def changes_that_need_a_restart(old: GatewayConfig, new: GatewayConfig) -> list[str]:
    """Return one text for each key of ``new`` that a running gateway cannot take over.

    Each names the key, the value it would get and the one in use. Empty: ``new`` can be reloaded.
    """
    changes = [
        _change(key, getattr(new, key), getattr(old, key))
        for key in _FIXED
        if getattr(new, key) != getattr(old, key)
    ]
    if len(new.listeners) != len(old.listeners):
        changes.append(_change("listeners", len(new.listeners), len(old.listeners)))
    before_admin, after_admin = old.admin, new.admin
    if before_admin.listen != after_admin.listen:
        changes.append(_change("admin.listen", after_admin.listen, before_admin.listen))
    if (before_admin.tls is None) is not (after_admin.tls is None):
        changes.append(_change("admin.tls", _tls(after_admin), _tls(before_admin)))
    for i, (before, after) in enumerate(zip(old.listeners, new.listeners, strict=False)):
        changes += _changes_of_listener(f"listeners[{i}]", before, after)
    return changes


def _changes_of_listener(key: str, before: ListenerConfig, after: ListenerConfig) -> Iterator[str]:
    if after.address != before.address:
        yield _change(f"{key}.address", after.address, before.address)
    if (after.tls is None) is not (before.tls is None):
        # Connections live on through a reload: one without TLS must not become one that has it.
        yield _change(f"{key}.tls", _tls(after), _tls(before))


def _tls(listener: ListenerConfig | AdminConfig) -> str:
    return "off" if listener.tls is None else "on"


def _change(key: str, new: object, old: object) -> str:
    return f"{key}: {new} instead of {old}"
