"""Every command that README, docs and examples show: ours exist, with their options and arguments;
those of others are validated, or executed (``test_executed``). One that is neither fails here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import pytest

from gateway.command import cli
from tests.docs.commands import COMMENTED, Line, comments_of, is_shell, lines_of, spans_of
from tests.docs.others import BLOCKS, Key, is_another_thing
from tests.docs.ours import check, is_ours
from tests.docs.pages import PAGES, Block, blocks_of
from tests.docs.programs import EXECUTED, PROGRAMS, UNCHECKED
from tests.docs.test_configurations import CONFIGURATIONS
from tests.docs.test_executed import LINES

# In prose they stand without the program's name, too: `nodes issue`.
_GROUPS: Final = {name for name, each in cli.commands.items() if isinstance(each, click.Group)}
_NAMES: Final = {*PROGRAMS, *UNCHECKED, *EXECUTED, *_GROUPS, "sudo"}


def _is_command(line: Line) -> bool:
    """Say whether a line of prose or comments is a command: by its first word."""
    words = line.text.split()
    return is_ours(words) or (len(words) > 1 and words[0] in _NAMES)


def _words_of(line: Line) -> list[list[str]]:
    return [
        ["remoting-gateway", *words] if words[0] in _GROUPS else words for words in line.commands
    ]


def _commands() -> list[tuple[Line, list[str]]]:
    typed = [
        line
        for page in PAGES
        for block in blocks_of(page)
        if is_shell(block) and block not in CONFIGURATIONS and not is_another_thing(block)
        for line in lines_of(block)
    ]
    named = [
        line
        for lines in (*map(spans_of, PAGES), *map(comments_of, COMMENTED))
        for line in lines
        if _is_command(line)
    ]
    return [(line, words) for line in typed + named for words in _words_of(line)]


COMMANDS: Final = _commands()


def _problem(line: Line, words: list[str]) -> str | None:
    """Return what is wrong with a command."""
    program, *rest = words
    try:
        if is_ours(words):
            check(rest, whole=line.whole)
        elif program in EXECUTED and (line.whole or program not in PROGRAMS):
            return None if line.text in LINES else "nobody executes it: see test_executed"
        elif program in PROGRAMS:
            PROGRAMS[program](rest, whole=line.whole)
        elif program not in UNCHECKED:
            return f"{program} is neither executed nor validated"
    except (AssertionError, click.ClickException, IndexError, KeyError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def test_they_are_found() -> None:
    ours = [words[1] for _, words in COMMANDS if is_ours(words)]
    assert len(ours) > 60
    assert {*ours} > {"run", "check", "doctor", "nodes", "import"}
    others = {words[0] for _, words in COMMANDS if not is_ours(words)}
    assert others >= {*PROGRAMS, *UNCHECKED, *EXECUTED}, "a table has what is shown nowhere"


@pytest.mark.parametrize(
    ("line", "words"), COMMANDS, ids=[f"{at.where}: {' '.join(w)}" for at, w in COMMANDS]
)
def test_a_command_can_be_given(line: Line, words: list[str]) -> None:
    assert _problem(line, words) is None


@pytest.mark.parametrize(
    "text",
    [
        "remoting-gateway serve",
        "remoting-gateway run --control http://a/",
        "remoting-gateway nodes isue main a",
        "remoting-gateway nodes revoke main",
        "remoting-gateway status main",
        "cd /x && /opt/a/bin/remoting-gateway stat > x",
        "docker exec gateway remoting-gateway relod",
        "docker exec gatewy remoting-gateway reload",
        "docker build -f Dockerfile -t remoting-gateway .",
        "docker build -f deploy/Dockerfile -t gateway .",
        "docker build -f deploy/Dockerfile -t remoting-gateway --build-arg PYTHON=x .",
        "docker buildx imagetools inspect python:3.12-slim",
        "docker run --readonly remoting-gateway",
        "docker run -p 8443:8080 remoting-gateway",
        "docker run -v ./tls:/etc/tls remoting-gateway",
        "docker run --stop-timeout 300 remoting-gateway",
        "docker run remoting-gateway run --control http://a/",
        "docker run --host-name gateway remoting-gateway",
        "docker push registry.example.com/remoting-gateway:0.0.9",
        "docker compose -f deploy/compose.yaml up",
        "docker compose -f deploy/compose/compose.yaml exec jenkins ls",
        "kubectl apply -k deploy/kubernetes",
        "kubectl apply -f deploy/kubernetes/edge",
        "kubectl create secret tls agent-tls --cert a --key b",
        "kubectl create secret generic gateway-admin --from-literal=key=a",
        "kubectl create secret generic gateway --from-literal=token=a",
        "oc apply -k deploy/kubernetes/in-front",
        "gcloud compute addresses create gateway --global",
        "java -jar agent.jar -url https://a/ -websocket -name a -secret b",
        "java -jar agent.jar -url https://a -webSocket -name a -secret b",
        "java -jar agent.jar -url https://a/ -webSocket -secret b",
        "java -Djavax.net.ssl.keystore=a -jar agent.jar ...",
        "systemctl reload gateway",
        "install -m 0644 deploy/systemd/remoting-gateway.unit /etc/systemd/system/",
        "install -d -g remoting-gateway /etc/x",
        "/opt/remoting-gateway/bin/pip install -r deploy/lock/runtime.txt",
        "python3 -m venv /opt/gateway",
        "ssh -L 9180:/var/lib/gateway/admin.sock HOST",
        "curl -sI http://a/",
        "./dev tests",
        "./dev test tests/none",
        ".ci/fresh-machine --demos",
        ".ci/container-image --base python:3.12-slim",
        "podman ps",
    ],
)
def test_mistakes_are_found(text: str) -> None:
    line = Line("here", text, True)
    assert any(_problem(line, words) is not None for words in line.commands)


def test_every_block_is_something() -> None:
    """None goes unseen because nobody knows what it is, and the list has nothing else."""
    blocks = [block for page in PAGES for block in blocks_of(page)]
    found = {key for block in blocks for key in BLOCKS if is_another_thing(block, key)}
    assert found == set(BLOCKS)
    languages = {block.language for block in blocks if not is_shell(block)}
    assert languages - {"yaml"} <= {key.language for key in found}


@pytest.mark.parametrize(
    ("key", "look"),
    [(key, look) for key, look in BLOCKS.items() if not isinstance(look, str)],
    ids=lambda each: each.begins if isinstance(each, Key) else None,
)
def test_another_thing_is_what_it_should_be(
    key: Key, look: Callable[[Block, Path], None], tmp_path: Path
) -> None:
    (block,) = (
        block for page in PAGES for block in blocks_of(page) if is_another_thing(block, key)
    )
    look(block, tmp_path)
