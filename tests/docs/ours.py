"""Command lines of the program itself: do they exist, with their options and arguments?"""

from __future__ import annotations

import re
from typing import Final

import click

from gateway.command import cli

_PROGRAM: Final = re.compile(r"(?:[\w./-]*/bin/)?remoting-gateway")


def is_ours(words: list[str]) -> bool:
    """Say whether a command is one of the program's; its name alone is none."""
    return len(words) > 1 and _PROGRAM.fullmatch(words[0]) is not None


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
