"""The main program of a worker process, started by ``supervisor``.

Owns: taking over inherited sockets and the configuration from the control stream, this process's
signals, and that its death leaves a line in the log.

Must not know: what serving means.
"""

from __future__ import annotations

import signal
import socket
import sys
from types import TracebackType
from typing import Final

import trio

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError
from gateway.observability.logs import configure, get_logger
from gateway.server.control import ControlStream, Message
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
            await serve(
                _listeners(start, snapshot),
                snapshot,
                control,
                workers=start.get("workers", 1),
                generation=start.get("generation", 0),
            )
    finally:
        await control.aclose()


def _listeners(start: Message, snapshot: GatewayConfig) -> list[BoundListener]:
    return [
        BoundListener(config, trio.socket.from_stdlib_socket(socket.socket(fileno=fd)))
        for config, fd in zip(snapshot.listeners, start["listeners"], strict=True)
    ]


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
