"""More faults than the twenty: other causes, and other ways to the same ones.

Owns: the table ``MORE_FAULTS``, and how each fault is made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateway.doctor.causes import Cause
from gateway.doctor.question import Question
from tests.doctor.faults import (
    NO_UPGRADE,
    Fault,
    SetUp,
    behind_nginx,
    jenkins_alone,
    through_the_gateway,
)
from tests.doctor.jenkins import Jenkins
from tests.doctor.paths import (
    APACHE_FIELDS,
    HAPROXY_FIELDS,
    NGINX_FIELDS,
    apache_front,
    ask,
    behind_gateway,
    good_tls,
    haproxy_front,
    nginx_front,
    running,
)
from tests.e2e.programs import HOST, free_ports
from tests.tools import require_tool


def nginx_and_jenkins(jenkins: Callable[[], Jenkins], **more: Any) -> SetUp:
    """Return nginx in front of a Jenkins that speaks WebSocket, without this gateway."""

    @asynccontextmanager
    async def set_up(folder: Path) -> AsyncIterator[Question]:
        require_tool("nginx")
        tls, behind = good_tls(folder), jenkins()
        async with running(behind), nginx_front(folder, behind.port, tls, **more) as port:
            yield ask(behind, port, tls)

    return set_up


@asynccontextmanager
async def doubled(folder: Path) -> AsyncIterator[Question]:
    """HAProxy adds its word to what clients say."""
    require_tool("haproxy")
    tls = good_tls(folder)
    fields = HAPROXY_FIELDS.replace("set-header", "add-header")
    async with (
        running(Jenkins(websocket=True)) as behind,
        haproxy_front(folder, behind.port, tls, fields=fields) as port,
    ):
        yield ask(behind, port, tls)


def _websocket() -> Jenkins:
    return Jenkins(websocket=True)


@asynccontextmanager
async def unknown_authority(folder: Path) -> AsyncIterator[Question]:
    async with through_the_gateway()(folder) as question:
        yield replace(question, ca_file=None)


@asynccontextmanager
async def slash_refused(folder: Path) -> AsyncIterator[Question]:
    """Apache's default: AllowEncodedSlashes Off."""
    require_tool("apache2")
    tls, fields = good_tls(folder), APACHE_FIELDS.replace("NoDecode", "Off")
    async with (
        running(Jenkins(websocket=True)) as behind,
        apache_front(behind.port, tls, fields=fields) as port,
    ):
        yield ask(behind, port, tls)


@asynccontextmanager
async def tls_port_in_clear(folder: Path) -> AsyncIterator[Question]:
    require_tool("nginx")
    jenkins, tls = Jenkins(), good_tls(folder)
    async with running(jenkins), nginx_front(folder, jenkins.port, tls) as port:
        yield ask(jenkins, port)


@asynccontextmanager
async def plain_port_in_tls(folder: Path) -> AsyncIterator[Question]:
    require_tool("nginx")
    jenkins = Jenkins()
    async with running(jenkins), nginx_front(folder, jenkins.port, None) as port:
        yield ask(jenkins, port, good_tls(folder))


@asynccontextmanager
async def client_certificate(folder: Path) -> AsyncIterator[Question]:
    jenkins, tls = Jenkins(), good_tls(folder)
    files = {"certificate": str(tls.pair.certificate), "key": str(tls.pair.key)}
    wanted = {"mode": "require", "ca_file": str(tls.ca)}
    encrypted = {"certificates": [files], "client_certificates": wanted}
    listeners = [{"address": f"{HOST}:0"}, {"address": f"{HOST}:0", "tls": encrypted}]
    async with behind_gateway(folder, jenkins, listeners=listeners) as worker:
        yield ask(jenkins, worker.tls, tls)


@asynccontextmanager
async def other_name(folder: Path) -> AsyncIterator[Question]:
    """A route for every host does not say which names are the gateway's own."""
    jenkins = Jenkins()
    async with behind_gateway(folder, jenkins) as worker:
        question = ask(jenkins, worker.plain)
        target = replace(question.target, host="ci.example.com")
        yield replace(question, target=target, connect_to=(HOST, worker.plain))


@asynccontextmanager
async def client_certificate_by_haproxy(folder: Path) -> AsyncIterator[Question]:
    """Up to TLS 1.2 a server that misses one says no more than `handshake failure`."""
    require_tool("haproxy")
    jenkins, tls = Jenkins(websocket=True), good_tls(folder)
    (port,) = free_ports(1)
    bind = f"  bind {HOST}:{port} ssl crt {tls.pem(folder)} ca-file {tls.ca} verify required"
    fields = f"{bind} ssl-max-ver TLSv1.2\n{HAPROXY_FIELDS}"
    async with running(jenkins), haproxy_front(folder, jenkins.port, None, fields=fields):
        yield ask(jenkins, port, tls)


@asynccontextmanager
async def upgrades_dropped(folder: Path) -> AsyncIterator[Question]:
    """444: nginx closes the connection without a word, as some firewalls do."""
    async with nginx_and_jenkins(
        _websocket,
        locations="    location /wsagents/ { return 444; }\n",
    )(folder) as question:
        yield question


