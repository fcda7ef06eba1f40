"""The seeded faults: twenty things that go wrong between agents and controllers, each built with
the program that brings it about in life, and what the doctor must say first.

Owns: the table ``FAULTS``, and how each fault is made.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import trio
import trustme

from gateway.config.models import CertificateConfig
from gateway.demo.agent import SimulatedAgent
from gateway.demo.faults import Faults, Stage, UseIdentity
from gateway.demo.identity import InstanceIdentity
from gateway.doctor.causes import Cause
from gateway.doctor.question import Question
from tests import certificates
from tests.doctor.jenkins import NODE, Jenkins
from tests.doctor.paths import (
    HAPROXY_FIELDS,
    NGINX_FIELDS,
    Tls,
    ask,
    behind_gateway,
    good_tls,
    haproxy_front,
    nginx_front,
    running,
)
from tests.e2e.programs import HOST
from tests.tools import require_tool

SetUp = Callable[[Path], AbstractAsyncContextManager[Question]]


@dataclass(frozen=True)
class Fault:
    """``cause``: of the first finding; ``says``: words of its title, remedy, or settings.

    ``others``: causes that may follow it, where one fault breaks two things that have two remedies.
    """

    name: str
    set_up: SetUp
    cause: Cause
    says: tuple[str, ...]
    others: frozenset[Cause] = frozenset()


# -- certificates, served by nginx -----------------------------------------------------------------


def with_certificate(make: Callable[[Path], Tls], host: str = HOST) -> SetUp:
    """Return nginx with a certificate that ``make`` makes."""

    @asynccontextmanager
    async def set_up(folder: Path) -> AsyncIterator[Question]:
        require_tool("nginx")
        tls, jenkins = make(folder), Jenkins()
        async with (
            behind_gateway(folder, jenkins) as worker,
            nginx_front(folder, worker.plain, tls) as port,
        ):
            question = ask(jenkins, port, tls)
            target = replace(question.target, host=host)
            yield replace(question, target=target, connect_to=(HOST, port))

    return set_up


def _write(folder: Path, chain: list[bytes], key: bytes, ca: bytes) -> Tls:
    paths = {name: folder / name for name in ("leaf.crt", "leaf.key", "root.pem")}
    paths["leaf.crt"].write_bytes(b"".join(chain))
    paths["leaf.key"].write_bytes(key)
    paths["root.pem"].write_bytes(ca)
    pair = CertificateConfig(certificate=paths["leaf.crt"], key=paths["leaf.key"])
    return Tls(pair, paths["root.pem"])


def expired(folder: Path) -> Tls:
    ca, now = certificates.authority(), datetime.now(UTC)
    leaf = ca.issue_cert(
        HOST, not_before=now - timedelta(days=90), not_after=now - timedelta(days=1)
    )
    chain = [blob.bytes() for blob in leaf.cert_chain_pems]
    return _write(folder, chain, leaf.private_key_pem.bytes(), ca.cert_pem.bytes())


def without_intermediate(folder: Path) -> Tls:
    root = trustme.CA()
    leaf = root.create_child_ca().issue_cert(HOST)
    own = leaf.cert_chain_pems[0].bytes()
    return _write(folder, [own], leaf.private_key_pem.bytes(), root.cert_pem.bytes())


# -- what proxies do -------------------------------------------------------------------------------


def behind_nginx(
    *,
    jenkins: Callable[[], Jenkins] = Jenkins,
    tls: bool = True,
    client_ca: bool = False,
    **more: Any,
) -> SetUp:
    """Return nginx in front of the gateway, with other settings than it should have."""

    @asynccontextmanager
    async def set_up(folder: Path) -> AsyncIterator[Question]:
        require_tool("nginx")
        certificate = good_tls(folder) if tls else None
        behind = jenkins()
        if client_ca and certificate is not None:
            more["server"] = f"    ssl_verify_client on; ssl_client_certificate {certificate.ca};"
        async with (
            behind_gateway(folder, behind) as worker,
            nginx_front(folder, worker.plain, certificate, **more) as port,
        ):
            yield ask(behind, port, certificate)

    return set_up


def behind_haproxy(*, hold: float = 0.3, **more: Any) -> SetUp:
    """Return HAProxy in front of the gateway, with other settings than it should have."""

    @asynccontextmanager
    async def set_up(folder: Path) -> AsyncIterator[Question]:
        require_tool("haproxy")
        jenkins, tls = Jenkins(), good_tls(folder)
        async with (
            behind_gateway(folder, jenkins) as worker,
            haproxy_front(folder, worker.plain, tls, **more) as port,
        ):
            yield ask(jenkins, port, tls, hold=hold)

    return set_up


@asynccontextmanager
async def redirect(folder: Path) -> AsyncIterator[Question]:
    """The usual second server block of nginx, on port 80."""
    require_tool("nginx")
    jenkins = Jenkins()
    async with behind_gateway(folder, jenkins) as worker:
        server = "    return 301 https://$host$request_uri;"
        async with nginx_front(folder, worker.plain, None, server=server) as port:
            yield ask(jenkins, port)


def nginx_with_login() -> SetUp:
    """Return nginx with auth_request, as in front of oauth2-proxy, which nobody has exempted."""
    return behind_nginx(
        locations="""\
    location = /oauth2/auth { internal; return 401; }
    location @login { return 302 https://login.example.com/oauth2/authorize?rd=$request_uri; }
""",
        fields=f"{NGINX_FIELDS}      auth_request /oauth2/auth;\n      error_page 401 = @login;\n",
    )


def through_the_gateway(jenkins: Callable[[], Jenkins] = Jenkins, **more: Any) -> SetUp:
    """Return the gateway alone; ``more`` changes the question."""

    @asynccontextmanager
    async def set_up(folder: Path) -> AsyncIterator[Question]:
        behind, tls = jenkins(), good_tls(folder)
        async with behind_gateway(folder, behind) as worker:
            yield ask(behind, worker.tls, tls, **more)

    return set_up


def jenkins_alone(jenkins: Callable[[], Jenkins], **more: Any) -> SetUp:
    @asynccontextmanager
    async def set_up(folder: Path) -> AsyncIterator[Question]:
        async with running(jenkins()) as behind:
            yield ask(behind, behind.port, **more)

    return set_up


@asynccontextmanager
async def connected_already(folder: Path) -> AsyncIterator[Question]:
    """The node's agent is there, and lives."""
    jenkins, tls = Jenkins(), good_tls(folder)
    async with behind_gateway(folder, jenkins) as worker, trio.open_nursery() as nursery:
        url = f"http://{HOST}:{worker.plain}/"
        agent = SimulatedAgent(url, NODE, jenkins.secret(NODE))
        nursery.start_soon(agent.run)
        await jenkins.agents.wait_for_channel(NODE)
        yield ask(jenkins, worker.tls, tls)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def blocked(folder: Path) -> AsyncIterator[Question]:
    """The published port is one where packets are dropped: its backlog is full."""
    with socket.socket() as wall:
        wall.bind((HOST, 0))
        wall.listen(0)
        port = wall.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for each in fillers:
            each.setblocking(False)
            each.connect_ex((HOST, port))
        try:
            async with through_the_gateway(lambda: Jenkins(advertised=port))(folder) as question:
                yield replace(question, timeout=15)
        finally:
            for each in fillers:
                each.close()


def _other_identity() -> Jenkins:
    return Jenkins(faults=Faults({Stage.TLS: UseIdentity(InstanceIdentity())}))


NO_UPGRADE: Final = """\
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_request_buffering off;
"""
BUFFERED: Final = NGINX_FIELDS.replace("buffering off", "buffering on")

FAULTS: Final = (
    Fault(
        "expired certificate",
        with_certificate(expired),
        Cause.CERTIFICATE_EXPIRED,
        ("expired on", "Renew", "nginx -s reload"),
    ),
    Fault(
        "missing intermediate",
        with_certificate(without_intermediate),
        Cause.INTERMEDIATE_MISSING,
        ("intermediate", "Append", "ssl_certificate"),
    ),
    Fault(
        "wrong name",
        with_certificate(good_tls, host="jenkins.example.com"),
        Cause.WRONG_NAME,
        ("another name than jenkins.example.com", "a certificate that has jenkins.example.com"),
    ),
    Fault(
        "upgrade headers stripped by nginx",
        behind_nginx(fields=NO_UPGRADE),
        Cause.UPGRADE_STRIPPED,
        ("strips the Upgrade header", "pass on Upgrade", "proxy_set_header Upgrade"),
    ),
    Fault(
        "idle cut by HAProxy",  # 60 s in life; the doctor says what it measured
        behind_haproxy(hold=6, fields=HAPROXY_FIELDS.replace("tunnel 1h", "tunnel 2s")),
        Cause.IDLE_CUT,
        ("an idle timer of 2 s", "Raise that timer", "timeout tunnel 1h"),
    ),
    Fault(
        "http redirected to https",
        redirect,
        Cause.REDIRECT_TO_HTTPS,
        ("http is redirected to https", "-url https://127.0.0.1/"),
    ),
    Fault(
        "SSO in front",
        nginx_with_login(),
        Cause.SSO,
        ("login page (SSO)", "Let the agents' paths through", "~ ^/(login|", "auth_request off"),
    ),
    Fault(
        "wrong prefix",
        jenkins_alone(lambda: Jenkins(websocket=True, prefix="/jenkins"), path="/"),
        Cause.WRONG_PREFIX,
        ("Jenkins is at /jenkins/, not at /", "/jenkins/"),
    ),
    Fault(
        "wrong secret",
        through_the_gateway(secret="0" * 64),
        Cause.WRONG_SECRET,
        ("the secret of a is wrong", "Take the secret from Jenkins"),
    ),
    Fault(
        "unknown node",
        through_the_gateway(node="nobody"),
        Cause.UNKNOWN_NODE,
        ("knows no node nobody", "Create the node nobody"),
    ),
    Fault(
        "already connected",
        connected_already,
        Cause.ALREADY_CONNECTED,
        ("a is already connected", "takeover"),
    ),
    Fault(
        "TCP port disabled",
        through_the_gateway(lambda: Jenkins(tcp=False)),
        Cause.TCP_PORT_DISABLED,
        ("TCP agent port is disabled", "TCP port for inbound agents", "slaveAgentPort"),
    ),
    Fault(
        "port blocked",
        blocked,
        Cause.PORT_BLOCKED,
        ("cannot be reached", "Open TCP port", "firewall"),
    ),
    Fault(
        "identity mismatch",
        through_the_gateway(_other_identity),
        Cause.IDENTITY_MISMATCH,
        ("another key", "identity accept"),
    ),
    Fault(
        "%2F decoded by nginx",
        behind_nginx(target="/"),
        Cause.SLASH_DECODED,
        ("decodes %2F", "pass on the path as it came", "no path after the address"),
    ),
    Fault(
        "X-Forwarded-Proto missing",
        behind_nginx(
            fields=NGINX_FIELDS.replace("X-Forwarded-Proto $scheme", "X-Lost $scheme"),
        ),
        Cause.FORWARDED_WRONG,
        ("X-Forwarded-Proto does not reach Jenkins", "proxy_set_header X-Forwarded-Proto $scheme"),
    ),
    Fault(
        "CLI Origin refused",
        jenkins_alone(lambda: Jenkins(websocket=True, root="https://jenkins.example.com/")),
        Cause.CLI_ORIGIN,
        ("Origin is refused", "Jenkins URL"),
    ),
    Fault(
        "buffering nginx",
        behind_nginx(fields=BUFFERED),
        Cause.BUFFERED_DOWNLOAD,
        ("buffers answers", "proxy_buffering off"),
    ),
    Fault(
        "header limit of HAProxy",
        behind_haproxy(before="global\n  tune.bufsize 4096\n  tune.maxrewrite 512"),
        Cause.HEADER_LIMIT,
        ("request headers above 3.", "Raise the limit", "tune.bufsize"),
    ),
    Fault(
        "controller starting",
        through_the_gateway(lambda: Jenkins(starting=True)),
        Cause.CONTROLLER_STARTING,
        ("Jenkins is starting", "Wait until Jenkins is up"),
    ),
)
