"""Secrets of commands: from files or standard input, into files; never on a command line.

Owns: reading one line, writing with mode 0600, all at once. Must not know: what they are for.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.errors import ConfigError

_MAX_INPUT: Final = 64 * 1024 * 1024  # bytes


def read_input(path: Path) -> bytes:
    """Read a file, or standard input for ``-``. Raises ConfigError."""
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(_MAX_INPUT + 1)
        else:
            with path.open("rb") as file:
                data = file.read(_MAX_INPUT + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {_reason(error)}") from None
    if len(data) > _MAX_INPUT:
        raise ConfigError(f"{path}: bigger than 64 MiB")
    return data


def unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object; ValueError where a key is there twice, and one of them would not count.

    For ``json.loads``.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def read_secret(path: Path) -> str:
    """Read a secret: the file's text without white space around it. Raises ConfigError."""
    try:
        text = read_input(path).decode().strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: allowed: text with a secret in it") from None
    if not text:
        raise ConfigError(f"{path}: it is empty; allowed: a secret")
    return text


def write_secret_file(path: Path, data: bytes) -> None:
    """Write a file with mode 0600, whole or not at all. Raises ConfigError."""
    with prepared_secret_file(path, data):
        pass


@contextmanager
def prepared_secret_file(path: Path, data: bytes) -> Iterator[None]:
    """Write ``data`` beside ``path``, and put it there when the block ends without an exception.

    What cannot be written is found out before the block. Raises ConfigError.
    """
    # A rename replaces what has the name: /dev/stdout itself, for root.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ConfigError(
            f"{path}: found a link, a device or a folder; allowed: a file, or a new name"
        )
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {_reason(error)}") from None
    temporary = Path(name)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        yield
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {_reason(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
