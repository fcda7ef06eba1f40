"""The main program of a worker process, started by ``supervisor``.

Owns: taking over inherited sockets and the configuration from the control stream, and this
process's signals.

Must not know: what serving means.
"""

from __future__ import annotations

import signal
import socket
import sys

import trio

from gateway.config.models import GatewayConfig
from gateway.observability.logs import configure
from gateway.server.control import ControlStream, Message
from gateway.server.worker import serve
from gateway.transport.listeners import BoundListener


async def _run(control_fd: int) -> None:
    connection = trio.socket.from_stdlib_socket(socket.socket(fileno=control_fd))
    control = ControlStream(trio.SocketStream(connection))
    start = await control.receive()
    if start is None:
        return
    snapshot = GatewayConfig.model_validate(start["snapshot"])
    listeners = _listeners(start, snapshot)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, listeners, snapshot, control)
        await control.send({"type": "ready"})


def _listeners(start: Message, snapshot: GatewayConfig) -> list[BoundListener]:
    return [
        BoundListener(config, trio.socket.from_stdlib_socket(socket.socket(fileno=fd)))
        for config, fd in zip(snapshot.listeners, start["listeners"], strict=True)
    ]


def main() -> None:
    """Serve until the supervisor says stop or is gone."""
    # The supervisor owns the signals: a Ctrl-C reaches the whole process group, and must stop
    # workers once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    configure()
    trio.run(_run, int(sys.argv[1]))


if __name__ == "__main__":
    main()
