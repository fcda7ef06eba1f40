"""Tests of ``gateway.protocol.capability``."""

from __future__ import annotations

import pytest

from gateway.errors import RemoteProtocolError
from gateway.protocol.capability import MAX_CAPABILITY, check_capability
from tests.recordings import load

RECORDED = load("capability")
REAL = RECORDED["capabilities"][0]["ascii"]


@pytest.mark.parametrize("one", RECORDED["capabilities"], ids=lambda one: str(one["mask"]))
def test_real_ones(one: dict[str, str]) -> None:
    assert check_capability(one["ascii"]) == one["ascii"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("AAAA", id="one group"),
        pytest.param("AAA=", id="one padding"),
        pytest.param("AA==", id="two paddings"),
        pytest.param("+/+/", id="the other characters"),
        pytest.param("AA==AAA=AAAA", id="groups that are padded each (BinarySafeStream)"),
        pytest.param(REAL + "AAAA", id="recorded: Java ignores what follows"),
        pytest.param("A" * MAX_CAPABILITY, id="longest"),
    ],
)
def test_anything_in_base64_passes_unchanged(text: str) -> None:
    assert check_capability(text) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("A", id="one character"),
        pytest.param("AAAAA", id="not in groups of four"),
        pytest.param(REAL[:-1], id="recorded: padding cut off"),
        pytest.param(REAL + "\r\n", id="line end"),
        pytest.param(REAL + "\n", id="line feed, which $ would forgive"),
        pytest.param("\n" + REAL, id="line feed in front"),
        pytest.param(" " + REAL, id="space"),
        pytest.param("AA-_", id="URL alphabet"),
        pytest.param("A===", id="three paddings"),
        pytest.param("====", id="nothing but padding"),
        pytest.param("A=AA", id="padding in the middle"),
        pytest.param("AAA\xaa", id="ISO-8859-1"),
        pytest.param("\uff21\uff21\uff21\uff21", id="fullwidth letters"),
        pytest.param("AAA\x00", id="NUL"),
        pytest.param("A" * (MAX_CAPABILITY + 4), id="too long"),
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="X-Remoting-Capability") as caught:
        check_capability(text)
    assert caught.value.status_hint == 400
    # It goes into a response header.
    assert caught.value.public.isascii()
    assert caught.value.public.isprintable()


def test_no_text_takes_long_to_refuse() -> None:
    """A pattern that tried every split into groups would not come to an end."""
    with pytest.raises(RemoteProtocolError):
        check_capability("AAAA" * 255 + "AA=A")
