"""Tests of ``gateway.protocol.masking``: both implementations, and which one is used."""

from __future__ import annotations

import runpy
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.speedups import apply_mask as apply_mask_in_c

from gateway.protocol import masking
from gateway.protocol.masking import apply_mask, apply_mask_in_python
from tests.peers.raw_frames import masked

IMPLEMENTATIONS = [
    pytest.param(apply_mask, id="chosen"),
    pytest.param(apply_mask_in_python, id="python"),
]


@pytest.mark.parametrize("apply", IMPLEMENTATIONS)
@settings(deadline=None)
@given(data=st.binary(max_size=70), mask=st.binary(min_size=4, max_size=4))
def test_agrees_with_the_definition(apply: masking.MaskFunction, data: bytes, mask: bytes) -> None:
    assert apply(data, mask) == masked(data, mask)


@pytest.mark.parametrize("apply", IMPLEMENTATIONS)
@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 8193, 65536])
def test_is_its_own_inverse(apply: masking.MaskFunction, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    once = apply(data, b"\x01\x80\x00\xff")
    assert len(once) == size
    assert apply(once, b"\x01\x80\x00\xff") == data


@pytest.mark.parametrize("apply", IMPLEMENTATIONS)
def test_takes_views_and_returns_bytes(apply: masking.MaskFunction) -> None:
    result = apply(memoryview(b"__agent__")[2:7], b"\x00\x20\x00\x00")
    assert type(result) is bytes
    assert result == b"aGent"


@pytest.mark.parametrize("apply", IMPLEMENTATIONS)
def test_example_of_the_rfc(apply: masking.MaskFunction) -> None:
    """RFC 6455 section 5.7: a masked "Hello"."""
    assert apply(bytes.fromhex("7f9f4d5158"), bytes.fromhex("37fa213d")) == b"Hello"


def test_c_is_used_where_there_is_a_wheel() -> None:
    assert masking.apply_mask is apply_mask_in_c


def test_python_is_used_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    assert masking.__file__ is not None
    module = runpy.run_path(masking.__file__)
    assert module["apply_mask"] is module["apply_mask_in_python"]
