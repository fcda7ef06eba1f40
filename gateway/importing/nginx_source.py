"""An nginx configuration as a tree of directives that know their file and line.

Owns: words into blocks, ``include``, and bounds on both: whoever imports may have been given the
file by somebody else. Words come from crossplane's lexer, and its table knows how many arguments a
directive takes.

Must not know: what a directive means.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Final, TypeAlias

from crossplane.analyzer import CONTEXTS, analyze
from crossplane.errors import NgxParserBaseException
from crossplane.lexer import lex

from gateway.errors import ConfigError

_MAX_FILE: Final = 4 * 1024 * 1024  # bytes
_MAX_FILES: Final = 1000  # with every repetition
_MAX_DEPTH: Final = 32  # of blocks and of includes, each
_MAX_SHOWN: Final = 60  # characters of a word in an error
_END: Final = "end_of_the_file"  # a directive behind the last one
# Any context will do: only the number of arguments is checked, since fragments have no outer block.
_ANYWHERE: Final = ("http",)
assert _ANYWHERE in CONTEXTS
# Directives that set something to a value of one's own, and words that say that it is a secret.
_VALUE: Final = re.compile(r"^set$|_header$|_param$|^env$")
_SECRET_NAME: Final = re.compile(r"(secret|passw\w*|api_?key|token)$", re.IGNORECASE)
_SECRET: Final = re.compile(r"authorization|secret|token|passw|api.?key|cookie", re.IGNORECASE)
_Words: TypeAlias = Iterator[tuple[str, int, bool]]


@dataclass(frozen=True, slots=True, eq=False)
class Directive:
    """One directive; ``block`` is what is between its braces."""

    name: str
    args: tuple[str, ...]
    file: Path
    line: int
    block: tuple[Directive, ...] | None = None

    def __str__(self) -> str:
        """Write it for people: on one line, and without what may be a secret."""
        end = " {...}" if self.block is not None else ""
        text = " ".join([self.name, *self._shown()]) + end
        return "".join(each if each.isprintable() else " " for each in text)

    def _shown(self) -> tuple[str, ...]:
        if self.args and _SECRET_NAME.search(self.name):
            return ("***",)
        if not _VALUE.search(self.name) or not self.args or "$" in self.args[-1]:
            return self.args
        hidden = _SECRET.search(self.args[0])
        return (*self.args[:-1], "***") if hidden else self.args

    def named(self, *names: str) -> list[Directive]:
        """Return the directives of these names in the block."""
        return [each for each in self.block or () if each.name in names]


@dataclass(slots=True)
class Source:
    """All that was read. ``missing`` are the includes that led nowhere."""

    directives: tuple[Directive, ...] = ()
    missing: list[Directive] = field(default_factory=list)


def read_nginx(path: Path) -> Source:
    """Read a configuration with everything that it includes.

    A whole nginx.conf will do, and so does a single site or server block. Raises ConfigError with
    file and line; includes that are not there are only listed, for files are often looked at
    elsewhere.
    """
    return _Reader(path).read()


class _Reader:
    __slots__ = ("_files", "_root", "_source")

    def __init__(self, path: Path) -> None:
        self._root = path
        self._source = Source()
        self._files = 0

    def read(self) -> Source:
        self._source.directives = tuple(self._read_file(self._root, ()))
        return self._source

    def _read_file(self, path: Path, chain: tuple[Path, ...]) -> Iterator[Directive]:
        real = path.resolve()
        if real in chain:
            raise ConfigError(f"{chain[-1]}: it includes {path}, which includes it again")
        self._files += 1
        if self._files > _MAX_FILES or len(chain) > _MAX_DEPTH:
            raise ConfigError(f"{path}: more than {_MAX_FILES} files, or {_MAX_DEPTH} deep")
        _check_file(path)
        words = _words(path)
        try:
            yield from self._read_block(words, path, (*chain, real), depth=0)
        except NgxParserBaseException as error:
            raise ConfigError(f"{path}:{error.lineno}: {error.strerror}") from None

    def _read_block(
        self, words: _Words, file: Path, chain: tuple[Path, ...], *, depth: int
    ) -> Iterator[Directive]:
        if depth > _MAX_DEPTH:
            raise ConfigError(f"{file}: blocks are more than {_MAX_DEPTH} deep")
        for name, line, quoted in words:
            if not quoted and name == "}":
                return
            if not quoted and name.startswith("#"):
                continue
            if not quoted and name in ("{", ";"):
                hint = "; a template has to be filled in first" if name == "{" else ""
                raise ConfigError(f'{file}:{line}: unexpected "{name}"{hint}')
            args, end = _read_arguments(words, name, file, line)
            block = None
            if end == "{":
                block = tuple(self._read_block(words, file, chain, depth=depth + 1))
            found = Directive(name, args, file, line, block)
            _check_arguments(found)
            if name == "include" and block is None:
                yield from self._include(found, chain)
            else:
                yield found

    def _include(self, directive: Directive, chain: tuple[Path, ...]) -> Iterator[Directive]:
        pattern = directive.args[0]
        for folder in self._folders():
            found = sorted(glob.glob(str(folder / pattern)))
            if found:
                break
        else:
            # nginx accepts a pattern without a match, too.
            if not glob.has_magic(pattern):
                self._source.missing.append(directive)
            return
        for name in found:
            yield from self._read_file(Path(name), chain)

    def _folders(self) -> list[Path]:
        """Return where relative names may start: a site lies below the folder of nginx.conf."""
        folder = self._root.absolute().parent
        return [folder, *folder.parents[:1]]


def _check_file(path: Path) -> None:
    try:
        if not path.is_file():
            reason = "not a regular file" if path.exists() else "there is no such file"
            raise ConfigError(f"{path}: {reason}")
        if path.stat().st_size > _MAX_FILE:
            raise ConfigError(f"{path}: bigger than {_MAX_FILE // 1024 // 1024} MiB")
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ConfigError(f"{path}: cannot be read: {reason}") from None


def _words(path: Path) -> _Words:
    """Yield the words of a file, and see to it that its end is reached.

    The lexer takes file names alone, drops a quote that is never closed with all that follows, and
    takes a byte order mark for a letter; so it gets a copy with a directive of ours at the end.
    """
    text = path.read_text(encoding="utf-8-sig", errors="replace").rstrip()
    last = text.count("\n") + 2
    unended = ConfigError(f"{path}: a quote is opened in it and never closed")
    with _copy(path, f"{text}\n{_END};\n") as copy:
        words: _Words = lex(copy.name)
        try:
            for word in words:
                if word[:2] == (_END, last):
                    for _ in words:  # the lexer's own check of the braces comes last
                        pass
                    return
                yield word
        except NgxParserBaseException as error:
            if error.lineno == last:
                raise ConfigError(f"{path}:{last - 1}: {error.strerror}") from None
            if "end of file" not in error.strerror:
                raise
            raise unended from None
    raise unended


@contextmanager
def _copy(path: Path, text: str) -> Iterator[IO[str]]:
    with ExitStack() as stack:
        try:
            copy = stack.enter_context(NamedTemporaryFile("w", encoding="utf-8", suffix=".conf"))
            copy.write(text)
            copy.flush()
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise ConfigError(
                f"{path}: no copy of it can be made for reading: {reason}; TMPDIR names a folder"
                " for such files"
            ) from None
        yield copy


def _read_arguments(words: _Words, name: str, file: Path, line: int) -> tuple[tuple[str, ...], str]:
    args: list[str] = []
    for word, _, quoted in words:
        if not quoted and word in ("{", ";"):
            return tuple(args), word
        if not quoted and word == "}":
            break
        if quoted or not word.startswith("#"):
            args.append(word)
    shown = "".join(each if each.isprintable() else " " for each in name[:_MAX_SHOWN])
    raise ConfigError(f'{file}:{line}: "{shown}" is not ended by ";" or "{{"')


def _check_arguments(directive: Directive) -> None:
    # The analyzer wants "if" without its parentheses; they need no checking here.
    if directive.name == "if":
        return
    statement = {
        "directive": directive.name,
        "line": directive.line,
        "args": list(directive.args),
    }
    end = ";" if directive.block is None else "{"
    try:
        analyze(str(directive.file), statement, end, ctx=_ANYWHERE, check_ctx=False)
    except (TypeError, ValueError):  # crossplane's own, where its message meets a % in the value
        raise ConfigError(
            f'{directive.file}:{directive.line}: invalid value in "{directive.name}" directive'
        ) from None
