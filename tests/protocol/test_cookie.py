"""What a connection cookie looks like."""

from __future__ import annotations

import pytest

from gateway.protocol.cookie import is_cookie


@pytest.mark.parametrize("value", [b"00", b"0123456789abcdefABCDEF" * 2, b"0f" * 128])
def test_cookies(value: bytes) -> None:
    assert is_cookie(value)


@pytest.mark.parametrize(
    "value", [b"", b"0", b"abc", b"0g", b"0f" * 129, b"00\n", b" 00", b"\xd9\xa0\xd9\xa0", b"00,00"]
)
def test_no_cookies(value: bytes) -> None:
    assert not is_cookie(value)
