"""Upgrades of whole gateways into which something else comes: signals, a stop, a reload."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from tests.server.test_upgrade_processes import site

pytestmark = pytest.mark.e2e


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_signals_at_every_moment_of_an_upgrade(tmp_path: Path) -> None:
    """Most of them come while no handler is there, and would kill the process."""
    async with site(tmp_path) as here:
        for number in range(1, 4):
            here.gateway.signal(signal.SIGUSR2)
            with trio.fail_after(60):
                while len(here.gateway.running.all("upgraded")) < number:
                    here.gateway.signal(signal.SIGUSR1)
                    assert here.gateway.running.process.returncode is None
                    await trio.sleep(0.0003)
        # Nothing that was said before the exec is lost.
        assert [
            line["incarnation"] for line in here.gateway.running.all("replacing the program")
        ] == [2, 3, 4]
        assert await here.stop() == []
