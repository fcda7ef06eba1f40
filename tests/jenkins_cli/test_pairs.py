"""The two halves of a full-duplex command."""

from __future__ import annotations

import pytest

from gateway.config.cli import CommandRules
from gateway.config.values import Address
from gateway.errors import RemoteProtocolError
from gateway.jenkins_cli.pairs import (
    DownloadTap,
    Pair,
    Pairs,
    UploadTap,
    is_download,
    session_of,
)
from gateway.jenkins_cli.policy import Rules
from gateway.protocol.http_head import ResponseHead
from gateway.protocol.http_headers import Field, Headers
from gateway.protocol.plain_cli import CliFrame, Op, text_frame

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
THERE = Address("10.0.0.2", 8080)
PAIR = Pair("main", THERE, "alice")


async def test_a_pair_is_known_while_its_download_is_there() -> None:
    pairs = Pairs()
    with pairs.place("main", UUID) as add:
        assert await pairs.find("main", UUID) is None
        add(PAIR)
        assert await pairs.find("main", UUID) == PAIR
        assert await pairs.find("other", UUID) is None
        with pytest.raises(RemoteProtocolError, match="already"), pairs.place("main", UUID):
            pass
    assert await pairs.find("main", UUID) is None
    assert len(pairs) == 0


async def test_of_two_downloads_one_makes_the_pair() -> None:
    """The second may have another user's name, and with it other rules."""
    pairs = Pairs()
    with pairs.place("main", UUID) as first:
        with pairs.place("main", UUID) as second:
            first(PAIR)
            with pytest.raises(RemoteProtocolError, match="already"):
                second(Pair("main", THERE, "bob"))
        assert await pairs.find("main", UUID) == PAIR
    assert len(pairs) == 0


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        (200, [(b"Hudson-Duplex", b"true")], [THERE]),
        (200, [], []),
        (401, [(b"Hudson-Duplex", b"true")], []),
        (403, [], []),
    ],
)
def test_a_download_counts_once_it_is_accepted(
    status: int, fields: list[Field], expected: list[Address]
) -> None:
    """Whose name it claims is anybody's guess before that."""
    accepted: list[Address] = []
    tap = DownloadTap(accepted.append)
    tap.connected(THERE)
    assert accepted == []
    tap.answered(ResponseHead(status, b"", b"1.1", Headers(fields)))
    assert accepted == expected


async def test_other_workers_are_asked() -> None:
    asked: list[str] = []

    async def others(controller: str, session: str) -> Pair | None:
        asked.append(session)
        return PAIR

    pairs = Pairs()
    pairs.others = others
    assert await pairs.find("main", UUID) == PAIR
    assert await pairs.find("other", UUID) is None, "of another controller"
    with pairs.place("main", UUID) as add:
        add(PAIR)
        await pairs.find("main", UUID)
    assert len(asked) == 2


def test_in_words() -> None:
    assert Pair.of_words(PAIR.in_words()) == PAIR
    nobody = Pair("main", Address("::1", 1), None)
    assert Pair.of_words(nobody.in_words()) == nobody
    for words in ({}, {**PAIR.in_words(), "address": "x"}, {**PAIR.in_words(), "user": 1}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Pair.of_words(words)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b"x"],
        [b"1-1-1-1-1"],  # to Java the same as 00000001-0001-...
        [UUID.encode() + b"0"],
        [UUID.encode(), UUID.encode()],
    ],
)
def test_sessions_that_are_none(values: list[bytes]) -> None:
    with pytest.raises(RemoteProtocolError, match="UUID"):
        session_of(Headers((b"Session", value) for value in values))


def test_a_session_has_one_spelling() -> None:
    assert session_of(Headers([(b"session", UUID.upper().encode())])) == UUID


def test_sides() -> None:
    assert is_download(Headers([(b"Side", b"download")]))
    assert not is_download(Headers([(b"side", b"upload")]))
    for values in ([], [b"Download"], [b"download", b"upload"], [b"x"]):
        with pytest.raises(RemoteProtocolError, match="Side"):
            is_download(Headers((b"Side", value) for value in values))


def test_what_is_not_read_passes_as_it_is() -> None:
    tap = UploadTap(THERE)
    assert (tap.address, tap.request_data(b"any\xff")) == (THERE, b"any\xff")


def test_a_refused_command_is_replaced() -> None:
    rules = Rules(CommandRules(deny=("groovy",)), refuse_files=False)
    tap = UploadTap(THERE, rules, reads=True)
    stream = b"".join(
        frame.as_stream()
        for frame in (
            text_frame(Op.ENCODING, "UTF-8"),
            text_frame(Op.ARG, "groovy"),
            text_frame(Op.ARG, "="),
            CliFrame(Op.START),
            CliFrame(Op.STDIN, b"print 1"),
        )
    )
    passed = b"".join(tap.request_data(stream[i : i + 1]) for i in range(len(stream)))
    name = "'groovy' (the gateway's policy does not allow this command)"
    expected = [
        text_frame(Op.ENCODING, "UTF-8"),
        text_frame(Op.ARG, name),
        CliFrame(Op.START),
    ]
    assert passed == b"".join(frame.as_stream() for frame in expected)
