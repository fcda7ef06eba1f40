"""Where the CLI is told to connect, in the headers of every page (PROTOCOLS E.4).

Owns: what becomes of ``X-SSH-Endpoint`` and of the ports of the removed Remoting CLI.

Must not know: requests, connections.
"""

from __future__ import annotations

from typing import Final

from gateway.config.cli import CliConfig, PortRewrite
from gateway.protocol.http_headers import Field

_SSH: Final = frozenset({b"x-ssh-endpoint"})
_PORTS: Final = frozenset({b"x-hudson-cli-port", b"x-jenkins-cli-port", b"x-jenkins-cli2-port"})
_HOST: Final = b"x-jenkins-cli-host"
_NAMES: Final = _SSH | _PORTS | {_HOST}


def advertised_fields(fields: list[Field], config: CliConfig) -> list[Field]:
    """Return an answer's ``fields`` as the configuration wants them; nothing is made up."""
    ssh, ports = config.ssh_endpoint, config.tcp_ports
    if ssh == ports == "pass":
        return fields
    if _NAMES.isdisjoint(name.lower() for name, _ in fields):
        return fields
    if ssh == "drop":
        fields = _without(fields, _SSH)
    elif isinstance(ssh, PortRewrite):
        endpoint = f"{ssh.host}:{ssh.port}".encode()
        fields = [(n, endpoint if n.lower() in _SSH else value) for n, value in fields]
    if ports == "drop":
        fields = _without(fields, _PORTS | {_HOST})
    elif isinstance(ports, PortRewrite) and any(n.lower() in _PORTS for n, _ in fields):
        port = str(ports.port).encode()
        fields = _without(fields, {_HOST})
        fields = [(n, port if n.lower() in _PORTS else value) for n, value in fields]
        fields.append((b"X-Jenkins-CLI-Host", ports.host.encode()))
    return fields


def _without(fields: list[Field], names: frozenset[bytes] | set[bytes]) -> list[Field]:
    return [field for field in fields if field[0].lower() not in names]
