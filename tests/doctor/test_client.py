from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from gateway.config.values import Secret
from gateway.doctor.client import Unanswered, basic, get, get_request, trust
from tests.doctor.conftest import Asking
from tests.e2e.programs import free_ports
from tests.peers.raw_origin import OriginConnection, answering


async def test_an_answer_is_returned_whole(asking: Asking) -> None:
    answer = b"HTTP/1.1 404 Nope\r\nX-Jenkins: 2\r\nContent-Length: 2\r\n\r\nhi"
    async with asking(answering(answer)) as case:
        got = await get(case.question, "/a%2Fb", [("X-More", "1")])
    assert (got.status, got.reason, got.header("x-jenkins"), got.body) == (404, "Nope", "2", b"hi")


async def test_a_long_body_is_cut_and_not_waited_for(asking: Asking) -> None:
    async def pour(connection: OriginConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
        while True:
            await connection.send(b"x" * 65536)

    async with asking(pour) as case:
        got = await get(case.question, "/")
    assert (got.status, len(got.body)) == (200, 1024 * 1024)


async def test_what_echoes_our_secrets_does_not_get_them_into_the_report(asking: Asking) -> None:
    async def echo(connection: OriginConnection) -> None:
        head = (await connection.read_request()).head
        lines = [line for line in head.split(b"\r\n") if line.startswith(b"X-")]
        answer = b"HTTP/1.1 400 s3cret\r\n%s\r\nContent-Length: %d\r\n\r\n%s"
        await connection.send(answer % (b"\r\n".join(lines), len(head), head))

    async with asking(echo) as case:
        question = replace(case.question, secret=Secret("s3cret"), authorization=Secret("me:t0ken"))
        sent = [*basic(question), ("X-Secret", "s3cret"), ("X-Token", "t0ken")]
        got = await get(question, "/", sent)
    shown = repr(got)
    assert got.header("X-Secret") == "***"
    assert b"Authorization: Basic ***" in got.body
    assert [each for each in ("s3cret", "t0ken", "me:") if each in shown] == []


async def _close(connection: OriginConnection) -> None:
    await connection.read_request()


async def _no_tls(connection: OriginConnection) -> None:
    await connection.receive()
    await connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await connection.wait_for_end()


async def _stand_still(connection: OriginConnection) -> None:
    await trio.sleep(math.inf)


async def test_why_there_is_no_answer(asking: Asking) -> None:
    async with asking(_close) as case:
        with pytest.raises(Unanswered, match="closed without an answer"):
            await get(case.question, "/")
    async with asking(answering(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")) as case:
        with pytest.raises(Unanswered) as raised:
            await get(case.question, "/")
        assert not raised.value.http
    async with asking(_stand_still) as case:
        with pytest.raises(Unanswered) as raised:
            await get(replace(case.question, timeout=0.1), "/")
        assert raised.value.late
        (port,) = free_ports(1)
        target = replace(case.question.target, port=port)
        with pytest.raises(Unanswered, match="connection refused"):
            await get(replace(case.question, target=target), "/")


async def test_what_is_not_tls_is_said_so(asking: Asking) -> None:
    async with asking(_no_tls) as case:
        target = replace(case.question.target, scheme="https")
        with pytest.raises(Unanswered) as raised:
            await get(replace(case.question, target=target), "/")
    assert raised.value.tls


async def test_fields_replace_and_add(asking: Asking) -> None:
    async with asking(_close) as case:
        request = get_request(case.question, "/x", [("User-Agent", "Java/17"), ("A", "b")])
    lines = request.decode().split("\r\n")
    assert lines[0] == "GET /x HTTP/1.1"
    assert "User-Agent: Java/17" in lines
    assert "A: b" in lines
    assert len([line for line in lines if line.startswith("User-Agent")]) == 1


async def test_a_token_is_sent_and_never_shown(asking: Asking) -> None:
    async with asking(_close) as case:
        question = replace(case.question, authorization=Secret("me:token"))
        assert basic(question) == [("Authorization", "Basic bWU6dG9rZW4=")]
        assert basic(case.question) == []
    assert "token" not in repr(question).replace("authorization", "")


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with pytest.raises(OSError, match=r".*"):
        trust(path)
    with pytest.raises(OSError, match="No such file"):
        trust(tmp_path / "none.pem")
