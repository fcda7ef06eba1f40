"""Which transport a controller has for the CLI, as its own answers tell (``cli.transport: auto``).

Owns: what an answer to an upgrade says about that, and remembering it.

Must not know: connections, sessions.

There is no probe of its own: the first client's upgrade is one. Where it is answered as by a
controller that has no ``/cli/ws``, and full-duplex HTTP then works, that is remembered for an hour,
since a controller may be upgraded; a WebSocket is found again by every client that uses it.
"""

from __future__ import annotations

from typing import Final

import trio

from gateway.config.models import ControllerConfig
from gateway.observability.logs import get_logger
from gateway.protocol.http_head import ResponseHead

_log = get_logger("session")

HTTP_TTL: Final = 3600.0
# 404: core before 2.216, or a container without WebSocket. 400: something on the way has taken the
# Upgrade away ("only WS connections accepted here"); 405 and 501: it knows of none.
_WITHOUT: Final = frozenset({400, 404, 405, 501})


def lacks_websocket(head: ResponseHead) -> bool:
    """Say whether this is the answer of a controller that a WebSocket does not reach."""
    return head.status in _WITHOUT


class CliTransports:
    """What is known of the controllers. One for a worker."""

    def __init__(self) -> None:
        self._http: dict[str, tuple[ControllerConfig, float]] = {}

    def goes_by_http(self, name: str, controller: ControllerConfig) -> bool:
        """Say whether a client need not be tried by WebSocket."""
        if controller.cli.transport == "http" or controller.cli.inspects:
            return True
        known, until = self._http.get(name, (None, 0.0))
        return (
            controller.cli.transport == "auto"
            and known == controller
            and trio.current_time() < until
        )

    def found_http(self, name: str, controller: ControllerConfig, *, because: int) -> None:
        """Note that full-duplex HTTP works where an upgrade was answered ``because``."""
        self._http[name] = (controller, trio.current_time() + HTTP_TTL)
        _log.info(
            "cli transport chosen",
            controller=name,
            transport="http",
            reason=f"the controller answered {because} to an upgrade at /cli/ws",
        )

    def forget(self, name: str) -> None:
        """Have the next client find out again."""
        self._http.pop(name, None)
