"""The main program of a worker process, started by ``supervisor``.

Owns: taking over inherited sockets and the configuration from the control stream, this process's
signals, and that its death leaves a line in the log.

Must not know: what serving means.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

import trio

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError
from gateway.observability.logs import configure, get_logger
from gateway.server.control import ControlStream
from gateway.server.snapshot import read_snapshot
from gateway.server.worker import serve
from gateway.transport.listeners import BoundListener

_log = get_logger("system")

# Exit status of a worker that could not begin to serve; a crash is Python's own 1.
CANNOT_START: Final = 3
# The supervisor owns the signals: a service manager sends them to every process it sees, and a
# worker must stop once, in order. SIGTTOU would stop it for writing its log to a terminal.
_IGNORED: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTOU,
)


async def _run(control_fd: int) -> None:
    connection = trio.socket.from_stdlib_socket(socket.socket(fileno=control_fd))
    control = ControlStream(trio.SocketStream(connection))
    try:
        start = await control.receive()
        # None: the supervisor is gone. Anything else is the word to stop, which came first.
        if start is not None and start.get("type") == "start":
            snapshot = read_snapshot(start["snapshot"])
            listeners = dict(zip(range(len(snapshot.listeners)), start["listeners"], strict=True))
            await serve(
                list(_bound(listeners, snapshot).values()),
                snapshot,
                control,
                others={
                    int(slot): _bound(fds, snapshot)
                    for slot, fds in start.get("others", {}).items()
                },
                workers=start.get("workers", 1),
                generation=start.get("generation", 0),
                settings=start.get("settings"),
            )
    finally:
        await control.aclose()


def _bound(fds: Mapping[Any, int], snapshot: GatewayConfig) -> dict[int, BoundListener]:
    """Take over inherited sockets, by the index of their listener."""
    return {
        int(i): BoundListener(
            snapshot.listeners[int(i)],
            trio.socket.from_stdlib_socket(socket.socket(fileno=fd)),
        )
        for i, fd in fds.items()
    }


def _log_crash(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    _log.error("worker crashed", exc_info=(kind, error, traceback))


def main() -> None:
    """Serve until the supervisor says stop or is gone. ``sys.argv[1]`` is the control stream's fd.

    Exits with 0 after an orderly stop, CANNOT_START, or 1 after a crash.
    """
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    configure()
    sys.excepthook = _log_crash
    try:
        trio.run(_run, int(sys.argv[1]))
    except ConfigError as error:
        _log.error(
            "worker cannot start",
            reason=str(error),
            remedy="remoting-gateway check -c FILE tells what is wrong with a configuration",
        )
        sys.exit(CANNOT_START)


if __name__ == "__main__":
    main()
