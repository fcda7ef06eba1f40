"""The fuzz targets by name, and their corpus.

A corpus file is text, so that it can be read and reviewed: escapes as in a Python bytes literal;
line breaks in the file mean nothing; lines that start with ``# `` are comments. Findings are added
as ``found-<hash>.txt``; give them a better name with the fix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fuzz import frames, heads, relayed, remoting

Target = Callable[[bytes], None]

TARGETS: Final[dict[str, Target]] = {
    "request_head": heads.request_head,
    "response_head": heads.response_head,
    "http_chunked": heads.http_chunked,
    "frame_headers": frames.frame_headers,
    "frames": frames.frames,
    "relayed_frames": relayed.relayed_frames,
    "ack": remoting.ack,
    "jnlp4": remoting.jnlp4,
    "chunks": remoting.chunks,
}
CORPUS: Final = Path(__file__).parent / "corpus"
_COLUMNS: Final = 92


def corpus(target: str) -> dict[str, bytes]:
    """Return the inputs kept for ``target`` by their names."""
    return {
        path.stem: from_text(path.read_text("ascii"))
        for path in sorted((CORPUS / target).glob("*.txt"))
    }


def keep(target: str, data: bytes) -> Path:
    """Add a finding to the corpus; return its file."""
    path = CORPUS / target / f"found-{hashlib.sha256(data).hexdigest()[:8]}.txt"
    path.write_text(to_text(data), "ascii")
    return path


def from_text(text: str) -> bytes:
    """Return the bytes that a corpus file stands for."""
    lines = (line for line in text.splitlines() if not line.startswith("# "))
    return "".join(lines).encode("ascii").decode("unicode_escape").encode("latin-1")


def to_text(data: bytes) -> str:
    """Return the text of a corpus file; the inverse of ``from_text``."""
    lines = [""]
    for at, byte in enumerate(data, 1):
        edge = not lines[-1] or at == len(data)
        lines[-1] += _escape(byte, edge=edge)
        if byte == 0x0A or (len(lines[-1]) > _COLUMNS and byte != 0x20):
            lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _escape(byte: int, *, edge: bool) -> str:
    if edge and byte in b" #":  # would be lost to an editor, or make a comment
        return f"\\x{byte:02x}"
    return chr(byte).encode("unicode_escape").decode("ascii")
