from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from gateway.command import cli
from tests.doctor.jenkins import Jenkins
from tests.doctor.paths import behind_gateway, good_tls
from tests.e2e.programs import free_ports
from tests.tools import require_tool


async def run(*command: str) -> subprocess.CompletedProcess[bytes]:
    return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)


@pytest.mark.parametrize("right", [True, False])
async def test_the_exchange_and_its_meaning(tmp_path: Path, right: bool) -> None:
    jenkins = Jenkins()
    secret = tmp_path / "secret"
    secret.write_text(jenkins.secret("a") if right else "0" * 64)
    async with behind_gateway(tmp_path, jenkins) as worker:
        done = await run(
            *(sys.executable, "-m", "gateway", "probe", f"http://127.0.0.1:{worker.plain}/"),
            *("--node", "a", "--secret-file", str(secret)),
        )
    lines = done.stdout.decode().splitlines()
    assert "> Secret-Key: ***" in lines
    assert secret.read_text() not in done.stdout.decode()
    if right:
        assert done.returncode == 0
        assert "< HTTP/1.1 101 Switching Protocols" in lines
        assert "< Connection-Cookie: ***" in lines
        assert "Its agent.jar must be 3107.v665000b_51092 or newer." in lines
    else:
        assert done.returncode == 2
        assert "< HTTP/1.1 403 Forbidden" in lines
        assert "error: the secret of a is wrong, or the gateway keeps it out" in lines


async def test_the_curl_command_works(tmp_path: Path) -> None:
    for name in ("curl", "bash"):
        require_tool(name)
    jenkins, tls = Jenkins(), good_tls(tmp_path)
    secret = tmp_path / "the secret"
    secret.write_text(f"{jenkins.secret('a')}\n")
    async with behind_gateway(tmp_path, jenkins) as worker:
        arguments = ["--node", "a", "--secret-file", str(secret), "--ca-file", str(tls.ca)]
        url = f"https://127.0.0.1:{worker.tls}/"
        shown = CliRunner().invoke(cli, ["probe", url, *arguments, "--curl"])
        assert shown.exit_code == 0
        assert jenkins.secret("a") not in shown.output
        command = shown.output.replace("--max-time 10", "--max-time 1 --noproxy '*'")
        done = await run("bash", "-c", command)
    assert b"101 Switching Protocols" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("https://ci/",), "--node is missing"),
        (("https://ci/", "--node", "a"), "--secret-file is missing"),
    ],
)
def test_what_is_missing(arguments: tuple[str, ...], words: str) -> None:
    result = CliRunner().invoke(cli, ["probe", *arguments])
    assert result.exit_code == 2
    assert words in result.output


def test_no_answer_leads_to_the_doctor() -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/"
    arguments = ["probe", url, "--node", "a", "--secret-file", "-"]
    result = CliRunner().invoke(cli, arguments, input="s3cret")
    assert result.exit_code == 2
    assert "no answer: connection refused" in result.output
    assert f"remoting-gateway doctor {url}" in result.output
