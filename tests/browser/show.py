"""The status page of a gateway that is made up, as a program: ``python -m tests.browser.show``.

Owns: the admin listener on a port of its own, and orders on standard input, one JSON object a line:
``{"sessions": 5000}``, ``{"hostile": true}``, ``{"change": 3, "from_agent": 5}``,
``{"gone": 3}``, ``{"most_viewers": 1}``. Each is answered by a line, as is the start:
``{"port": ...}``.

Browsers are driven by code that blocks, so whatever they talk to is another process.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import replace
from typing import Any

import structlog
import trio

from gateway.config.admin import AdminConfig, AdminListen
from gateway.config.values import Address, Secret
from gateway.server.admin.binding import AdminSocket
from gateway.server.admin.listener import AdminListener, AdminTerms
from gateway.server.admin.page.pages import StatusPage
from gateway.server.admin.page.routing import page_routes
from gateway.server.admin.routes import Routes
from tests.server.admin.page import snapshots
from tests.server.admin.page.source import ScriptedSource

HOST = "127.0.0.1"


def obey(source: ScriptedSource, order: dict[str, Any]) -> None:
    """Change what there is to see."""
    if "sessions" in order:
        source.now = snapshots.snapshot(order["sessions"])
    if "hostile" in order:
        source.now = snapshots.hostile()
    if "change" in order:
        source.change(order.pop("change"), **order)
    if "new" in order:
        row = snapshots.session(order["new"])
        source.now = replace(source.now, sessions=(*source.now.sessions, row))
    if "gone" in order:
        rows = [row for i, row in enumerate(source.now.sessions) if i != order["gone"]]
        source.now = replace(source.now, sessions=tuple(rows))
    if "state" in order:
        source.now = replace(source.now, state=order["state"], ready=False, silent=(4101,))


async def main(port: int, token: str | None) -> None:
    """Serve until standard input ends."""
    source = ScriptedSource()
    page = StatusPage(source)
    page.looks.interval = 0.1
    config = AdminConfig(
        listen=AdminListen(Address(HOST, 0)), token=None if token is None else Secret(token)
    )
    with socket.create_server((HOST, port)) as sock:
        sock.setblocking(False)
        listener = AdminListener(
            AdminSocket(HOST, sock), AdminTerms.read(config), Routes(page_routes(page))
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run)
            print(json.dumps({"port": sock.getsockname()[1]}), flush=True)
            orders = b""
            stdin = trio.lowlevel.FdStream(os.dup(0))
            while piece := await stdin.receive_some():
                *lines, orders = (orders + piece).split(b"\n")
                for line in lines:
                    order = json.loads(line)
                    page.looks.most_viewers = order.pop("most_viewers", page.looks.most_viewers)
                    obey(source, order)
                    page.looks.forget()  # a page that is loaded now shows it
                    print(json.dumps({"viewers": page.looks.viewers}), flush=True)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    trio.run(main, int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
