"""Upgrades of whole gateways into which something else comes: signals, a stop, a reload."""

from __future__ import annotations

import os
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
        # And none finds another thread: those take no signals.
        here.gateway.signal(signal.SIGHUP)  # files are read in one
        await here.gateway.running.wait_for("configuration reloaded")
        main = here.gateway.running.process.pid
        masks = {int(x): _held_back(main, x) for x in os.listdir(f"/proc/{main}/task")}
        assert len(masks) >= 3
        for thread, mask in masks.items():
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
                assert bool(mask & 1 << (number - 1)) is (thread != main), thread
        # Nothing that was said before the exec is lost.
        assert [
            line["incarnation"] for line in here.gateway.running.all("replacing the program")
        ] == [2, 3, 4]
        assert await here.stop() == []


def _held_back(process: int, thread: str) -> int:
    status = Path(f"/proc/{process}/task/{thread}/status").read_text()
    (mask,) = (x for x in status.splitlines() if x.startswith("SigBlk:"))
    return int(mask.split()[1], 16)
