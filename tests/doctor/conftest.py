"""What the doctor's tests share: answers in a line, and a scripted origin to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio

from gateway.demo.agent_http import Target
from gateway.doctor.case import Case
from gateway.doctor.question import Question
from tests.peers.raw_origin import RawOrigin, Script

Asking = Callable[[Script], AbstractAsyncContextManager[Case]]


@pytest.fixture
def asking() -> Asking:
    """Return what gives the case of an origin that runs a script for each connection."""

    @asynccontextmanager
    async def run(script: Script) -> AsyncIterator[Case]:
        origin = RawOrigin(script)
        async with trio.open_nursery() as nursery:
            await nursery.start(origin.run)
            target = Target("http", "127.0.0.1", origin.port, "/")
            yield Case(question=Question(target, timeout=1))
            nursery.cancel_scope.cancel()

    return run
