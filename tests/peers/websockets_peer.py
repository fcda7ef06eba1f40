"""The ``websockets`` library as either end, for conformance suites: it echoes what it gets.

Owns: two programs, since the library has an event loop of its own.

``python -m tests.peers.websockets_peer server`` prints its port and serves until killed.
``python -m tests.peers.websockets_peer client URL AGENT`` runs every case that a fuzzing server at
URL has (Autobahn's protocol) and has it write its report.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.sync.server import serve

_AT_A_TIME: Final = 4


def echo(websocket: Any) -> None:
    """Send every message back until the connection ends, one way or another."""
    try:
        for message in websocket:
            websocket.send(message)
    except WebSocketException:
        return


def run_server() -> None:
    """Serve on a port of the kernel's choice."""
    with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()


def run_client(url: str, agent: str) -> None:
    """Run every case."""
    with connect(f"{url}/getCaseCount") as websocket:
        count = int(websocket.recv())

    def run_case(number: int) -> None:
        try:
            with connect(f"{url}/runCase?case={number}&agent={agent}", max_size=None) as websocket:
                echo(websocket)
        except (WebSocketException, OSError):
            return  # the report says what it was

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        list(pool.map(run_case, range(1, count + 1)))
    with connect(f"{url}/updateReports?agent={agent}") as websocket:
        echo(websocket)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        run_server()
    else:
        run_client(*sys.argv[2:4])
