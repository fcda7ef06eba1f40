"""What the end-to-end tests share: one gateway, nginx and Apache behind it, and curl.

The servers are started once, when the first test needs them. What they write to their logs during
a test is shown with it if it fails.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.clients import Curl
from tests.e2e.gateway import Site, running_site
from tests.e2e.origins import Origin, apache_origin, nginx_origin

# Fixtures that have a ``program`` with a log.
_SERVERS = ("origin", "nginx_behind", "apache_behind", "ingress")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return the gateway."""
    with running_site(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="session")
def nginx_behind(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    """Return nginx as a controller."""
    with nginx_origin(tmp_path_factory.mktemp("nginx"), *site.origins["nginx"]) as running:
        yield running


@pytest.fixture(scope="session")
def apache_behind(site: Site) -> Iterator[Origin]:
    """Return Apache httpd as a controller, in a folder that other users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-apache-"))
    try:
        with apache_origin(folder, *site.origins["apache"]) as running:
            yield running
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["nginx", "apache"])
def origin(request: pytest.FixtureRequest) -> Origin:
    """Return each of the two."""
    running = request.getfixturevalue(f"{request.param}_behind")
    assert isinstance(running, Origin)
    return running


@pytest.fixture
def curl(tmp_path: Path, site: Site) -> Curl:
    """Return curl, connecting to the gateway's TLS listener."""
    return Curl(tmp_path, site.tls, site.ca)


@pytest.fixture(autouse=True)
def _logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Show what was logged during a test; let no test pass that made the gateway stumble."""
    names = [name for name in (*_SERVERS, "site") if name in request.fixturenames]
    running = {name: request.getfixturevalue(name) for name in names}
    site = running.pop("site", None)
    said = {name: len(server.program.said()) for name, server in running.items()}
    since = site.log.mark() if site is not None else 0
    yield
    for name, server in running.items():
        print(f"{name}: {server.program.said()[said[name] :]}")
    if site is not None:
        print(*site.log.lines[since:], sep="\n")
        assert not site.log.problems()
