"""A running ``tests.browser.show``, for code that blocks."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any

from tests.gateway_process import ROOT


class Site:
    """The page, its address, and orders to whoever serves it."""

    def __init__(self, *, port: int = 0, token: str | None = None) -> None:
        self._arguments = [str(port), *([] if token is None else [token])]

    def __enter__(self) -> Site:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.browser.show", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self.port = self._read()["port"]
        self.address = f"http://127.0.0.1:{self.port}/"
        return self

    def tell(self, **order: object) -> dict[str, Any]:
        """Have something changed; return what is said about it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the site has ended"
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(timeout=10)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
