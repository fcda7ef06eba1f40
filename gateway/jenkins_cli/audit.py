"""What is said of commands in the log channel ``audit``.

Owns: the lines: a command that started or was refused, and how it ended.

Must not know: policy, transports.

Names and arguments are what a client sent: they are cut to a length, and values of arguments are
written only where ``audit: arguments`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import trio

from gateway.jenkins_cli.policy import Command
from gateway.observability.logs import get_logger

_log = get_logger("audit")

_MAX_TEXT: Final = 256  # characters of each text
_MOST_SHOWN: Final = 64  # arguments

Mode = Literal["off", "commands", "arguments"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs a command, and by which way; ``session`` is in all lines of one."""

    session: str
    controller: str
    client: str
    user: str | None
    transport: str

    def fields(self) -> dict[str, object]:
        """Return what every line says."""
        return {
            "session": self.session,
            "controller": self.controller,
            "client": self.client,
            "user": self.user,
            "transport": self.transport,
        }


class CommandAudit:
    """The lines about one command. With ``mode`` off there are only those about refusals."""

    __slots__ = ("_began", "_caller", "_command", "_ended", "_mode")

    def __init__(self, mode: Mode, caller: Caller) -> None:
        self._mode = mode
        self._caller = caller
        self._began = trio.current_time()
        self._command: str | None = None
        self._ended = False

    def started(self, command: Command) -> None:
        """START has come; the command is on its way, or refused."""
        self._command = command.name[:_MAX_TEXT]
        if command.refusal is not None:
            fields = self._about(command)
            _log.warning("cli command refused", **fields, reason=command.refusal)
        elif self._mode != "off":
            _log.info("cli command started", **self._about(command))

    def ended(self, exit_code: int | None) -> None:
        """It is over; without an exit code where its connection ended before it. Once."""
        if self._mode == "off" or self._ended:
            return
        self._ended = True
        fields = self._caller.fields()
        if self._command is not None:
            fields["command"] = self._command
        _log.info(
            "cli command ended",
            **fields,
            exit_code=exit_code,
            duration_s=round(trio.current_time() - self._began, 3),
        )

    def _about(self, command: Command) -> dict[str, object]:
        fields = {**self._caller.fields(), "command": self._command}
        if self._mode == "arguments":
            shown = command.arguments[:_MOST_SHOWN]
            fields["arguments"] = [_shown(each) for each in shown]
            fields["arguments_count"] = len(command.arguments)
        return fields


def _shown(text: str) -> str:
    return text[:_MAX_TEXT]
