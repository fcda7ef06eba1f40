"""Lines of README, docs and examples that are executed as they stand, by a shell.

Only places are replaced: where a controller is (curl is told to connect elsewhere), and folders of
the system. A gateway runs in the current folder, with its state in ``state``, before a stand-in
controller; helm talks to an API server that only lets itself be looked at.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import trio

from gateway.demo.controller import INBOUND, StandInController
from tests.docs.commands import every_line
from tests.docs.pages import ROOT, blocks_of
from tests.peers.kubernetes_api import empty_cluster
from tests.server.processes import running_gateway
from tests.tools import require_tool

_DISCOVERY: Final = "http://localhost:8080/tcpSlaveAgentListener/"
_IDENTITY: Final = "sed -n 's/^X-Instance-Identity: //p'"
_LIMIT: Final = 30.0


@dataclass(frozen=True)
class Done:
    """What a line said, and what is there afterwards."""

    said: str
    folder: Path
    identity: str


def _shows_the_identity(done: Done) -> bool:
    return f"X-Instance-Identity: {done.identity}\n" in done.said.replace("\r", "")


def _is_the_identity(done: Done) -> bool:
    return done.said.strip() == done.identity


def _is_ready(done: Done) -> bool:
    return json.loads(done.said)["ready"] is True


def _are_metrics(done: Done) -> bool:
    folder = done.folder / "node_exporter"
    assert [each.name for each in folder.iterdir()] == ["remoting_gateway.prom"]
    return "\nremoting_gateway_" in (folder / "remoting_gateway.prom").read_text("utf-8")


# Line -> whether it did what it is shown for.
BESIDE_A_GATEWAY: Final[Mapping[str, Callable[[Done], bool]]] = {
    "curl -sI http://jenkins.lan:8080/tcpSlaveAgentListener/": _shows_the_identity,
    f"curl -sI {_DISCOVERY} | {_IDENTITY}": _is_the_identity,
    "curl --unix-socket state/admin.sock http://localhost/readyz": _is_ready,
    "cd /var/lib/node_exporter && remoting-gateway metrics -c /etc/remoting-gateway/gateway.yaml"
    " > rg.tmp && mv rg.tmp remoting_gateway.prom": _are_metrics,
}
HELM: Final = (
    "helm install gateway helm/remoting-gateway --namespace ci --create-namespace -f my-values.yaml"
)
LINES: Final = (*BESIDE_A_GATEWAY, HELM)


async def _execute(script: str, folder: Path, **environment: str) -> str:
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with trio.fail_after(_LIMIT):
        done = await trio.run_process(
            ["sh", "-euc", script],
            cwd=folder,
            env={**os.environ, "PATH": programs, **environment},
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert done.returncode == 0, f"{done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout.decode()


@asynccontextmanager
async def _controller() -> AsyncIterator[StandInController]:
    controller = StandInController({"build-1": INBOUND})
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        yield controller
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("line", LINES)
def test_it_is_shown(line: str) -> None:
    assert line in {each.text for each in every_line()}


@pytest.mark.e2e
@pytest.mark.parametrize("line", BESIDE_A_GATEWAY)
async def test_beside_a_gateway(line: str, tmp_path: Path) -> None:
    require_tool("curl")
    (tmp_path / "node_exporter").mkdir()
    script = line.replace("/var/lib/node_exporter", f"{tmp_path}/node_exporter")
    script = script.replace("/etc/remoting-gateway/gateway.yaml", f"{tmp_path}/gateway.yaml")
    async with _controller() as controller, running_gateway(tmp_path, controller.url):
        port = controller.http_address[1]
        curl = f'curl() {{ command curl --connect-to "::127.0.0.1:{port}" "$@"; }}; '
        said = await _execute(curl + script, tmp_path)
        assert BESIDE_A_GATEWAY[line](Done(said, tmp_path, controller.identity.header))


@pytest.mark.e2e
async def test_the_chart_can_be_installed(tmp_path: Path) -> None:
    """As far as helm goes without changing anything: the values on that page, and the notes."""
    require_tool("helm")
    (values,) = (
        block for block in blocks_of(ROOT / "docs/helm.md") if block.text.startswith("image:")
    )
    (tmp_path / "my-values.yaml").write_text(values.text, "utf-8")
    (tmp_path / "helm").symlink_to(ROOT / "helm")
    async with empty_cluster() as cluster:
        dry = f" --dry-run=client --disable-openapi-validation --kube-apiserver {cluster.url}"
        said = await _execute(
            HELM + dry, tmp_path, KUBECONFIG=os.devnull, HELM_CACHE_HOME=str(tmp_path / "cache")
        )
        assert cluster.changes == []
    assert "java -jar agent.jar -webSocket" in said
    assert "\nNAMESPACE: ci\n" in said
