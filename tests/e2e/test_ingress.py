"""The gateway behind nginx and behind HAProxy, as behind an ingress."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.clients import Curl, wrk
from tests.e2e.gateway import PROXY_ADDRESS, Site
from tests.e2e.origins import LARGE, Origin, sha256
from tests.e2e.programs import HOST, Program, free_ports, haproxy, nginx

pytestmark = pytest.mark.e2e

CLIENT = "127.0.0.5"
KINDS = ("nginx", "haproxy-forwarded", "haproxy-proxy-protocol")


@dataclass(frozen=True)
class Ingress:
    """A running proxy in front. ``hops``: what it adds to the client in X-Forwarded-For."""

    port: int
    hops: str
    program: Program


def nginx_servers(site: Site, port: int) -> str:
    """Return what an administrator would write: TLS ends here, connections are kept."""
    return f"""\
  upstream gateway {{
    server {HOST}:{site.plain};
    keepalive 16;
  }}
  server {{
    listen {HOST}:{port} ssl;
    ssl_certificate {site.certificate};
    ssl_certificate_key {site.key};
    client_max_body_size 0;
    location / {{
      proxy_pass http://gateway;
      proxy_bind {PROXY_ADDRESS};
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
"""


def haproxy_sections(site: Site, port: int, pem: Path, kind: str) -> str:
    """Return mode http either way: with fields for the gateway, or with a PROXY header."""
    if kind == "haproxy-forwarded":
        server = f"{HOST}:{site.plain}"
        fields = """\
  option forwardfor
  http-request set-header X-Forwarded-Proto https
"""
    else:
        tls = f"ssl verify required ca-file {site.ca} verifyhost nginx.test"
        server, fields = f"{HOST}:{site.proxied} send-proxy-v2 {tls}", ""
    return f"""\
listen ingress
  bind {HOST}:{port} ssl crt {pem}
{fields}
  server gateway {server} source {PROXY_ADDRESS}
"""


@pytest.fixture(scope="module", params=KINDS)
def ingress(
    request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ingress]:
    """Return each kind of proxy in front of the gateway."""
    folder = tmp_path_factory.mktemp("ingress")
    (port,) = free_ports(1)
    if request.param == "nginx":
        with nginx(folder, nginx_servers(site, port), [port]) as program:
            yield Ingress(port, f", {PROXY_ADDRESS}", program)
        return
    pem = folder / "both.pem"
    pem.write_bytes(site.certificate.read_bytes() + site.key.read_bytes())
    hops = f", {PROXY_ADDRESS}" if request.param == "haproxy-forwarded" else ""
    with haproxy(folder, haproxy_sections(site, port, pem, request.param), [port]) as program:
        yield Ingress(port, hops, program)


@pytest.fixture
def through(ingress: Ingress, site: Site, tmp_path: Path) -> Curl:
    """Return curl, connecting to the proxy in front."""
    return Curl(tmp_path, ingress.port, site.ca)


def test_the_client_is_who_the_proxy_says(
    ingress: Ingress, nginx_behind: Origin, through: Curl
) -> None:
    """And not who the client says it is."""
    lie = ("--header", "X-Forwarded-For: 1.2.3.4")
    got = through("https://nginx.test/small.txt", "--interface", CLIENT, *lie)
    assert got.status == 200
    assert got.get("X-Seen-For") == f"{CLIENT}{ingress.hops}"
    assert got.get("X-Seen-Host") == "nginx.test"
    assert got.get("X-Seen-Proto") == "https"
    assert got.get("X-Seen-Port") == "443"


def test_a_port_in_the_url_is_the_public_one(nginx_behind: Origin, through: Curl) -> None:
    got = through("https://nginx.test:8443/small.txt")
    assert got.get("X-Seen-Host") == "nginx.test:8443"
    assert got.get("X-Seen-Port") == "8443"


@pytest.mark.parametrize("path", ["/job/a%2Fb/%252F/", "/a//b", "/x;y=z?%2F"])
def test_paths_arrive_as_they_were_written(nginx_behind: Origin, through: Curl, path: str) -> None:
    got = through(f"https://nginx.test{path}")
    assert got.get("X-Request-Line") == f"GET {path} HTTP/1.1"


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_large_bodies_are_whole(
    nginx_behind: Origin, through: Curl, tmp_path: Path, how: str
) -> None:
    data = nginx_behind.file("large.bin")
    source = tmp_path / "upload"
    source.write_bytes(data)
    name = tmp_path.name
    got = through(
        f"https://nginx.test/put/{name}",
        *("--upload-file", str(source) if how == "length" else "-"),
        send=data if how == "chunked" else None,
    )
    assert got.status == 201
    assert nginx_behind.uploaded(name) == sha256(data)
    got = through("https://nginx.test/large.bin")
    assert len(got.body) == LARGE
    assert sha256(got.body) == sha256(data)


def test_no_error_under_load(ingress: Ingress, nginx_behind: Origin, site: Site) -> None:
    load = wrk(f"https://{HOST}:{ingress.port}/small.txt", "nginx.test", seconds=1, connections=24)
    assert load.errors == {}
    assert load.requests > 50
