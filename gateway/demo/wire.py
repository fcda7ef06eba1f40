"""The stand-ins' own codecs: strings, capability, connection headers, chunks, secrets and cookies.

Owns: bytes to values and back, without I/O. Written from PROTOCOLS 0, C.2 and G.1 only.

Must not know: ``gateway.protocol``, which has its own version of most of this on purpose.

Java classes: ``DataOutputStream.writeUTF``, ``ByteBufferUtils.wrapUTF8``, ``ChunkHeader``,
``Capability``, ``ConnectionHeaders``, ``JnlpAgentReceiver.SLAVE_SECRET``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Final

JNLP4_CONNECT: Final = "JNLP4-connect"
JNLP4_PLAINTEXT: Final = "JNLP4-plaintext"
COOKIE_KEY: Final = "JnlpAgentProtocol.cookie"
OLD_COOKIE_KEY: Final = "Cookie"  # before remoting 4.7

ACK: Final = b"\x00\x03ACK"
BYE: Final = b"\x00\x03BYE"
OK: Final = b"\x00\x02OK"

SENDER_CHUNK_LIMIT: Final = 8192  # transportFrameSize, the same in every sender
CHUNK_LIMIT: Final = 0x7FFF  # 15 bits of length
COMMAND_START: Final = b"\xac\xed\x00\x05"
MAX_COMMAND: Final = 64 * 1024 * 1024  # what an assembler holds back for one command

DEFAULT_MASK: Final = 0x1FE  # remoting 3.19 up to today
_CAPABILITY_FIXED: Final = bytes.fromhex(
    "aced0005"  # stream magic, version
    "7372001a687564736f6e2e72656d6f74696e672e4361706162696c697479"  # class descriptor and its name
    "0000000000000001"  # serialVersionUID
    "0200014a00046d61736b"  # serializable, one long called mask
    "7870"  # end of the class annotations, no superclass
)


class WireError(Exception):
    """Bytes that the peer should not have sent; the text says which rule they break."""


def u16str(text: str) -> bytes:
    """Encode a ``U16STR``: big-endian length, then standard UTF-8 (PROTOCOLS 0.2).

    Raises ValueError above 65535 bytes.
    """
    return _with_length(text.encode())


def _with_length(body: bytes) -> bytes:
    if len(body) > 0xFFFF:
        raise ValueError(f"{len(body)} bytes do not fit a 16-bit length")
    return len(body).to_bytes(2) + body


def write_utf(text: str) -> bytes:
    """Encode Java's modified UTF-8 with its 16-bit length (PROTOCOLS 0.1).

    Raises ValueError above 65535 bytes.
    """
    body = bytearray()
    units = text.encode("utf-16-be", "surrogatepass")
    for high, low in zip(units[::2], units[1::2], strict=True):
        unit = high << 8 | low
        if 0 < unit < 0x80:
            body.append(unit)
        elif unit < 0x800:
            body += bytes((0xC0 | unit >> 6, 0x80 | unit & 0x3F))
        else:
            body += bytes((0xE0 | unit >> 12, 0x80 | unit >> 6 & 0x3F, 0x80 | unit & 0x3F))
    return _with_length(bytes(body))


def read_utf(body: bytes) -> str:
    """Decode the bytes after the length of a modified UTF-8 string; WireError when malformed."""
    units = bytearray()
    position = 0
    while position < len(body):
        first = body[position]
        if first < 0x80:
            size, unit = 1, first
        elif first >> 5 == 0b110:
            size, unit = 2, first & 0x1F
        elif first >> 4 == 0b1110:
            size, unit = 3, first & 0x0F
        else:
            raise WireError(f"byte {first:#04x} cannot start a character")
        rest = body[position + 1 : position + size]
        if len(rest) != size - 1 or any(byte >> 6 != 0b10 for byte in rest):
            raise WireError("a character is cut short")
        for byte in rest:
            unit = unit << 6 | byte & 0x3F
        units += unit.to_bytes(2)
        position += size
    return units.decode("utf-16-be", "surrogatepass")


def capability_ascii(mask: int) -> str:
    """Write a capability as its 84 Base64 characters (PROTOCOLS 0.4)."""
    return base64.b64encode(_CAPABILITY_FIXED + mask.to_bytes(8)).decode()


def capability_mask(text: str) -> int:
    """Read the mask out of a capability's ASCII form; WireError unless it is exactly one."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as exc:
        raise WireError("the capability is not Base64") from exc
    if len(data) != len(_CAPABILITY_FIXED) + 8 or not data.startswith(_CAPABILITY_FIXED):
        raise WireError("not a serialized hudson.remoting.Capability")
    return int.from_bytes(data[-8:])


