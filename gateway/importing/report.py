"""What became of each directive of a foreign configuration.

Owns: who has been dealt with, and the sentence for who has not. Must not know: any directive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.importing.nginx_source import Directive

_MAX_SHOWN: Final = 60  # characters of a directive


class Fate(Enum):
    """Why a directive is not in the result."""

    LEFT_OUT = "left out"
    """It did something that the result does not do; somebody has to decide."""
    NOT_NEEDED = "not needed"
    """The gateway does so by itself, or has a better way."""


@dataclass(frozen=True, slots=True)
class Note:
    """One directive that is not in the result, and why."""

    file: Path
    line: int
    text: str
    fate: Fate
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}: {self.reason}"


@dataclass(slots=True)
class Report:
    """Collects notes. A directive is noted once, by whoever comes first."""

    notes: list[Note] = field(default_factory=list)
    # By identity: the same words may stand in two places.
    _taken: dict[int, Directive] = field(default_factory=dict)
    _noted: dict[int, Directive] = field(default_factory=dict)
    _said: set[Note] = field(default_factory=set)

    def take(self, *directives: Directive) -> None:
        """Say that these are in the result."""
        for each in directives:
            self._taken[id(each)] = each

    def is_taken(self, directive: Directive) -> bool:
        """Say whether it is in the result; of a block, what is inside of it may still be not."""
        return id(directive) in self._taken and id(directive) not in self._noted

    def taken(self) -> list[Directive]:
        """Return all that are in the result."""
        return [each for each in self._taken.values() if self.is_taken(each)]

    def is_settled(self, directive: Directive) -> bool:
        """Say whether the directive was taken or noted."""
        return id(directive) in self._taken or id(directive) in self._noted

    def add(self, directive: Directive, reason: str, *, text: str | None = None) -> None:
        """Note something about a directive that is in the result, or about a part of it."""
        self._append(directive, Fate.LEFT_OUT, reason, text or str(directive))

    def leave_out(self, directive: Directive, reason: str) -> None:
        """Note what the result does not do."""
        self._note(directive, Fate.LEFT_OUT, reason)

    def not_needed(self, directive: Directive, reason: str) -> None:
        """Note what the gateway does by itself."""
        self._note(directive, Fate.NOT_NEEDED, reason)

    def of(self, fate: Fate) -> list[Note]:
        """Return the notes of one kind, in the order of the files' lines."""
        return sorted(
            (note for note in self.notes if note.fate is fate),
            key=lambda note: (str(note.file), note.line),
        )

    def _note(self, directive: Directive, fate: Fate, reason: str) -> None:
        if not self.is_settled(directive):
            self._noted[id(directive)] = directive
            self._append(directive, fate, reason, str(directive))

    def _append(self, directive: Directive, fate: Fate, reason: str, text: str) -> None:
        if len(text) > _MAX_SHOWN:
            text = f"{text[:_MAX_SHOWN]}..."
        note = Note(directive.file, directive.line, text, fate, reason)
        # A file that is included twice says the same twice.
        if note not in self._said:
            self._said.add(note)
            self.notes.append(note)


@dataclass(frozen=True, slots=True)
class Imported:
    """What came out: the content of gateway.yaml, and the report."""

    document: dict[str, Any]
    report: Report
