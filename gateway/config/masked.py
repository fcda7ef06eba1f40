"""A configuration as everybody may see it: secrets as ``***``.

Owns: that what is shown is what is in force, in the file's own spelling, but for what is secret.

Must not know: who looks at it.
"""

from __future__ import annotations

from typing import Any

from gateway.config.models import GatewayConfig
from gateway.config.values import Secret


def masked(config: GatewayConfig) -> dict[str, Any]:
    """Return ``config`` with all its defaults, as a JSON object, secrets masked by their type."""
    shown = _mask(config.model_dump(), config.model_dump(mode="json"))
    assert isinstance(shown, dict)
    return shown


def _mask(value: object, written: object) -> object:
    """Return ``written``, the JSON form of ``value``, with ``***`` wherever that is a secret."""
    if isinstance(value, Secret):
        return repr(value)
    if isinstance(value, dict) and isinstance(written, dict):
        pairs = zip(value.values(), written.items(), strict=True)
        return {name: _mask(each, item) for each, (name, item) in pairs}
    if isinstance(value, list | tuple) and isinstance(written, list):
        return [_mask(each, item) for each, item in zip(value, written, strict=True)]
    return written
