"""The generators do their work, through the least of all relays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from benchmarks.peers.agents import run_agent
from benchmarks.peers.certificates import Certificates, make_certificates
from benchmarks.peers.crowds import Crowds, End
from benchmarks.peers.processes import cpu_seconds, pss_bytes
from benchmarks.peers.proxies import Proxy, start_floor
from benchmarks.wire import CHUNK, batch_frames

_SESSIONS = 6


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Certificates]]:
    folder = tmp_path_factory.mktemp("bench")
    certificates = make_certificates(folder)
    with ExitStack() as stack:
        origin = End("origin", folder)
        stack.callback(origin.stop)
        floor = start_floor(folder, certificates, origin.port)
        stack.callback(floor.stop)
        yield floor, certificates


@pytest.fixture
def crowds(relay: tuple[Proxy, Certificates]) -> Iterator[Crowds]:
    made = Crowds(*relay, processes=2, most=_SESSIONS)
    made.open(_SESSIONS, together=4)
    yield made
    made.stop()


def test_batches_are_answered_one_by_one(crowds: Crowds) -> None:
    order = {"size": 64 * 1024, "batches": 6}
    crowds.ask(do="prepare", **order)
    answers = crowds.ask(do="batches", **order)
    assert [answer["bytes"] for answer in answers] == [6 * 8 * len(CHUNK)] * 2


def test_messages_are_sent_both_ways(crowds: Crowds) -> None:
    answers = crowds.ask(do="messages", size=2048, every=0.02, seconds=0.2)
    assert [answer["messages"] for answer in answers] == [30, 30]


def test_after_bulk_sessions_do_other_work(crowds: Crowds) -> None:
    crowds.ask(do="bulk", mib=1, together=2)
    crowds.ask(do="prepare", size=100, batches=3)
    assert len(crowds.ask(do="batches", size=100, batches=3)) == 2


def test_a_single_agent_measures_itself(relay: tuple[Proxy, Certificates]) -> None:
    done = run_agent(*relay, "upload", 1)
    assert 0 < done["agent_cpu"] <= done["seconds"]
    assert len(run_agent(*relay, "echo", 3)["round_trips"]) == 3


def test_a_process_tree_has_cpu_seconds_and_memory(relay: tuple[Proxy, Certificates]) -> None:
    process = relay[0].process
    assert process is not None
    assert cpu_seconds(process.pid) > 0
    assert pss_bytes(process.pid) > 1 << 20


def test_a_batch_says_how_long_its_payload_is() -> None:
    for size in (100, 64 * 1024):
        frames, payload = batch_frames(size)
        assert 0 < len(frames) - payload < 100
