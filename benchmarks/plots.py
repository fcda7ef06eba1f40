from __future__ import annotations

from rich.console import Console


def draw(console: Console) -> int:
    return 0
