"""nginx as an ingress: a master that reloads when its endpoints change.

Owns: the part of nginx.conf that is no example's, starting, reloading and stopping the program.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from tests.tools import require_tool

_START: Final = 15.0


class Ingress:
    """An nginx with a new folder. ``server``: makes the inside of ``http`` for some endpoints."""

    def __init__(
        self, folder: Path, address: tuple[str, int], server: Callable[[Sequence[str]], str]
    ) -> None:
        folder.mkdir()
        self._folder = folder
        self._address = address
        self._server = server
        self._program = require_tool("nginx")
        self._process: trio.Process | None = None

    @property
    def complaints(self) -> list[str]:
        """Return what it has logged of level ``warn`` and above."""
        return (self._folder / "error.log").read_text("utf-8").splitlines()

    async def start(self, endpoints: Sequence[str]) -> None:
        """Start it; return once it listens."""
        self._write(endpoints)
        self._process = await trio.lowlevel.open_process(
            self._command(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with trio.fail_after(_START):
            while not await self._is_up():
                assert self._process.poll() is None, self.complaints
                await trio.sleep(0.05)

    async def send_to(self, endpoints: Sequence[str]) -> None:
        """Reload with other endpoints, as an ingress controller does when they change."""
        assert self._process is not None
        before = self._workers()
        self._write(endpoints)
        self._process.send_signal(signal.SIGHUP)
        with trio.fail_after(_START):
            while True:
                if self._workers() - before:
                    return
                await trio.sleep(0.05)

    async def stop(self) -> None:
        """End it at once."""
        if self._process is None:
            return
        self._process.terminate()
        with trio.move_on_after(10):
            await self._process.wait()
        self._process.kill()
        await self._process.wait()

    def _command(self) -> list[str]:
        folder = str(self._folder)
        return [self._program, "-p", folder, "-c", f"{folder}/nginx.conf", "-e", "error.log"]

    def _workers(self) -> set[str]:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return set(children.read_text("ascii").split())

    async def _is_up(self) -> bool:
        try:
            stream = await trio.open_tcp_stream(*self._address)
        except OSError:
            return False
        await stream.aclose()
        return True

    def _write(self, endpoints: Sequence[str]) -> None:
        user = "user root;" if os.geteuid() == 0 else ""  # nobody else may enter the folder
        temporary = "".join(
            f"{kind}_temp_path tmp-{kind}; "
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self._folder / "nginx.conf").write_text(
            f"{user} daemon off; pid nginx.pid; error_log error.log warn;\n"
            "events { worker_connections 1024; }\n"
            f"http {{ access_log access.log; {temporary}\n{self._server(endpoints)}}}\n",
            "utf-8",
        )


@asynccontextmanager
async def ingress_on(
    folder: Path, address: tuple[str, int], server: Callable[[Sequence[str]], str]
) -> AsyncIterator[Ingress]:
    """Have an nginx for the block; it is ended after it. Skips the test where there is none."""
    ingress = Ingress(folder, address, server)
    try:
        yield ingress
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 20):
            await ingress.stop()
