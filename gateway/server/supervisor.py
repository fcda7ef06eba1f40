"""The supervisor: binds the listeners, starts the worker, restarts it when it dies, owns the
signals.

Owns: processes and their order of stopping. The worker gets listening sockets by inheritance and
the resolved configuration through the control stream, so that it needs no file and no privilege.

Must not know: HTTP, sessions, controllers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final

import trio

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError
from gateway.observability.logs import get_logger
from gateway.server.control import ControlBroken, ControlStream
from gateway.server.worker import STOP_TIMEOUT
from gateway.transport.listeners import bind

_log = get_logger("system")

# A worker that dies at once must not be started a thousand times a minute.
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
# A worker that lived this long did not die of its start: the pause begins anew.
SOUND_AFTER: Final = 60.0
# Beyond the worker's own limit it is killed.
KILL_AFTER: Final = STOP_TIMEOUT + 5.0


def run_supervisor(config: GatewayConfig, *, announce: Callable[[], None] | None = None) -> int:
    """Run the gateway until SIGTERM or SIGINT; return the exit status.

    ``announce`` is called once, when every listener accepts. Raises ConfigError when an address
    cannot be bound or the state folder cannot be used.
    """
    _prepare_state_dir(config)
    sockets: list[socket.socket] = []
    try:
        for listener in config.listeners:
            sockets.append(bind(listener))  # noqa: PERF401 - what is bound must be closed on failure
        return trio.run(_supervise, config, sockets, announce)
    finally:
        for sock in sockets:
            sock.close()


def _prepare_state_dir(config: GatewayConfig) -> None:
    try:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"state_dir: {config.state_dir} cannot be made ({error.strerror}); "
            "set state_dir to a folder that this user may write"
        ) from None
    if not os.access(config.state_dir, os.W_OK | os.X_OK):
        raise ConfigError(
            f"state_dir: {config.state_dir} cannot be written by this user; "
            "set state_dir to a folder that it may write"
        )


async def _supervise(
    config: GatewayConfig,
    sockets: Sequence[socket.socket],
    announce: Callable[[], None] | None,
) -> int:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_wait_for_signal, stop)
        keeper = _Keeper(config, sockets, announce)
        status = await keeper.run(stop)
        nursery.cancel_scope.cancel()
    return status


async def _wait_for_signal(stop: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _log.info("stopping", signal=signal.Signals(number).name)
            stop.set()


class _Keeper:
    """Keeps one worker alive until told to stop."""

    def __init__(
        self,
        config: GatewayConfig,
        sockets: Sequence[socket.socket],
        announce: Callable[[], None] | None,
    ) -> None:
        self._config = config
        self._sockets = sockets
        self._announce = announce

    async def run(self, stop: trio.Event) -> int:
        pause = FIRST_PAUSE
        while True:
            started = trio.current_time()
            status = await self._run_worker(stop)
            if stop.is_set():
                return 0 if status == 0 else 1
            if trio.current_time() - started >= SOUND_AFTER:
                pause = FIRST_PAUSE
            _log.error("worker died; starting another", status=status, pause_s=pause)
            with trio.move_on_after(pause):
                await stop.wait()
                return 0
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _run_worker(self, stop: trio.Event) -> int:
        ours, theirs = socket.socketpair()
        fds = [sock.fileno() for sock in self._sockets]
        command = [sys.executable, "-m", "gateway.server.worker_process", str(theirs.fileno())]
        with theirs:
            process = await trio.lowlevel.open_process(
                command, pass_fds=(theirs.fileno(), *fds), stdin=subprocess.DEVNULL
            )
        control = ControlStream(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._talk, control, process.pid, fds)
            nursery.start_soon(_stop_worker, stop, control, process)
            status = await process.wait()
            nursery.cancel_scope.cancel()
        await control.aclose()
        return status

    async def _talk(self, control: ControlStream, pid: int, fds: Sequence[int]) -> None:
        try:
            await control.send(
                {
                    "type": "start",
                    "snapshot": self._config.model_dump(mode="json"),
                    "listeners": list(fds),
                }
            )
            while (message := await control.receive()) is not None:
                if message.get("type") == "ready":
                    self._ready(pid)
        except (trio.BrokenResourceError, ControlBroken) as error:
            _log.warning("control stream broken", worker=pid, reason=str(error))

    def _ready(self, pid: int) -> None:
        addresses = [str(listener.address) for listener in self._config.listeners]
        _log.info("worker is serving", worker=pid, listeners=addresses)
        if self._announce is not None:
            self._announce()
            self._announce = None


async def _stop_worker(stop: trio.Event, control: ControlStream, process: trio.Process) -> None:
    await stop.wait()
    with contextlib.suppress(trio.BrokenResourceError):  # it is dying already
        await control.send({"type": "stop"})
    await trio.sleep(KILL_AFTER)
    _log.error("worker does not stop; killing it", worker=process.pid)
    process.kill()
