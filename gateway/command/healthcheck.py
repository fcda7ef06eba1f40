"""``remoting-gateway healthcheck``: for containers that have no other program to ask with.

One line, and exit status 0 or 1, within two seconds. It writes nothing, and needs no more than to
be the gateway's own user. The control socket is asked first; where that is out of reach (another
user, another mount), the admin listener if it has a port.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from gateway.command.operate import call_gateway, folder_of, where
from gateway.command.options import find_config
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.config.values import Address

LIMIT: Final = 2.0  # seconds, for both ways together
_ONE_WAY: Final = 1.0
_MOST: Final = 64 * 1024


@click.command()
@where
def healthcheck(config: Path | None, state_dir: Path | None) -> None:
    """Say whether the gateway is ready for clients: exit status 0 if so, else 1.

    No controller is asked. For HEALTHCHECK in a Dockerfile and exec probes in Kubernetes.
    """
    port = None if state_dir is not None else _admin_port(config)
    try:
        folder = folder_of(config, state_dir)
        found = call_gateway(folder, "readiness", LIMIT if port is None else _ONE_WAY)
    except ConfigError as error:
        if port is None:
            _end(f"no answer: {error}")
        try:
            found = _by_port(*port)
        except (OSError, ValueError, http.client.HTTPException) as failure:
            _end(f"no answer: {error} Nor at {port[0]}: {failure}")
    if not found.get("ready"):
        _end(f"not ready: {', '.join(map(str, found.get('reasons', ['no reason given'])))}")
    click.echo("ready")


def _end(text: str) -> NoReturn:
    click.echo(" ".join(text.split()))
    sys.exit(1)


def _admin_port(config: Path | None) -> tuple[Address, bool] | None:
    """Return where the admin listener listens by the file, and whether it speaks TLS."""
    from gateway.config.admin import AdminListen
    from gateway.config.document import read_document

    try:
        document = read_document(find_config(config))
        listen = document.value_at(("admin", "listen"))
        address = AdminListen.parse(listen).address if isinstance(listen, str) else None
        has_tls = document.value_at(("admin", "tls")) is not None
    except (ConfigError, ValueError):
        return None
    return None if address is None else (address, has_tls)


def _by_port(address: Address, has_tls: bool) -> dict[str, Any]:
    from gateway.config.values import Address

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    connection: http.client.HTTPConnection
    if has_tls:
        # Nothing secret is sent, and nothing but a word is believed.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            host, address.port, timeout=_ONE_WAY, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, address.port, timeout=_ONE_WAY)
    try:
        connection.request("GET", "/readyz", headers={"Host": str(Address(host, address.port))})
        found = json.loads(connection.getresponse().read(_MOST))
    finally:
        connection.close()
    return found if isinstance(found, dict) else {}
