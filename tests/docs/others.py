"""Code blocks that are neither commands nor YAML: what they are, and who looks after them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.deploy.dockerfile import read_stages
from tests.docs.commands import parts
from tests.docs.ours import check
from tests.docs.pages import ROOT, Block
from tests.docs.programs import systemctl
from tests.tools import require_tool


@dataclass(frozen=True, slots=True)
class Key:
    """A block by its page and how it begins."""

    page: str
    begins: str
    language: str | None = ""


def _report(block: Block, folder: Path) -> None:
    """See that the doctor says of the cause what its sample says."""
    said = "".join(
        path.read_text("utf-8") for path in sorted((ROOT / "gateway/doctor").glob("*.py"))
    )
    for pattern in (r"^1\. error: (.+)$", r"^   do    (.+)$"):
        (text,) = re.findall(pattern, block.text, re.M)
        assert f'"{text}"' in said


def _nginx(block: Block, folder: Path) -> None:
    conditional, location = re.split(r"^(?=location )", block.text, maxsplit=1, flags=re.M)
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {conditional} server {{ {location} }} }}\n"
    )
    _run("nginx", "-t", "-q", "-c", f"{folder}/nginx.conf")


def _haproxy(block: Block, folder: Path) -> None:
    (folder / "haproxy.cfg").write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n"
        f"listen jenkins\n  bind 127.0.0.1:8443\n{block.text}  server one 127.0.0.1:8080\n"
    )
    _run("haproxy", "-c", "-q", "-f", f"{folder}/haproxy.cfg")


def _apache(block: Block, folder: Path) -> None:
    names = ("mpm_event", "proxy", "proxy_http", "headers", "env", "authz_core")
    modules = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in names
    )
    (folder / "httpd.conf").write_text(
        f"ServerRoot {folder}\nPidFile pid\nErrorLog error\nDefaultRuntimeDir {folder}\n"
        f"ServerName x\nListen 127.0.0.1:8443\n{modules}{block.text}"
    )
    _run("apache2", "-t", "-f", f"{folder}/httpd.conf")


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run([require_tool(program), *arguments], capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()


def _logrotate(block: Block, folder: Path) -> None:
    """See that what is sent after the rotation is what opens logs again."""
    found = re.search(r"postrotate\n(.*)\n\s+endscript\n}\n\Z", block.text)
    assert found is not None
    (words,) = parts(found[1].strip())
    assert words[0] == "systemctl"
    systemctl(words[1:], whole=True)


def _health_check(block: Block, folder: Path) -> None:
    """Compare with the image's own."""
    (folder / "Dockerfile").write_text(f"FROM x\n{block.text}")
    ((_, shown),) = read_stages(folder / "Dockerfile")
    ours = read_stages(ROOT / "deploy/Dockerfile")[-1]
    (real,) = (each for each in ours if each.name == "HEALTHCHECK")
    assert shown.words[-1:] == real.words[-1:]
    assert set(shown.words) <= set(real.words)
    command = re.findall(r'"([^"]+)"', shown.text)
    assert command[0] == "remoting-gateway"
    check(command[1:], whole=True)


_PICTURE: Final = "a picture: no program reads it"
_SAMPLE: Final = "log lines: test_samples"
# Block -> how it is checked, or why not here.
BLOCKS: Final[Mapping[Key, Callable[[Block, Path], None] | str]] = {
    Key("doctor.md", "ok   addresses"): _report,
    Key("doctor.md", "map $http_upgrade"): _nginx,
    Key("doctor.md", "http-request set-header"): _haproxy,
    Key("doctor.md", "ProxyPreserveHost"): _apache,
    Key("operations.md", "/var/log/remoting-gateway/*.log {"): _logrotate,
    Key("operations.md", '{"time"'): _SAMPLE,
    Key("operations.md", '{"event"'): _SAMPLE,
    Key("operations.md", "HEALTHCHECK ", "Dockerfile"): _health_check,
    Key("protocol.md", " 15  14"): _PICTURE,
    Key("protocol.md", "agent  "): _PICTURE,
}


def is_another_thing(block: Block, key: Key | None = None) -> bool:
    """Say whether a block is in the table, or is the one of ``key``."""
    return any(
        (block.page.name, block.language) == (each.page, each.language)
        and block.text.startswith(each.begins)
        for each in (BLOCKS if key is None else (key,))
    )
