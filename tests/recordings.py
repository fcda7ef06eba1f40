"""The recordings of real Jenkins peers in ``tests/vectors``, read for tests.

Owns: finding things in those files. What they hold is described in ``tests/vectors/README.md``.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

_FOLDER: Final = Path(__file__).parent / "vectors"


@cache
def load(name: str) -> Any:
    """Return the contents of ``name``.json; it is shared, so leave it as it is."""
    return json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))


def summary(kind: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the accepted connections of ``wire-summary.json``: (scenario, connection).

    ``kind`` is ``tcp`` or ``ws``. A refused connection carried no chunk and is left out.
    """
    return [
        (scenario, connection)
        for scenario, recorded in load("wire-summary").items()
        if scenario.startswith(kind)
        for connection in recorded["connections"]
        if _was_open(connection)
    ]


def _was_open(connection: dict[str, Any]) -> bool:
    client = connection.get("client", {})
    return bool(client.get("first_chunks") or client.get("first_messages"))


def body(size: int, seed: int = 0) -> bytes:
    """Return ``size`` bytes in place of a recorded body, which is never kept; not all alike.

    They repeat after 251 bytes, a prime, so that a misplaced piece shows.
    """
    period = bytes((seed * 31 + i * 7) & 0xFF for i in range(251))
    return (period * (size // 251 + 1))[:size]
