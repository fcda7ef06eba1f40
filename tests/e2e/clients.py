"""curl and wrk, and how they are told to find the gateway under the names of its routes."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.e2e.programs import HOST
from tests.tools import require_tool

_PATIENCE: Final = 30


@dataclass(frozen=True)
class Got:
    """One answer as curl saw it. ``info``: what it measured, by the names of ``--write-out``."""

    info: dict[str, Any]
    heads: str
    body: bytes
    talk: str

    @property
    def status(self) -> int:
        """Return the status of the last answer."""
        status = self.info["http_code"]
        assert isinstance(status, int)
        return status

    @property
    def fields(self) -> list[str]:
        """Return the lines of the last head, but for the first."""
        return re.split(r"^HTTP/1\.", self.heads, flags=re.MULTILINE)[-1].splitlines()[1:]

    def get(self, name: str) -> str | None:
        """Return a field of the last head; twice is a failure."""
        pairs = (line.partition(":") for line in self.fields)
        found = [value.strip() for key, _, value in pairs if key.lower() == name.lower()]
        assert len(found) <= 1, found
        return found[0] if found else None


class Curl:
    """curl, connecting to ``port`` whatever name the URL has, believing ``ca``."""

    def __init__(self, folder: Path, port: int, ca: Path) -> None:
        self._program = require_tool("curl")
        self._folder = folder
        self._always = ["--connect-to", f"::{HOST}:{port}", "--cacert", str(ca)]

    def __call__(self, url: str, *arguments: str, send: bytes | None = None) -> Got:
        """Ask for ``url``; ``send`` goes to its standard input. curl's failure is one here."""
        body, heads = self._folder / "curl.body", self._folder / "curl.heads"
        body.write_bytes(b"")
        done = self._run(
            *("--output", str(body), "--dump-header", str(heads), "--write-out", "%{json}"),
            *arguments,
            url,
            send=send,
        )
        assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
        return Got(
            json.loads(done.stdout),
            heads.read_text("latin-1"),
            body.read_bytes(),
            done.stderr.decode("latin-1"),
        )

    def several(self, *urls: str) -> list[dict[str, Any]]:
        """Ask for each of ``urls`` in one process, bodies thrown away; return what it measured."""
        outputs = [part for url in urls for part in ("--output", "/dev/null", url)]
        done = self._run("--write-out", "%{json}\n", *outputs)
        assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
        return [json.loads(line) for line in done.stdout.splitlines()]

    def _run(
        self, *arguments: str, send: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [
                self._program,
                *("--disable", "--noproxy", "*", "--silent", "--show-error", "--path-as-is"),
                *("--http1.1", "--max-time", str(_PATIENCE)),
                *self._always,
                *arguments,
            ],
            input=send if send is not None else b"",
            capture_output=True,
            timeout=_PATIENCE + 5,
            check=False,
        )


@dataclass(frozen=True)
class Load:
    """What wrk counted. ``errors``: of sockets, each kind, and answers that are not 2xx or 3xx."""

    requests: int
    errors: dict[str, int]


def wrk(url: str, host: str, *, seconds: int, connections: int, script: Path | None = None) -> Load:
    """Put load on ``url``, whose server is asked for ``host``. ``script``: of requests, in Lua."""
    done = subprocess.run(
        [
            require_tool("wrk"),
            *("--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"),
            *("--timeout", "10s", "--header", f"Host: {host}"),
            *(() if script is None else ("--script", str(script))),
            url,
        ],
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=True,
    )
    counted = re.search(r"(\d+) requests in ", done.stdout)
    assert counted is not None, done.stdout
    errors = re.search(r"Socket errors: (.*)", done.stdout)
    kinds = re.findall(r"(\w+) (\d+)", errors[1]) if errors is not None else []
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    return Load(
        int(counted[1]),
        {kind: int(count) for kind, count in kinds}
        | ({} if bad is None else {"status": int(bad[1])}),
    )
