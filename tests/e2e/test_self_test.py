"""Jenkins' own test, "It appears that your reverse proxy set up is broken" (PROTOCOLS I.2).

It passes through the gateway, alone and behind nginx; and it would notice: behind proxies that
spoil something it does not pass.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.config.models import CertificateConfig
from tests import certificates
from tests.e2e.clients import Curl, Got
from tests.e2e.gateway import PROXY_ADDRESS
from tests.e2e.programs import HOST, free_ports, nginx
from tests.e2e.stand_in_jenkins import MONITOR, StandInJenkins
from tests.peers.raw_origin import RawOrigin
from tests.server.workers import make_config, running_worker
from tests.tools import require_tool

pytestmark = pytest.mark.e2e

NAME = "jenkins.example.com"
FIELDS = """\
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
"""


@dataclass(frozen=True)
class Front:
    """An nginx in front that ends TLS. ``target``: what follows the gateway in ``proxy_pass``."""

    fields: str = FIELDS
    target: str = ""
    trusted: bool = True


@pytest.fixture(autouse=True)
def _tools() -> None:
    for name in ("curl", "nginx"):
        require_tool(name)


@asynccontextmanager
async def installation(
    folder: Path, jenkins: StandInJenkins, front: Front | None
) -> AsyncIterator[Curl]:
    """Run the stand-in, the gateway and perhaps nginx; return a browser that connects to them."""
    pair = certificates.write(folder, NAME)
    files = {"certificate": str(pair.certificate), "key": str(pair.key)}
    more: dict[str, Any] = {
        "listeners": [
            {"address": f"{HOST}:0"},
            {"address": f"{HOST}:0", "tls": {"certificates": [files]}},
        ],
        "routes": [{"id": "r", "host": NAME, "controller": "main"}],
    }
    if front is not None and front.trusted:
        more["trusted_proxies"] = [PROXY_ADDRESS]
    ca = folder / "ca.pem"
    certificates.authority().cert_pem.write_to_path(str(ca))
    origin = RawOrigin(jenkins)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.run)
        config = make_config(folder, f"http://{HOST}:{origin.port}{jenkins.prefix}/", **more)
        async with running_worker(config) as worker:
            with ExitStack() as stack:
                port = worker.tls
                if front is not None:
                    (port,) = free_ports(1)
                    servers = _server(front, port, worker.plain, pair)
                    program = stack.enter_context(nginx(folder / "nginx", servers, [port]))
                    stack.callback(lambda: print(program.said()))
                yield Curl(folder, port, ca)
        nursery.cancel_scope.cancel()


def _server(front: Front, port: int, gateway: int, pair: CertificateConfig) -> str:
    return f"""\
  server {{
    listen {HOST}:{port} ssl;
    ssl_certificate {pair.certificate};
    ssl_certificate_key {pair.key};
    location / {{
      proxy_pass http://{HOST}:{gateway}{front.target};
      proxy_bind {PROXY_ADDRESS};
      proxy_http_version 1.1;
{front.fields}
    }}
  }}
"""


async def visit(browser: Curl, root: str, folder: Path) -> Got:
    """Open the management page and do what its script does; return the end of it."""
    jar = str(folder / "cookies")
    page = f"{root}manage/"

    async def ask(url: str, *arguments: str) -> Got:
        arguments = ("--cookie", jar, "--cookie-jar", jar, "--referer", page, *arguments)
        return await trio.to_thread.run_sync(partial(browser, url, *arguments))

    if (got := await ask(page)).status != 200:
        return got
    crumb = json.loads((await ask(f"{root}crumbIssuer/api/json")).body)
    field = f"{crumb['crumbRequestField']}: {crumb['crumb']}"
    return await ask(f"{root}{MONITOR}/test", "--data", "", "--header", field, "--location")


@pytest.mark.parametrize("front", [None, Front()], ids=["gateway", "nginx"])
@pytest.mark.parametrize("root", [f"https://{NAME}/", f"https://{NAME}:8443/jenkins/"])
async def test_it_passes(tmp_path: Path, root: str, front: Front | None) -> None:
    prefix = "/jenkins" if root.endswith("/jenkins/") else ""
    jenkins = StandInJenkins(root, prefix)
    async with installation(tmp_path, jenkins, front) as browser:
        got = await visit(browser, root, tmp_path)
    assert got.status == 200, got.body
    assert got.info["num_redirects"] == 1
    assert len(jenkins.requests) == 4
    page = f"{root}manage/".replace(":", "%3A").replace("/", "%2F")
    assert jenkins.requests[-1] == (
        f"GET {prefix}/{MONITOR}/testForReverseProxySetup/{page}/ HTTP/1.1"
    )


@pytest.mark.parametrize(
    ("front", "inferred", "page"),
    [
        pytest.param(
            Front(fields=FIELDS.replace("X-Forwarded-Proto", "X-Lost")),
            f"http://{NAME}/manage",
            f"https://{NAME}/manage/",
            id="without X-Forwarded-Proto",
        ),
        pytest.param(
            Front(trusted=False),
            f"http://{NAME}/manage",
            f"https://{NAME}/manage/",
            id="not in trusted_proxies",
        ),
        pytest.param(
            Front(fields=FIELDS.replace("$http_host", f"{NAME}:8080")),
            f"https://{NAME}:8080/manage",
            f"https://{NAME}/manage/",
            id="another Host",
        ),
        # A path after the address makes nginx send the decoded one: "%2F" becomes "/".
        pytest.param(
            Front(target="/"),
            f"https://{NAME}/manage",
            "https:",
            id="%2F decoded",
        ),
    ],
)
async def test_it_would_notice(tmp_path: Path, front: Front, inferred: str, page: str) -> None:
    root = f"https://{NAME}/"
    async with installation(tmp_path, StandInJenkins(root, ""), front) as browser:
        got = await visit(browser, root, tmp_path)
    assert got.status == 404
    assert got.body.decode() == f"{inferred} vs. {page}"