@asynccontextmanager
async def nothing_listens(folder: Path) -> AsyncIterator[Question]:
    (port,) = free_ports(1)
    yield ask(Jenkins(), port)


MORE_FAULTS: Final = (
    Fault(
        "upgrade stripped, no gateway",
        nginx_and_jenkins(_websocket, fields=NO_UPGRADE),
        Cause.UPGRADE_STRIPPED,
        ("strips the Upgrade header", "proxy_set_header Upgrade"),
    ),
    Fault(
        "X-Forwarded-Proto missing, no gateway",
        nginx_and_jenkins(
            _websocket, fields=NGINX_FIELDS.replace("X-Forwarded-Proto $scheme", "X-Lost $scheme")
        ),
        Cause.FORWARDED_WRONG,
        ("X-Forwarded-Proto does not reach Jenkins", "proxy_set_header"),
    ),
    Fault(
        "X-Forwarded-Proto doubled by HAProxy",
        doubled,
        Cause.FORWARDED_DOUBLED,
        ("is added, not set", "set-header"),
    ),
    Fault(
        "another Host",
        nginx_and_jenkins(
            _websocket, fields=NGINX_FIELDS.replace("$http_host", "inner.example.com")
        ),
        Cause.FORWARDED_WRONG,
        ("the Host that people use", "Host $http_host"),
    ),
    Fault(
        "authority not known",
        unknown_authority,
        Cause.AUTHORITY_UNKNOWN,
        ("an authority that is not known here", "-cert @ca.pem", "--ca-file"),
    ),
    Fault(
        "uploads buffered",
        behind_nginx(fields=NGINX_FIELDS.replace("request_buffering off", "request_buffering on")),
        Cause.BUFFERED_UPLOAD,
        ("buffers uploads", "proxy_request_buffering off"),
    ),
    Fault(
        "%2F refused by Apache",
        slash_refused,
        Cause.SLASH_REFUSED,
        ("refuses %2F", "AllowEncodedSlashes NoDecode"),
    ),
    Fault(
        "wrong secret, no gateway, no session",
        jenkins_alone(_websocket, secret="0" * 64, session=False),
        Cause.WRONG_SECRET,
        ("the secret of a is wrong",),
    ),
    Fault(
        "wrong secret, no session",
        through_the_gateway(secret="0" * 64, session=False),
        Cause.WRONG_SECRET,
        ("the secret of a is wrong",),
    ),
    Fault(
        "unknown node, no session",
        through_the_gateway(node="nobody", session=False),
        Cause.UNKNOWN_NODE,
        ("knows no node nobody",),
    ),
    Fault(
        "agent too old",
        through_the_gateway(remoting="3.14"),
        Cause.AGENT_TOO_OLD,
        ("agent.jar 3.14 is too old", "jnlpJars/agent.jar"),
    ),
    Fault(
        "TLS port spoken to in clear",
        tls_port_in_clear,
        Cause.NOT_HTTP,
        ("speaks TLS", "https://"),
    ),
    Fault(
        "plain port spoken to in TLS",
        plain_port_in_tls,
        Cause.NOT_TLS,
        ("does not speak TLS", "http://"),
    ),
    Fault(
        "client certificate wanted by nginx",
        behind_nginx(client_ca=True),
        Cause.CLIENT_CERTIFICATE,
        ("wants a client certificate", "as optional", "ssl_verify_client optional"),
    ),
    Fault(
        "client certificate wanted by the gateway",
        client_certificate,
        Cause.CLIENT_CERTIFICATE,
        ("wants a client certificate", "as optional"),
    ),
    Fault(
        "client certificate wanted by HAProxy, TLS 1.2",
        client_certificate_by_haproxy,
        Cause.CLIENT_CERTIFICATE,
        ("wants a client certificate", "bind ... verify optional"),
    ),
    Fault(
        "HTTP/1.0, nginx' default",
        nginx_and_jenkins(_websocket, fields=NGINX_FIELDS.replace("proxy_http_version 1.1;", "")),
        Cause.UPGRADE_STRIPPED,
        ("over HTTP/1.1", "proxy_http_version 1.1"),
        frozenset({Cause.BUFFERED_UPLOAD}),
    ),
    Fault(
        "the CLI by a name that the gateway does not know",
        other_name,
        Cause.CLI_ORIGIN,
        ("none that it knows as its own", "controllers.NAME.jenkins_url to http://ci.example.com"),
    ),
    Fault(
        "the CLI of a Jenkins with another URL, through the gateway",
        through_the_gateway(lambda: Jenkins(websocket=True, root="https://ci.example.com/")),
        Cause.CLI_ORIGIN,
        ("the Origin that the gateway gives it", "set controllers.main.jenkins_url"),
    ),
    Fault(
        "upgrades dropped",
        upgrades_dropped,
        Cause.NO_ANSWER,
        ("the agent's upgrade is not answered", "WAF"),
    ),
    Fault(
        "nothing listens",
        nothing_listens,
        Cause.CONNECTION_REFUSED,
        ("nothing listens on port", "ss -ltnp"),
    ),
)
