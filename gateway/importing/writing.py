"""gateway.yaml as text.

Owns: the file's form, with the list of what was left out at its head, where it is still seen next
year.

Must not know: where it came from beyond the name, nginx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from gateway.importing.report import Fate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importing.report import Imported


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def write_yaml(imported: Imported, origin: str) -> str:
    """Return the text of the file."""
    head = "\n".join(f"# {line}".rstrip() for line in _head(imported, origin))
    # gateway.yaml has no aliases: what is there twice is written twice.
    body = yaml.dump(
        _escape(imported.document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return f"{head}\n\n{body}"


def _head(imported: Imported, origin: str) -> Iterator[str]:
    yield f"Taken over from {_plain(origin)} by `remoting-gateway import`."
    left = imported.report.of(Fate.LEFT_OUT)
    if not left:
        return
    yield ""
    yield "Left out, and to be decided on:"
    for note in left:
        yield f"  {_plain(str(note))}"


def _plain(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


def _escape(value: object) -> object:
    """Write $ as $$: in gateway.yaml, ${NAME} is the environment's."""
    if isinstance(value, dict):
        return {key: _escape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escape(each) for each in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
