"""What the benchmarks make of their samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.report import Figure, Ratio, against, latest, paired_ratio


def test_ratios_are_those_of_the_same_round() -> None:
    # The machine was slow in the second round: medians alone would say 2 / 1.5.
    ratio = paired_ratio([1.0, 20.0, 2.0], [1.0, 10.0, 1.5])
    assert ratio == Ratio(4 / 3, 1.0, 2.0)
    assert str(ratio) == "1.33 (1.00 to 2.00)"


def test_a_round_without_its_pair_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1.0, 2.0], [1.0])


def test_a_peer_that_was_not_there_gives_no_figure() -> None:
    samples = {"gateway": {"up": [1.0, 3.0]}, "haproxy": {"up": [2.0, 2.0]}}
    found = against(samples, "gateway", "haproxy", "up", "s")
    assert found == Figure(1.0, 0.5, 1.5, "2 s, haproxy 2")
    assert against(samples, "gateway", "nginx", "up", "s") is None


def test_the_newest_result_of_a_benchmark_is_found(tmp_path: Path) -> None:
    assert latest("relay", tmp_path) is None
    for name in ("relay-2026-11-02", "relay-2026-10-30", "relay-mode-2026-12-01"):
        (tmp_path / f"{name}.json").write_text(f'{{"name": "{name}"}}')
    found = latest("relay", tmp_path)
    assert found is not None
    assert found[1] == {"name": "relay-2026-11-02"}
