"""A Dockerfile as instructions: what tests ask about it."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction with its arguments as they are written."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Return the arguments; of the JSON form, its strings."""
        if self.text.startswith("["):
            return [str(each) for each in json.loads(self.text)]
        return shlex.split(self.text)


def read_stages(path: Path) -> list[list[Instruction]]:
    """Return the instructions of each stage; what is before the first FROM is left out."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M).replace("\\\n", "")
    stages: list[list[Instruction]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stages.append([])
        if stages:
            stages[-1].append(Instruction(name, rest.strip()))
    return stages
