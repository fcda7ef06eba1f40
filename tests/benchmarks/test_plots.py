"""Pictures are drawn from saved results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import plots
from benchmarks.load import growth, memory

_RESULTS: dict[str, dict[str, Any]] = {
    "relay": {
        "samples": {
            name: {"upload CPU s/GiB": [1.0, 1.1, 1.3], "download CPU s/GiB": [1.0, 0.9, 1.2]}
            for name in ("direct", "gateway", "haproxy")
        },
    },
    "load": {
        "settings": {"sessions": 100},
        "samples": {"gateway": {memory.NEVER: [100.0], memory.AFTER: [140.0]}},
        "growth": {
            "medians": {
                f"gateway, {sessions}": {
                    what: 1.0 + sessions / 1000
                    for what in (growth.SPREAD, growth.MESSAGES, growth.BESIDE, growth.SETUP)
                }
                for sessions in (1, 100)
            }
        },
    },
}


def _latest(name: str) -> tuple[Path, dict[str, Any]]:
    return Path(f"{name}.json"), {"machine": "one", "figures": {}, **_RESULTS[name]}


def test_each_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="only ./dev bench installs it")
    monkeypatch.setattr(plots, "latest", _latest)
    assert plots.draw(Console(quiet=True), tmp_path) == 0
    drawn = sorted(tmp_path.iterdir())
    assert [each.name for each in drawn] == [
        "performance-bulk.png",
        "performance-growth.png",
        "performance-memory.png",
    ]
    for each in drawn:
        assert each.read_bytes().startswith(b"\x89PNG")


def test_results_of_before_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="only ./dev bench installs it")
    monkeypatch.setattr(plots, "latest", lambda _: (Path("old.json"), {"medians": {}}))
    assert plots.draw(Console(quiet=True), tmp_path) == 1
    assert not list(tmp_path.iterdir())
