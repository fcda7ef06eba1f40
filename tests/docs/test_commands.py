"""Every command of ours that README and docs show exists, with its options and arguments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Final

import click
import pytest

from gateway.command import cli
from tests.docs.pages import PAGES, ROOT, blocks_of, code_spans, prose_of

# "[NODE]" may be left out.
_OPTIONAL: Final = re.compile(r"[\[\]]")
_RUNNERS: Final = re.compile(r"^docker (?:run|exec) .*?(?=\sremoting-gateway \w)")
_SEPARATORS: Final = frozenset({"&&", "||", "|", ";", ">", ">>", "<"})


def _parts(line: str) -> Iterator[list[str]]:
    """Yield the commands of a line, as words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    for word in lexer:
        if word in _SEPARATORS:
            yield words
            words = []
        else:
            words.append(word)
    yield words


def _ours(line: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of the program in a line."""
    for words in _parts(_RUNNERS.sub("", line)):
        if len(words) > 1 and re.fullmatch(r"([\w./-]*/bin/)?remoting-gateway", words[0]):
            yield words[1:]


def _commands() -> Iterator[tuple[str, list[str], bool]]:
    """Yield where, arguments, and whether it is whole (in prose, a name alone may stand)."""
    for page in PAGES:
        where = str(page.relative_to(ROOT))
        for block in blocks_of(page):
            if block.language in (None, "", "sh"):
                lines = block.text.replace("\\\n", " ").splitlines()
                for line in lines:
                    if "remoting-gateway " in line:
                        yield from ((where, words, True) for words in _ours(line))
        for span in code_spans(prose_of(page)):
            if "remoting-gateway " in span:
                for words in _ours(_OPTIONAL.sub(" ", span)):
                    yield where, words, False


COMMANDS: Final = list(_commands())


def check(words: list[str], *, whole: bool) -> None:
    """Parse a command line as the program does, without running it. Raises click's UsageError."""
    command: click.Command = cli
    context = click.Context(cli, info_name="remoting-gateway")
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        if found is None:
            raise click.UsageError(f"no command {rest[0]!r}", context)
        command, rest = found, rest[1:]
        context = click.Context(command, parent=context, info_name=command.name)
    values, left, _ = command.make_parser(context).parse_args(list(rest))
    if left:
        raise click.UsageError(f"too much: {left}", context)
    for parameter in command.params:
        given = values.get(parameter.name or "")
        if whole and parameter.required and not isinstance(given, str | tuple):
            raise click.UsageError(f"{parameter.name} is missing", context)
        # A name in capitals is the reader's to replace.
        is_value = isinstance(given, str) and not given.isupper()
        if isinstance(parameter.type, click.Choice) and is_value:
            parameter.type.convert(given, parameter, context)


def test_they_are_found() -> None:
    assert len(COMMANDS) > 60
    assert {words[0] for _, words, _ in COMMANDS} > {"run", "check", "doctor", "nodes", "import"}


@pytest.mark.parametrize(
    ("where", "words", "whole"), COMMANDS, ids=[f"{at}: {' '.join(w)}" for at, w, _ in COMMANDS]
)
def test_a_command_can_be_given(where: str, words: list[str], *, whole: bool) -> None:
    check(words, whole=whole)


@pytest.mark.parametrize(
    "line",
    [
        "remoting-gateway serve",
        "remoting-gateway run --control http://a/",
        "remoting-gateway nodes isue main a",
        "remoting-gateway nodes revoke main",
        "remoting-gateway status main",
        "cd /x && /opt/a/bin/remoting-gateway stat > x",
        "docker exec gateway remoting-gateway relod",
    ],
)
def test_mistakes_are_found(line: str) -> None:
    (words,) = _ours(line)
    with pytest.raises(click.UsageError):
        check(words, whole=True)


def test_devs_commands_exist() -> None:
    usage = (ROOT / "dev").read_text("utf-8")
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?<![\w.])\./dev ([a-z]+)", page.read_text("utf-8"))
    }
    assert named >= {"demo", "test", "bench"}
    for name in named:
        assert re.search(rf"^  {name} ", usage, re.M), name
