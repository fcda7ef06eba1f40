"""What the benchmarks make of their samples."""

from __future__ import annotations

import pytest

from benchmarks.report import Ratio, paired_ratio


def test_ratios_are_those_of_the_same_round() -> None:
    # The machine was slow in the second round: medians alone would say 2 / 1.5.
    ratio = paired_ratio([1.0, 20.0, 2.0], [1.0, 10.0, 1.5])
    assert ratio == Ratio(4 / 3, 1.0, 2.0)
    assert str(ratio) == "1.33 (1.00 to 2.00)"


def test_a_round_without_its_pair_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1.0, 2.0], [1.0])
