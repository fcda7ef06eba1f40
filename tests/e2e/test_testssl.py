"""testssl.sh looks at the gateway's TLS, and at nginx with Mozilla's recommended settings.

Both run at the same time with the same certificate. What testssl finds at the gateway must be no
worse than what it finds at nginx, item by item.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.gateway import Site
from tests.e2e.programs import HOST, free_ports, nginx
from tests.tools import require_tool

HOSTNAME: Final = "nginx.test"
# https://wiki.mozilla.org/Security/Server_Side_TLS, intermediate, version 5.7, as its generator
# writes it for nginx; without DHE, for which nginx would need a file of parameters.
INTERMEDIATE: Final = """\
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305;
    ssl_prefer_server_ciphers off;
    ssl_session_timeout 1d;
    ssl_session_cache shared:MozSSL:10m;
    ssl_session_tickets off;
"""
# Of testssl's JSON, from good to bad. WARN: it could not look.
ORDER: Final = ("OK", "INFO", "LOW", "WARN", "MEDIUM", "HIGH", "CRITICAL", "FATAL")
# Protocols, categories of ciphers, the server's preference and defaults, all vulnerabilities.
SECTIONS: Final = ("-p", "-s", "-P", "-S", "-U")
# Of each section something that must have been looked at.
LOOKED_AT: Final = {
    "TLS1_2",
    "TLS1_3",
    "cipherlist_NULL",
    "cipher_order",
    "cert_signatureAlgorithm",
} | {"heartbleed", "ROBOT", "CRIME_TLS", "BREACH", "POODLE_SSL", "SWEET32", "BEAST", "LUCKY13"}
TIMEOUT: Final = 80.0


@dataclass(frozen=True)
class Finding:
    """What testssl says of one item."""

    severity: str
    text: str

    @property
    def rank(self) -> int:
        """How bad it is."""
        return ORDER.index(self.severity)


@contextmanager
def recommended_nginx(folder: Path, site: Site) -> Iterator[int]:
    """Run nginx with the recommended settings; yield its port."""
    (port,) = free_ports(1)
    server = f"""\
  server {{
    listen {HOST}:{port} ssl;
    ssl_certificate {site.certificate};
    ssl_certificate_key {site.key};
{INTERMEDIATE}
    location / {{ return 200 "ok"; }}
  }}
"""
    with nginx(folder, server, [port]):
        yield port


def start_testssl(folder: Path, port: int, ca: Path) -> subprocess.Popen[bytes]:
    """Start testssl.sh for the server on ``port``; its findings go to a file in ``folder``."""
    folder.mkdir()
    command = [
        require_tool("testssl"),
        *SECTIONS,
        *("--ip", HOST),
        *("--add-ca", str(ca)),
        *("--jsonfile", str(folder / "findings.json")),
        *("--quiet", "--warnings=batch", "--color=0", "--fast"),
        *("--connect-timeout=5", "--openssl-timeout=5"),
        f"https://{HOSTNAME}:{port}/",
    ]
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder
        )


def findings_in(folder: Path) -> Mapping[str, Finding]:
    """Return what was found, by the name of the item."""
    found = json.loads((folder / "findings.json").read_text())
    return {each["id"]: Finding(each["severity"], each["finding"]) for each in found}


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.usefixtures("nginx_behind")
def test_it_finds_nothing_worse_than_with_the_recommended_settings(
    site: Site, tmp_path: Path
) -> None:
    with recommended_nginx(tmp_path / "nginx", site) as port:
        running = {
            "gateway": start_testssl(tmp_path / "gateway", site.tls, site.ca),
            "peer": start_testssl(tmp_path / "peer", port, site.ca),
        }
        try:
            for each in running.values():
                each.wait(TIMEOUT)
        finally:
            for each in running.values():
                each.kill()
                each.wait()
    ours, theirs = findings_in(tmp_path / "gateway"), findings_in(tmp_path / "peer")
    print((tmp_path / "gateway" / "output").read_text())
    for found in (ours, theirs):
        assert found.keys() >= LOOKED_AT
        assert "FATAL" not in {each.severity for each in found.values()}
    worse = {
        name: (finding, theirs.get(name))
        for name, finding in ours.items()
        if finding.rank > (theirs[name].rank if name in theirs else ORDER.index("INFO"))
    }
    assert not worse
    # The other way round it has something to say, or it would not see a difference.
    assert theirs["cipher_order"].rank > ours["cipher_order"].rank
