"""All numbers of one worker, over its control stream and from what it is made of."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import trio

from gateway.http.upstream import fetch
from gateway.observability.metrics import table
from gateway.observability.metrics.samples import Samples
from gateway.server.generation import Generation, Lasting
from gateway.server.worker_samples import collect
from tests.peers.raw_client import RawClient
from tests.server.workers import HOST, Worker, make_config, running_worker

GET = b"GET /login HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("leaving", [False, True])
async def test_what_a_worker_has_no_say_in_once_it_leaves(tmp_path: Path, leaving: object) -> None:
    config = make_config(tmp_path, limits={"connections": 100, "controller_handshakes": 7})
    lasting = Lasting(config, fetch=fetch, workers=2)
    samples = collect(lasting, Generation(config, lasting), leaving=leaving, lingering=False)
    certificate = (str(config.listeners[1].address), str(tmp_path / f"{HOST}.crt"))
    assert set(samples.of(table.CERTIFICATE_EXPIRY)) == (set() if leaving else {certificate})
    assert samples.of(table.CONNECTIONS_LIMIT) == ({} if leaving else {(): 50})
    assert samples.of(table.ADDRESS_UP) == ({} if leaving else {("main", "127.0.0.1:9"): 1})
    assert samples.of(table.QUEUE_PLACES) == {("main",): 0 if leaving else 4}
    assert samples.of(table.CONNECTIONS) == {(): 0}


async def test_counters_that_alerts_watch_begin_with_zero(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    lasting = Lasting(config, fetch=fetch, workers=1)
    collect(
        lasting, Generation(config, lasting), leaving=False, lingering=False
    )  # asking does not count
    samples = collect(lasting, Generation(config, lasting), leaving=False, lingering=False)
    assert samples.of(table.LOCKOUTS) == {("main", "address"): 0, ("main", "node"): 0}
    assert samples.of(table.TAKEOVERS) == {("main", "taken_over"): 0, ("main", "two_agents"): 0}
    assert samples.of(table.QUEUE_TURNED_AWAY) == {("main",): 0}
    assert sum(map(float, map(str, samples.of(table.CONNECTIONS_REFUSED).values()))) == 0


async def ask(worker: Worker, numbers: itertools.count[int]) -> Samples:
    """Ask as the supervisor does."""
    number = next(numbers)
    await worker.control.send({"type": "ask", "id": number, "question": "metrics"})
    answer = await worker.control.receive()
    assert answer is not None
    assert (answer["type"], answer["id"]) == ("answer", number)
    return Samples.of_words(answer["metrics"])


async def test_a_worker_answers_and_has_a_last_word(tmp_path: Path) -> None:
    numbers = itertools.count()
    async with running_worker(make_config(tmp_path)) as worker:
        async with await RawClient.connect(worker.plain) as client:
            await client.send(GET)
            assert (await client.read_head()).status == 502  # nobody listens on port 9
            samples = await ask(worker, numbers)
            assert samples.of(table.CONNECTIONS) == {(): 1}
            assert samples.of(table.CONNECTIONS_ACCEPTED) == {(): 1}
            assert samples.of(table.DIAL_FAILURES)["main", "unreachable"] == 1
            assert samples.of(table.REQUEST_ERRORS) == {
                ("main", "main", "controller_unreachable"): 1
            }
        async with await RawClient.connect(worker.tls) as client:
            await client.send(b"this is no TLS at all\r\n\r\n")
            while await client.receive():
                pass
        samples = await ask(worker, numbers)
        assert samples.of(table.CONNECTIONS_REFUSED)["tls_handshake",] == 1
        await worker.stop()
        with trio.fail_after(20):
            last = await worker.control.receive()
        assert last is not None
        assert last["type"] == "metrics"
        assert Samples.of_words(last["metrics"]).of(table.REQUESTS) == {
            ("main", "main", "GET", "502"): 1
        }
