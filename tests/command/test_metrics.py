"""``remoting-gateway metrics``: what is asked and printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.command import cli
from gateway.errors import ConfigError


@pytest.mark.parametrize(
    ("answer", "status", "printed", "said"),
    [
        ({"ok": True, "text": "# HELP a b\na 1.0\n"}, 0, "# HELP a b\na 1.0\n", ""),
        ({"ok": False, "reason": "an older gateway"}, 1, "", "an older gateway\n"),
        (ConfigError("no gateway runs there"), 3, "", "no gateway runs there\n"),
    ],
)
def test_metrics(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any] | ConfigError,
    status: int,
    printed: str,
    said: str,
) -> None:
    asked = []

    async def ask(folder: Path, question: dict[str, Any], *, within: float) -> dict[str, Any]:
        asked.append((folder, question))
        if isinstance(answer, ConfigError):
            raise answer
        return answer

    monkeypatch.setattr("gateway.server.control_socket.ask", ask)
    result = CliRunner().invoke(cli, ["metrics", "--state-dir", str(tmp_path)])
    assert (result.exit_code, result.stdout, result.stderr) == (status, printed, said)
    assert asked == [(tmp_path, {"do": "metrics"})]
