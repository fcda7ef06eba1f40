"""Whole paths for the doctor: Jenkins, the gateway, and real proxies in front, each in a line.

Owns: starting them for the time of a block, with settings that a fault changes.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec

import trio

from gateway.config.models import CertificateConfig
from gateway.config.values import Secret
from gateway.demo.agent_http import Target
from gateway.doctor.question import Question
from tests import certificates
from tests.doctor.jenkins import NODE, Jenkins
from tests.e2e.programs import HOST, apache, free_ports, haproxy, nginx
from tests.server.workers import Worker, make_config, running_worker

P = ParamSpec("P")

# Where proxies connect from, so that the gateway believes them and not the doctor.
PROXY: Final = "127.0.0.9"
HOLD: Final = 0.3
NGINX_FIELDS: Final = """\
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 1h;
"""
HAPROXY_FIELDS: Final = """\
  option forwardfor
  http-request set-header X-Forwarded-Proto https
  timeout tunnel 1h
"""
APACHE_MODULES: Final = "mpm_event authz_core ssl socache_shmcb headers env proxy proxy_http"
APACHE_FIELDS: Final = """\
  ProxyPreserveHost On
  AllowEncodedSlashes NoDecode
  RequestHeader set X-Forwarded-Proto "https"
  SetEnv proxy-sendchunked 1
  SetEnv proxy-prefetch-nonblocking 1
  ProxySourceAddress 127.0.0.9
"""


@dataclass(frozen=True)
class Tls:
    """A certificate for 127.0.0.1, and who vouches for it."""

    pair: CertificateConfig
    ca: Path

    def pem(self, folder: Path) -> Path:
        """Write certificate and key into one file, as HAProxy wants them."""
        path = folder / "both.pem"
        path.write_bytes(self.pair.certificate.read_bytes() + self.pair.key.read_bytes())
        return path


def good_tls(folder: Path) -> Tls:
    """Return a certificate with which nothing is wrong."""
    ca = folder / "ca.pem"
    certificates.authority().cert_pem.write_to_path(str(ca))
    return Tls(certificates.write(folder, HOST), ca)


@asynccontextmanager
async def running(jenkins: Jenkins) -> AsyncIterator[Jenkins]:
    """Run Jenkins inside the block."""
    async with trio.open_nursery() as nursery:
        await nursery.start(jenkins.run)
        yield jenkins
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def behind_gateway(folder: Path, jenkins: Jenkins, **more: Any) -> AsyncIterator[Worker]:
    """Run Jenkins and the gateway before it inside the block."""
    async with running(jenkins):
        config = make_config(folder, jenkins.url, **{"trusted_proxies": [PROXY], **more})
        async with running_worker(config) as worker:
            yield worker


def ask(
    jenkins: Jenkins,
    port: int,
    tls: Tls | None = None,
    *,
    path: str | None = None,
    hold: float = HOLD,
    **more: Any,
) -> Question:
    """Return the question for a path that begins at ``port``, with the right agent."""
    return Question(
        Target("http" if tls is None else "https", HOST, port, path or f"{jenkins.prefix}/"),
        node=more.pop("node", NODE),
        secret=Secret(more.pop("secret", jenkins.secret(NODE))),
        hold=hold,
        ca_file=None if tls is None else tls.ca,
        timeout=5,
        **more,
    )


def _off_the_loop(
    front: Callable[P, AbstractContextManager[int]],
) -> Callable[P, AbstractAsyncContextManager[int]]:
    """Start and stop a proxy in a thread: what is behind it runs in this one, and must answer."""

    @wraps(front)
    @asynccontextmanager
    async def started(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[int]:
        inner = front(*args, **kwargs)
        port = await trio.to_thread.run_sync(inner.__enter__)
        try:
            yield port
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 20):
                await trio.to_thread.run_sync(inner.__exit__, None, None, None)

    return started


@_off_the_loop
@contextmanager
def nginx_front(
    folder: Path,
    backend: int,
    tls: Tls | None,
    *,
    fields: str = NGINX_FIELDS,
    target: str = "",
    server: str = "",
    locations: str = "",
    location: str = "/",
) -> Iterator[int]:
    """Run nginx before ``backend`` inside the block, and give its port."""
    (port,) = free_ports(1)
    ssl = "" if tls is None else " ssl"
    files = (
        ""
        if tls is None
        else f"ssl_certificate {tls.pair.certificate}; ssl_certificate_key {tls.pair.key};"
    )
    text = f"""\
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen {HOST}:{port}{ssl};
    {files}
{server}
{locations}
    location {location} {{
      proxy_pass http://{HOST}:{backend}{target};
      proxy_bind {PROXY};
{fields}
    }}
  }}
"""
    with nginx(folder / "nginx", text, [port]):
        yield port


@_off_the_loop
@contextmanager
def haproxy_front(
    folder: Path,
    backend: int,
    tls: Tls | None,
    *,
    fields: str = HAPROXY_FIELDS,
    server: str = "",
    before: str = "",
) -> Iterator[int]:
    """Run HAProxy before ``backend`` inside the block, and give its port."""
    (port,) = free_ports(1)
    crt = "" if tls is None else f" ssl crt {tls.pem(folder)}"
    text = f"""\
{before}
listen front
  bind {HOST}:{port}{crt}
{fields}
  server behind {HOST}:{backend} source {PROXY} {server}
"""
    with haproxy(folder / "haproxy", text, [port]):
        yield port


@_off_the_loop
@contextmanager
def apache_front(
    backend: int, tls: Tls, *, fields: str = APACHE_FIELDS, options: str = "nocanon"
) -> Iterator[int]:
    """Run Apache httpd before ``backend`` inside the block, and give its port."""
    (port,) = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="doctor-apache-"))  # where other users may look
    try:
        names = {}
        for kind, source in (("crt", tls.pair.certificate), ("key", tls.pair.key)):
            names[kind] = shutil.copy(source, folder / f"front.{kind}")
        config = f"""\
<VirtualHost *:{port}>
  SSLEngine on
  SSLCertificateFile {names["crt"]}
  SSLCertificateKeyFile {names["key"]}
{fields}
  ProxyPass / http://{HOST}:{backend}/ upgrade=websocket {options}
</VirtualHost>
"""
        with apache(folder, config, APACHE_MODULES, [port]):
            yield port
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
