"""The supervisor: binds the listeners, starts the worker, restarts it when it dies, owns the
signals.

Owns: processes and their order of stopping. The worker gets listening sockets by inheritance and
the resolved configuration through the control stream, so that it needs no file and no privilege.
The sockets stay open here while there is no worker: clients wait in the backlog, nobody is refused.

Must not know: HTTP, sessions, controllers.

Signals: SIGTERM, SIGINT and SIGQUIT stop in order (nginx's QUIT; its TERM and INT cut at once,
which no agent would thank us for). SIGHUP, SIGUSR1 and SIGUSR2, which reload, reopen logs and
upgrade an nginx, would kill a program that does not handle them: they are logged and ignored. Only
the SIGHUP of a terminal that went away stops too.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from gateway.config.models import GatewayConfig
from gateway.config.values import Address
from gateway.errors import ConfigError
from gateway.observability.logs import get_logger
from gateway.server.control import ControlBroken, ControlStream
from gateway.server.ending import STOP_TIMEOUT
from gateway.transport.listeners import bind_all

_log = get_logger("system")

# A worker that dies at once must not be started a thousand times a minute.
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
# A worker that lived this long did not die of its start: the pause begins anew.
SOUND_AFTER: Final = 60.0
# Beyond the worker's own limit it is killed.
KILL_AFTER: Final = STOP_TIMEOUT + 5.0

# Two a session, for all the connections that a worker admits.
ENOUGH_DESCRIPTORS: Final = 65_536
# More serves nobody, and a billion (Docker's default) makes programs slow that visit each.
MOST_DESCRIPTORS: Final = 1_048_576

_STOP: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_IGNORED: Final = {
    signal.SIGHUP: "reload is not available yet; restart to apply a changed configuration",
    signal.SIGUSR1: "logs go to standard error; there is no file to open again",
    signal.SIGUSR2: "an upgrade in place is not available yet; restart",
}


def run_supervisor(config: GatewayConfig, *, announce: Callable[[], None] | None = None) -> int:
    """Run the gateway until SIGTERM, SIGINT or SIGQUIT; return the exit status.

    0 after an orderly stop; 1 when the worker had to be killed or the first one never became ready.
    ``announce`` is called once, when every listener accepts. Raises ConfigError when an address
    cannot be bound or the state folder cannot be used.
    """
    _prepare_state_dir(config)
    _raise_descriptor_limit()
    sockets = bind_all(config.listeners)
    try:
        return trio.run(_supervise, config, sockets, announce)
    finally:
        for sock in sockets:
            sock.close()


def _prepare_state_dir(config: GatewayConfig) -> None:
    remedy = "set state_dir, or the variable STATE_DIRECTORY, to a folder that this user may write"
    try:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ConfigError(
            f"state_dir: {config.state_dir} cannot be made: {reason}; {remedy}"
        ) from None
    if not os.access(config.state_dir, os.W_OK | os.X_OK):
        raise ConfigError(f"state_dir: {config.state_dir} cannot be written; {remedy}")


def _raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one, as workers inherit it; warn of a low one.

    The soft limit is 1024 almost everywhere, for the sake of programs that use select().
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # forbidden: then the soft one it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft != resource.RLIM_INFINITY and soft < ENOUGH_DESCRIPTORS:
        _log.warning(
            "low limit of open files; a session needs two",
            limit=soft,
            recommended=ENOUGH_DESCRIPTORS,
            remedy="raise the hard limit: LimitNOFILE= (systemd), --ulimit nofile= (Docker)",
        )


async def _supervise(
    config: GatewayConfig,
    sockets: Sequence[socket.socket],
    announce: Callable[[], None] | None,
) -> int:
    stop = trio.Event()
    starter = _Starter(config, sockets, announce)
    with trio.open_signal_receiver(*_STOP, *_IGNORED) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_heed, signals, stop)
            status = await keep_running(starter.run_worker, stop)
            nursery.cancel_scope.cancel()
    return status


# -- signals ---------------------------------------------------------------------------------------


async def _heed(signals: AsyncIterator[int], stop: trio.Event) -> None:
    terminals = [fd for fd in range(3) if os.isatty(fd)]
    async for number in signals:
        name = signal.Signals(number).name
        if number == signal.SIGHUP and not all(map(os.isatty, terminals)):
            name = "SIGHUP, the terminal is gone"
        elif number in _IGNORED:
            _log.warning("signal ignored", signal=name, reason=_IGNORED[signal.Signals(number)])
            continue
        if stop.is_set():
            continue  # a Ctrl-C too many, or a tool that signals process and group
        stop.set()
        _log.info("stopping", signal=name)


# -- keeping one worker alive ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Life:
    """How a worker ended. ``status`` is its exit status, negative for a signal, None if it could
    not even be started; ``ready``: it served.
    """

    status: int | None
    ready: bool

    def __str__(self) -> str:
        if self.status is None:
            return "not started"
        if self.status >= 0:
            return f"exit status {self.status}"
        try:
            return f"killed by {signal.Signals(-self.status).name}"
        except ValueError:
            return f"killed by signal {-self.status}"  # a real-time signal


async def keep_running(
    run_worker: Callable[[trio.Event], Awaitable[Life]], stop: trio.Event
) -> int:
    """Run one worker after another until ``stop``; return the supervisor's exit status.

    The first one has to become ready: what keeps it from that will not go away by itself, and
    whoever started the program is still looking.
    """
    pause = FIRST_PAUSE
    served = False
    while True:
        started = trio.current_time()
        life = await run_worker(stop)
        if stop.is_set():
            return _status_of_stop(life)
        served = served or life.ready
        if not served:
            _log.error("the worker did not become ready; giving up", worker_ended=str(life))
            return 1
        if trio.current_time() - started >= SOUND_AFTER:
            pause = FIRST_PAUSE
        _log.error("the worker died; starting another", worker_ended=str(life), pause_s=pause)
        with trio.move_on_after(pause):
            await stop.wait()
            return 0
        pause = min(pause * 2, LONGEST_PAUSE)


def _status_of_stop(life: Life) -> int:
    if not life.ready and life.status is not None and -life.status in _STOP:
        return 0  # the signal was for everybody, and met it before it could ignore it
    return 0 if life.status == 0 else 1


# -- one worker ------------------------------------------------------------------------------------


class _Starter:
    """Starts workers, talks to them and stops them."""

    def __init__(
        self,
        config: GatewayConfig,
        sockets: Sequence[socket.socket],
        announce: Callable[[], None] | None,
    ) -> None:
        self._config = config
        self._sockets = sockets
        self._announce = announce
        # The configuration may leave the port to the kernel.
        self._addresses = [
            str(Address(listener.address.host, sock.getsockname()[1]))
            for listener, sock in zip(config.listeners, sockets, strict=True)
        ]

    async def run_worker(self, stop: trio.Event) -> Life:
        """Run one worker to its end, which ``stop`` brings about in order."""
        fds = [sock.fileno() for sock in self._sockets]
        ours, theirs = socket.socketpair()
        control = ControlStream(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        try:
            with theirs:
                process = await trio.lowlevel.open_process(
                    _command(theirs.fileno()),
                    pass_fds=(theirs.fileno(), *fds),
                    stdin=subprocess.DEVNULL,
                    # Of its own, so that Ctrl-C reaches the supervisor alone.
                    process_group=0,
                )
        except OSError as error:
            _log.error("a worker cannot be started", reason=str(error))
            await control.aclose()
            return Life(None, ready=False)
        worker = _Worker(control, process)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._talk, worker, fds)
                nursery.start_soon(self._stop, worker, stop)
                status = await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            await control.aclose()
        return Life(status, worker.ready)

    async def _talk(self, worker: _Worker, fds: Sequence[int]) -> None:
        snapshot = self._config.model_dump(mode="json")
        try:
            await worker.control.send(
                {"type": "start", "snapshot": snapshot, "listeners": list(fds)}
            )
            while (message := await worker.control.receive()) is not None:
                if message.get("type") == "ready":
                    worker.ready = True
                    self._tell(worker.process.pid)
        except trio.BrokenResourceError:
            return  # it is dying: process.wait() tells
        except ControlBroken as error:
            _log.error("the worker cannot be understood", reason=str(error))

    def _tell(self, pid: int) -> None:
        _log.info("worker is serving", worker=pid, listeners=self._addresses)
        if self._announce is not None:
            self._announce()
            self._announce = None

    async def _stop(self, worker: _Worker, stop: trio.Event) -> None:
        await stop.wait()
        # The worker closes its own as soon as it hears of it. New clients are then refused instead
        # of waiting in a backlog that nobody will take them from.
        for sock in self._sockets:
            sock.close()
        with trio.move_on_after(KILL_AFTER):
            with contextlib.suppress(trio.BrokenResourceError):  # it is dying already
                await worker.control.send({"type": "stop"})
            await trio.sleep_forever()
        _log.error("the worker does not stop; killing it", worker=worker.process.pid)
        worker.process.kill()


@dataclass(slots=True)
class _Worker:
    """A running worker and what is known of it."""

    control: ControlStream
    process: trio.Process
    ready: bool = False


def _command(control_fd: int) -> list[str]:
    """Return the worker's command line.

    -m would look for every module in the working folder first, which may be anybody's: it may only
    where this program itself lies there (a checkout that is not installed).
    """
    safe = [] if os.path.samefile(Path(__file__).parents[2], os.curdir) else ["-P"]
    return [sys.executable, *safe, "-m", "gateway.server.worker_process", str(control_fd)]
