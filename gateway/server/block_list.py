"""The nodes that operators keep out, for the whole gateway.

Owns: the list, its bound, and its file in ``state_dir``, so that a block outlives reloads, workers,
upgrades and restarts: whoever blocks a node until further notice means just that.

Must not know: who asks for a block, how workers refuse (``agents.blocks``).
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.agents.blocks import Block
from gateway.observability.logs import get_logger
from gateway.server.aside import Aside

_log = get_logger("system")

FILE: Final = "blocks.json"
# Some 200 bytes each, in every worker's start message.
MOST_BLOCKS: Final = 1000
_MOST_BYTES: Final = 4 * 1024 * 1024


class BlockList:
    """The list, with its file in ``state_dir``; what cannot be read there is reported, not lost."""

    def __init__(
        self, state_dir: Path, aside: Aside, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = state_dir / FILE
        self._aside = aside
        self._clock = clock
        self._blocks: dict[tuple[str | None, str], Block] = {}
        try:
            self._blocks = _read(self._path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.error(
                "the list of blocked nodes cannot be read; none is blocked",
                file=str(self._path),
                reason=type(error).__name__,
                remedy="the next block replaces the file; look at it first",
            )

    def current(self) -> list[Block]:
        """Return the blocks in force, by controller and node."""
        now = self._clock()
        gone = [key for key, block in self._blocks.items() if not block.holds(now)]
        for key in gone:
            del self._blocks[key]
        return sorted(self._blocks.values(), key=lambda each: (each.controller or "", each.node))

    def in_words(self) -> list[dict[str, Any]]:
        """Return the blocks in force as JSON objects."""
        return [each.in_words() for each in self.current()]

    def put(self, block: Block) -> bool:
        """Add ``block``, in the place of one for the same; False where there are too many."""
        self.current()
        if block.key not in self._blocks and len(self._blocks) >= MOST_BLOCKS:
            return False
        self._blocks[block.key] = block
        return True

    def remove(self, controller: str | None, node: str) -> Block | None:
        """Remove a block; return it, or None if there was none."""
        self.current()
        return self._blocks.pop((controller, node), None)

    async def save(self) -> bool:
        """Write the file; False where that failed, which is reported."""
        data = json.dumps({"version": 1, "blocks": self.in_words()}).encode()
        try:
            await self._aside.run(partial(_write, self._path, data))
        except (OSError, TimeoutError) as error:
            reason = str(error) if isinstance(error, TimeoutError) else (error.strerror or "")
            _log.error("the list of blocked nodes cannot be kept", reason=reason.lower())
            return False
        return True


def _read(path: Path) -> dict[tuple[str | None, str], Block]:
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(_MOST_BYTES))
    except FileNotFoundError:
        return {}
    blocks = [Block.of_words(each) for each in value["blocks"][:MOST_BLOCKS]]
    return {block.key: block for block in blocks}


def _write(path: Path, data: bytes) -> None:
    """Write the file whole or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".blocks-")
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