_BLANK: Final = r"[ \t\n\r\f\x08]*"
_STRING: Final = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"'
_PAIR: Final = re.compile(f"{_BLANK}({_STRING}){_BLANK}:{_BLANK}({_STRING}|null){_BLANK}")
_EMPTY: Final = re.compile(rf"{_BLANK}\{{{_BLANK}\}}{_BLANK}")
_OPEN: Final = re.compile(rf"{_BLANK}\{{")
_CLOSE: Final = re.compile(rf"\}}{_BLANK}")


def format_headers(headers: Mapping[str, str | None]) -> bytes:
    """Write connection headers as remoting does: flat JSON, no spaces, raw UTF-8, a ``U16STR``."""
    return u16str(json.dumps(dict(headers), ensure_ascii=False, separators=(",", ":")))


def parse_headers(body: bytes) -> dict[str, str | None]:
    """Read connection headers (``ConnectionHeaders.fromString``): one flat object, strings or null.

    A duplicate key's last value wins. Raises WireError for everything else.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as exc:
        raise WireError("the headers are not UTF-8") from exc
    if _EMPTY.fullmatch(text):
        return {}
    opening = _OPEN.match(text)
    if opening is None:
        raise WireError("the headers are not a JSON object")
    headers: dict[str, str | None] = {}
    position = opening.end()
    while True:
        pair = _PAIR.match(text, position)
        if pair is None:
            raise WireError(f"no string or null value at character {position}")
        headers[json.loads(pair[1])] = json.loads(pair[2])
        position = pair.end()
        if text[position : position + 1] != ",":
            break
        position += 1
    if _CLOSE.fullmatch(text, position) is None:
        raise WireError(f"the object does not end at character {position}")
    return headers


def node_secret(key: bytes, node: str) -> str:
    """Return the 64 hex characters of a node's secret: HMAC-SHA256 of its name (PROTOCOLS G.1)."""
    return hmac.new(key, node.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def new_cookie() -> str:
    """Return a fresh cookie: 32 random bytes as lower-case hex."""
    return secrets.token_hex(32)


def split_command(payload: bytes, *, limit: int = SENDER_CHUNK_LIMIT) -> Iterator[bytes]:
    """Cut one command into chunks of at most ``limit`` bytes of payload, header included.

    The last one has M = 0. Modern senders never emit an empty last chunk, so neither does this.
    Raises ValueError for an empty command.
    """
    if not payload:
        raise ValueError("a command is never empty")
    for start in range(0, len(payload), limit):
        part = payload[start : start + limit]
        more = 0x8000 if start + limit < len(payload) else 0
        yield (more | len(part)).to_bytes(2) + part


class CommandAssembler:
    """Turn a chunk stream, cut anywhere, back into commands.

    Behaves as ``AbstractByteBufferCommandTransport.receive``, its trap included: a command whose
    last chunk is empty is handed over only when at least one more byte has arrived.
    """

    __slots__ = ("_buffer", "_held", "_limit", "_parts", "_size", "chunks", "commands")

    def __init__(self, *, limit: int = MAX_COMMAND) -> None:
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = limit
        self._held = False
        self.chunks = 0
        self.commands = 0

    @property
    def at_chunk_boundary(self) -> bool:
        """Say whether every byte so far belongs to a complete chunk."""
        return not self._buffer

    @property
    def at_command_boundary(self) -> bool:
        """Say whether every byte so far belongs to a command that was handed over."""
        return not self._buffer and not self._parts and not self._held

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream; return the commands they complete, in order.

        Raises WireError when a command grows above the limit.
        """
        commands: list[bytes] = []
        if not data:
            return commands
        if self._held:
            self._held = False
            commands.append(self._finish())
        self._buffer += data
        buffer, position = self._buffer, 0
        while len(buffer) - position >= 2:
            header = buffer[position] << 8 | buffer[position + 1]
            end = position + 2 + (header & 0x7FFF)
            if len(buffer) < end:
                break
            self._take(bytes(buffer[position + 2 : end]))
            position = end
            if header & 0x8000:
                continue
            if header == 0 and position == len(buffer):
                self._held = True
            else:
                commands.append(self._finish())
        del buffer[:position]
        return commands

    def _take(self, part: bytes) -> None:
        self.chunks += 1
        self._size += len(part)
        if self._size > self._limit:
            raise WireError(f"a command is larger than {self._limit} bytes")
        self._parts.append(part)

    def _finish(self) -> bytes:
        command = b"".join(self._parts) if len(self._parts) != 1 else self._parts[0]
        self._parts.clear()
        self._size = 0
        self.commands += 1
        return command
