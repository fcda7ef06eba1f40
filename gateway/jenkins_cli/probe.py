"""What a controller would say to CLI clients, asked before one comes.

Owns: the one question, and what its answers mean to an operator; the remedy for a refused origin.

Must not know: commands, who shows the answer.

The question is ``GET <prefix>/cli/ws`` with the ``Origin`` that clients would be given, but without
an upgrade: Jenkins looks at that last (PROTOCOLS E.2), so 400 means that all the rest is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import trio

from gateway.config.models import ControllerConfig
from gateway.errors import ControllerTimeout, ControllerUnreachable
from gateway.http.upstream import Upstream
from gateway.jenkins_cli.origin import Origin
from gateway.protocol.http_head import ResponseHead
from gateway.protocol.http_headers import Field

CLI_ERROR: Final = b"X-CLI-Error"
_UNEXPECTED: Final = b"Unexpected request origin"
_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class CliWay:
    """How CLI clients get to a controller: ``way`` is websocket, http, none or unknown.

    ``is_refused``: the configured ``jenkins_url`` is not the one that is set in Jenkins.
    """

    way: str
    why: str
    is_refused: bool = False


def refuses_origin(head: ResponseHead) -> bool:
    """Say whether this is a controller's word that an origin is not its own."""
    return head.status == 403 and (head.headers.get(CLI_ERROR) or b"").startswith(_UNEXPECTED)


def remedy(name: str) -> str:
    """Return what to do about it."""
    return f"set controllers.{name}.jenkins_url to the Jenkins URL that is set in Jenkins"


async def ask_about_cli(name: str, controller: ControllerConfig) -> CliWay:
    """Ask a controller; takes at most 5 s. Raises ConfigError for files that cannot be used."""
    if controller.url is None:
        return CliWay("none", "a controller without url")
    if controller.cli.inspects:
        return CliWay("http", "translated, since policy or audit read commands")
    if controller.cli.transport == "http":
        return CliWay("http", "configured")
    fields: list[Field] = []
    if controller.jenkins_url is not None:
        fields = [(b"Origin", str(Origin.of_url(controller.jenkins_url)).encode())]
    try:
        with trio.fail_after(_TIMEOUT):
            path = f"{controller.url.prefix}/cli/ws"
            head, _ = await Upstream(name, controller).fetch(path, fields)
    except (ControllerUnreachable, ControllerTimeout) as error:
        return CliWay("unknown", error.detail or error.public)
    except trio.TooSlowError:
        return CliWay("unknown", f"no answer in {_TIMEOUT:g} s")
    return _meaning(name, controller, head)


def _meaning(name: str, controller: ControllerConfig, head: ResponseHead) -> CliWay:
    said = head.headers.get(CLI_ERROR)
    if head.status == 404:
        if controller.cli.transport == "websocket":
            return CliWay("none", "it has no /cli/ws; transport: auto translates")
        return CliWay("http", "it has no /cli/ws")
    if refuses_origin(head):
        if controller.jenkins_url is None:
            return CliWay("websocket", f"it wants to know the origin; {remedy(name)}")
        origin = Origin.of_url(controller.jenkins_url)
        return CliWay("websocket", f"it refuses {origin}; {remedy(name)}", is_refused=True)
    if head.status == 400:
        return CliWay("websocket", "/cli/ws is there")
    why = f"it answered {head.status}" + ("" if said is None else f": {said.decode('latin-1')}")
    return CliWay("unknown", why)
