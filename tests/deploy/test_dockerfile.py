"""The image: what can be said of it without a container runtime.

The steps of the first stage are rehearsed as they stand, with another folder in the place of /opt.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from gateway import __version__
from gateway.command import cli
from tests.deploy.dockerfile import Instruction, read_stages
from tests.tools import require_tool

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy/Dockerfile"
BUILD, FINAL = read_stages(FILE)


def last(name: str) -> Instruction:
    """Return what counts: the last instruction of this name in the image."""
    return [each for each in FINAL if each.name == name][-1]


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([require_tool("hadolint"), str(FILE)], capture_output=True, timeout=30)
    assert done.stdout == b""
    assert done.returncode == 0


def test_nobody_is_root_and_signals_reach_the_gateway() -> None:
    assert last("USER").text == "65532:65532"
    assert FINAL.index(last("USER")) > max(i for i, each in enumerate(FINAL) if each.name == "RUN")
    assert last("STOPSIGNAL").text == "SIGTERM"
    # Without a shell in between, which would keep the signal for itself.
    assert last("ENTRYPOINT").words == ["remoting-gateway"]
    assert last("CMD").words == ["run"]
    assert last("EXPOSE").text == "8443"


def test_any_user_in_group_0_may_keep_a_state() -> None:
    """As which OpenShift runs it. That it does then: .ci/container-image."""
    (state,) = re.findall(
        r"install -d (.*?) /var/lib/remoting-gateway(?:\s|$)",
        " ".join(each.text for each in FINAL if each.name == "RUN"),
    )
    assert state.split() == ["-o", "65532", "-g", "0", "-m", "0770"]


def test_the_health_check_is_a_command_that_there_is() -> None:
    options, _, command = last("HEALTHCHECK").text.partition("CMD")
    assert "--timeout=5s" in options
    program, name = Instruction("CMD", command.strip()).words
    assert program == "remoting-gateway"
    assert name in cli.commands


def test_labels_say_what_it_is() -> None:
    label = last("LABEL").text
    for name in ("title", "description", "licenses", "version", "revision", "created"):
        assert f"org.opencontainers.image.{name}=" in label
    assert Instruction("ARG", f"VERSION={__version__}") in FINAL


def test_what_is_copied_is_there_and_not_ignored() -> None:
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    sources = [
        word
        for stage in (BUILD, FINAL)
        for each in stage
        if each.name == "COPY" and "--from" not in each.text
        for word in each.words[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, name) or source.startswith(f"{name}/") for name in allowed)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_steps_of_the_build(tmp_path: Path) -> None:
    opt = tmp_path / "opt" / "remoting-gateway"
    work = tmp_path / "build"
    work.mkdir()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for each in BUILD:
        if each.name == "COPY":
            *sources, target = each.words
            for source in sources:
                _copy(ROOT / source, work / target)
            # As a checkout under umask 077 has it.
            for path in work.rglob("*"):
                path.chmod(0o700 if path.is_dir() else 0o600)
        elif each.name == "RUN":
            script = work / "remoting-gateway"
            if script.exists():
                script.write_text(script.read_text().replace("/opt/remoting-gateway", str(opt)))
            text = each.text.replace("/opt/remoting-gateway", str(opt))
            done = subprocess.run(
                ["sh", "-euc", text], cwd=work, env=environment, capture_output=True, timeout=380
            )
            assert done.returncode == 0, done.stderr.decode()
    # It runs from there, with nothing of this checkout in reach.
    program = str(opt / "bin" / "remoting-gateway")
    command = [program, "check", "-c", str(ROOT / "deploy/compose/gateway.yaml")]
    done = subprocess.run(command, cwd=tmp_path, env={"STATE_DIRECTORY": str(tmp_path)}, timeout=30)
    assert done.returncode == 0
    assert not (opt / "bin" / "pip").exists()
    # The image's user is not the one who built it.
    for path in opt.rglob("*"):
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044, path
    # The fifth byte of compiled files: 1 is a hash that is not compared (PEP 552).
    assert {path.read_bytes()[4] for path in opt.rglob("*.pyc")} == {1}


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target / source.name if target.is_dir() else target)
