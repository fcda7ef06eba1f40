"""When memory is given back; that it is, tests/hostile/test_silence.py sees from outside."""

from __future__ import annotations

import gc
import weakref
from contextlib import ExitStack

import pytest
import trio
from trio.testing import MockClock

from gateway.runtime import memory
from gateway.runtime.admission import ConnectionPlaces
from gateway.transport.stream import RECEIVE_LARGE


def _hold(places: ConnectionPlaces, count: int) -> ExitStack:
    held = ExitStack()
    for _ in range(count):
        held.enter_context(places.place("192.0.2.1"))
    return held


def test_a_crowd_has_gone_once() -> None:
    places = ConnectionPlaces(1000, per_address=1000)
    staying = _hold(places, 100)
    crowd = _hold(places, memory.CROWD)
    assert not memory.crowd_has_gone(places)
    crowd.close()
    assert memory.crowd_has_gone(places)
    assert not memory.crowd_has_gone(places)
    staying.close()
    assert not memory.crowd_has_gone(places)


def test_a_crowd_that_came_and_went_between_two_looks_counts() -> None:
    places = ConnectionPlaces(1000, per_address=1000)
    _hold(places, memory.CROWD).close()
    assert memory.crowd_has_gone(places)


def test_a_steady_stream_is_no_crowd() -> None:
    places = ConnectionPlaces(1000, per_address=1000)
    with _hold(places, 200):
        for _ in range(2 * memory.CROWD):
            _hold(places, 1).close()
            assert not memory.crowd_has_gone(places)


def test_a_crowd_that_goes_bit_by_bit_counts() -> None:
    places = ConnectionPlaces(1000, per_address=1000)
    first, second = _hold(places, memory.CROWD // 2), _hold(places, memory.CROWD // 2)
    first.close()
    assert not memory.crowd_has_gone(places)
    second.close()
    assert memory.crowd_has_gone(places)


class _Cycle:
    def __init__(self) -> None:
        self.itself = self


async def test_cycles_are_collected_at_the_next_look(autojump_clock: MockClock) -> None:
    places = ConnectionPlaces(1000, per_address=1000)
    gc.disable()
    try:
        gone = weakref.ref(_Cycle())
        assert gone() is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(memory.give_back_after_crowds, places)
            await trio.sleep(memory.LOOK_EVERY + 1)
            assert gone() is not None  # no crowd yet
            _hold(places, memory.CROWD).close()
            await trio.sleep(memory.LOOK_EVERY + 1)
            assert gone() is None
            nursery.cancel_scope.cancel()
    finally:
        gc.enable()


def test_the_allocator_is_left_to_whoever_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["PYTHONMALLOC", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(memory, "_has_glibc", lambda: True)
    wanted = memory.allocator_environment()
    assert sorted(wanted) == sorted(names)
    assert wanted["PYTHONMALLOC"] == "malloc"
    assert int(wanted["MALLOC_MMAP_THRESHOLD_"]) > RECEIVE_LARGE
    for name in names:
        monkeypatch.setenv(name, "0")
        del wanted[name]
        assert memory.allocator_environment() == wanted


def test_the_allocator_of_another_library_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_has_glibc", lambda: False)
    assert memory.allocator_environment() == {}
