"""Which command a client may run: one command, held back until all of it is known.

Owns: collecting a command from its frames, the rules by name and by user, and what counts as the
user's name.

Must not know: transports, logs, how a refusal is told.

Nothing of a command reaches the controller before START, and after START no more of one does: the
controller reads arguments until it begins to run, so one that came late might still be taken.
Texts are passed on as they were read (``protocol.java_text`` takes but one spelling), so that the
controller sees what was judged. Where a client contradicts this, its frames go nowhere.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final

from gateway.config.cli import CommandRules, PolicyConfig
from gateway.errors import RemoteProtocolError
from gateway.protocol.http_headers import Headers
from gateway.protocol.java_text import read_utf
from gateway.protocol.plain_cli import CliFrame, Op

# Of one command. Jenkins has no limit; a shell's is 2 MiB for all arguments (ARG_MAX on Linux).
MOST_ARGUMENTS: Final = 4096
MOST_ARGUMENT_BYTES: Final = 1024 * 1024
# ENCODING and LOCALE before START: a client sends one of each, and keeps the upload alive by more.
_MOST_SETTINGS: Final = 64
_MAX_USER: Final = 256
_BASIC: Final = b"Basic "


class Rules:
    """The rules for one user."""

    __slots__ = ("_allow", "_deny", "_refuse_files")

    def __init__(self, rules: CommandRules, *, refuse_files: bool) -> None:
        self._allow = _compile(rules.allow)
        self._deny = _compile(rules.deny)
        self._refuse_files = refuse_files

    def judge(self, command: str, arguments: Iterable[str]) -> str | None:
        """Return why a command is refused; None: it is not."""
        if not self._allow.fullmatch(command) or self._deny.fullmatch(command):
            return "the gateway's policy does not allow this command"
        if self._refuse_files and any(argument.startswith("@") for argument in arguments):
            return "the gateway's policy does not allow arguments that begin with @"
        return None


def _compile(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return what matches any of ``patterns``; of none nothing."""
    each = (re.escape(p).replace(r"\*", ".*").replace(r"\?", ".") for p in patterns)
    return re.compile("|".join(each) or r"(?!)", re.DOTALL)


class Policy:
    """The rules of one controller."""

    __slots__ = ("_rules", "_users")

    def __init__(self, config: PolicyConfig) -> None:
        refuse = config.file_arguments == "refuse"
        self._rules = Rules(config, refuse_files=refuse)
        self._users = {
            _folded(name): Rules(rules, refuse_files=refuse) for name, rules in config.users.items()
        }

    def rules_for(self, user: str | None) -> Rules:
        """Return the rules for a user name, or for nobody in particular."""
        return self._rules if user is None else self._users.get(_folded(user), self._rules)


def _folded(name: str) -> str:
    return name.lower()


def user_of(headers: Headers) -> str | None:
    """Return the user name of Basic authentication; None where there is none that can be trusted to
    be what the controller reads, too.

    What Jenkins cannot read as Basic authentication it passes over, and runs the command for
    nobody in particular: so only the one spelling counts that clients write.
    """
    values = headers.get_all(b"authorization")
    if len(values) != 1 or not values[0].startswith(_BASIC):
        return None
    encoded = values[0].removeprefix(_BASIC)
    try:
        decoded = base64.b64decode(encoded, validate=True)
        name, colon, _ = decoded.decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    if not name or not colon or len(name) > _MAX_USER or base64.b64encode(decoded) != encoded:
        return None
    return name


class Command:
    """One command on its way from a client.

    ``name`` and ``arguments``: what has come of it. ``refusal``: why it goes nowhere; what comes
    then is dropped.
    """

    __slots__ = ("_args", "_rules", "_settings", "_size", "_texts", "refusal", "started")

    def __init__(self, rules: Rules | None) -> None:
        """``rules`` None: every command is passed on."""
        self._rules = rules
        self._args: list[CliFrame] = []
        self._texts: list[str] = []
        self._size = 0
        self._settings = 0
        self.started = False
        self.refusal: str | None = None

    @property
    def name(self) -> str:
        """The command's name; empty where none was given."""
        return self._texts[0] if self._texts else ""

    @property
    def arguments(self) -> list[str]:
        """What follows the name."""
        return self._texts[1:]

    def take(self, frame: CliFrame) -> list[CliFrame]:
        """Return what is to be passed on now that ``frame`` has come.

        Raises RemoteProtocolError for a text that is malformed, and for too many or too long ones.
        """
        op = frame.op
        if self.refusal is not None:
            return []
        if op is Op.STDIN or op is Op.END_STDIN:
            return [frame]
        if op is Op.ENCODING or op is Op.LOCALE:
            return self._take_setting(frame)
        if self.started:
            return []
        if op is Op.ARG:
            self._add(frame)
            return []
        self.started = True
        if self._rules is not None and self._texts:
            self.refusal = self._rules.judge(self.name, self.arguments)
            if self.refusal is not None:
                return []
        held, self._args = self._args, []
        return [*held, frame]

    def _take_setting(self, frame: CliFrame) -> list[CliFrame]:
        read_utf(frame.payload)
        if self.started:  # no effect any more, but for ENCODING as a sign of life
            return [frame] if frame.op is Op.ENCODING else []
        self._settings += 1
        if self._settings > _MOST_SETTINGS:
            raise RemoteProtocolError("too many settings before the command")
        return [frame]

    def _add(self, frame: CliFrame) -> None:
        text = read_utf(frame.payload)
        self._size += len(frame.payload)
        if len(self._args) >= MOST_ARGUMENTS or self._size > MOST_ARGUMENT_BYTES:
            raise RemoteProtocolError(
                f"too many arguments: at most {MOST_ARGUMENTS}, and {MOST_ARGUMENT_BYTES} bytes"
            )
        self._args.append(frame)
        self._texts.append(text)
