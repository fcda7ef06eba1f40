"""JNLP4-connect, the agent's side (``org.jenkinsci.remoting.engine.JnlpProtocol4Handler``).

Owns: the two handshakes, below TLS (``AckClient``: preamble and ACK) and above it (``Jnlp4Client``:
headers, verdicts, capability), byte by byte as PROTOCOLS C.2 describes. The TLS between them, and
the check of the controller's key, belong to the caller; so does the rule that nothing secret is
said before that check.

Must not know: sockets, deadlines, WebSocket. What follows the controller's capability is the chunk
stream; it is handed on as ``leading`` and never looked at.

What may live here: rules about bytes. What a refusal *means* is decided in ``agents/jnlp4_leg``.

Theory of operation, above TLS. Each end sends its headers at once and then a verdict on the
other's. A controller's verdict does not wait for ours, and a refusing controller takes *any five
bytes* for our farewell, so nothing is sent between our headers and its verdict. Then:

    controller says OK     -> we say OK, it sends its capability; ours follows only on
    ``send_capability`` controller says ERROR  -> we say OK and BYE, and are done
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Mapping
from enum import Enum
from typing import Final

from gateway.errors import RemoteProtocolError

PROTOCOL: Final = "JNLP4-connect"
PROTOCOL_PLAINTEXT: Final = "JNLP4-plaintext"
ACK: Final = b"\x00\x03ACK"
# Real header objects are about 100 bytes, refusals one sentence, capabilities 84 characters.
DEFAULT_MAX_STRING: Final = 8 * 1024
# Header keys (JnlpConnectionState.java); the cookie's was "Cookie" before remoting 4.7.
NODE_NAME: Final = "Node-Name"
SECRET_KEY: Final = "Secret-Key"
COOKIE: Final = "JnlpAgentProtocol.cookie"
OLD_COOKIE: Final = "Cookie"


def encode_string(text: str) -> bytes:
    """Return ``text`` as u16 length and UTF-8, to 65,535 bytes (``ByteBufferUtils.wrapUTF8``)."""
    data = text.encode("utf-8")
    if len(data) > 0xFFFF:
        raise ValueError("longer than 65535 bytes")
    return len(data).to_bytes(2, "big") + data


class AckClient:
    """Below TLS: say which protocol, exchange ACKs.

    ``done`` is true once the controller's ACK is complete. TLS must not start before.
    """

    __slots__ = ("_out", "_received", "done")

    def __init__(self, protocol: str = PROTOCOL) -> None:
        self._out = encode_string(f"Protocol:{protocol}") + ACK
        self._received = b""
        self.done = False

    def data_to_send(self) -> bytes:
        data, self._out = self._out, b""
        return data

    def receive_data(self, data: bytes) -> bytes:
        """Take ``data``; return what of it came after the ACK. Raises RemoteProtocolError.

        A controller that does not know the protocol answers with a line of text instead.
        """
        if self.done:
            return data
        received = self._received + data
        head = received[: len(ACK)]
        if not ACK.startswith(head):
            raise RemoteProtocolError(
                "the agent port does not speak this protocol",
                detail=f"expected ACK, got {_printable(received)!r}",
            )
        self.done = head == ACK
        self._received = b"" if self.done else received
        return received[len(ACK) :]

    def receive_eof(self) -> None:
        """The controller closed. Raises RemoteProtocolError: before the ACK that is never right."""
        if not self.done:
            raise RemoteProtocolError("the agent port closed the connection before its ACK")


class Stage(Enum):
    """How far the exchange above TLS is."""

    HEADERS = "waiting for the controller's headers"
    VERDICT = "waiting for the controller's verdict"
    CAPABILITY = "waiting for the controller's capability"
    OPEN = "open"
    REFUSED = "refused"


class Jnlp4Client:
    """Above TLS: headers, verdicts, capabilities.

    ``stage`` says how far it is. In OPEN, ``capability``, ``cookie`` and ``leading`` are set; in
    REFUSED, ``refusal`` is the controller's own text. Raises RemoteProtocolError and nothing else.
    """

    __slots__ = (
        "_buffer",
        "_max_string",
        "_out",
        "_parser",
        "capability",
        "cookie",
        "refusal",
        "stage",
    )

    def __init__(self, headers: Mapping[str, str], *, max_string: int = DEFAULT_MAX_STRING) -> None:
        text = json.dumps(dict(headers), ensure_ascii=False, separators=(",", ":"))
        self._out = encode_string(text)
        self._max_string = max_string
        self._buffer = b""
        self.stage = Stage.HEADERS
        self.capability = ""
        self.cookie: str | None = None
        self.refusal = ""
        self._parser = self._parse()
        next(self._parser)

    def data_to_send(self) -> bytes:
        data, self._out = self._out, b""
        return data

    def receive_data(self, data: bytes) -> None:
        if self.stage is Stage.REFUSED:
            return  # we have said BYE; what else comes has no reader
        self._buffer += data
        with contextlib.suppress(StopIteration):
            next(self._parser)

    @property
    def leading(self) -> bytes:
        """What came after the controller's capability: the beginning of the chunk stream."""
        return self._buffer if self.stage is Stage.OPEN else b""

    def receive_eof(self) -> None:
        """The controller closed. Raises RemoteProtocolError unless the exchange was over."""
        if self.stage not in (Stage.OPEN, Stage.REFUSED):
            raise RemoteProtocolError(
                "the controller closed the connection without giving a reason",
                detail=self.stage.value,
            )

    def send_capability(self, capability: str) -> None:
        """Send the agent's capability. Only in OPEN, and only once its 101 has been written."""
        if self.stage is not Stage.OPEN:
            raise ValueError("the controller has not accepted the connection")
        self._out += encode_string(capability)

    # -- the parser: resumed by receive_data, returns when OPEN or REFUSED
    # --------------------------

    def _parse(self) -> Generator[None, None, None]:
        headers = _parse_headers((yield from self._read_string("headers")))
        self.cookie = headers.get(COOKIE) or headers.get(OLD_COOKIE)
        self.stage = Stage.VERDICT
        verdict = yield from self._read_string("verdict")
        self._out += encode_string("OK")
        if verdict != "OK":
            self.refusal = _refusal(verdict)
            self._out += encode_string("BYE")
            self.stage = Stage.REFUSED
            return
        self.stage = Stage.CAPABILITY
        self.capability = yield from self._read_string("capability")
        if not (self.capability and self.capability.isascii() and self.capability.isprintable()):
            raise RemoteProtocolError("the controller's capability is empty or not printable ASCII")
        self.stage = Stage.OPEN

    def _read_string(self, what: str) -> Generator[None, None, str]:
        while len(self._buffer) < 2:
            yield
        size = int.from_bytes(self._buffer[:2], "big")
        if size > self._max_string:
            raise RemoteProtocolError(f"the controller's {what} has {size} bytes")
        while len(self._buffer) < 2 + size:
            yield
        data, self._buffer = self._buffer[2 : 2 + size], self._buffer[2 + size :]
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise RemoteProtocolError(f"the controller's {what} is not UTF-8") from None


def _parse_headers(text: str) -> dict[str, str | None]:
    """Parse one flat object of strings and nulls (``ConnectionHeaders.fromString``)."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("the controller's headers are not JSON") from None
    if not isinstance(value, dict):
        raise RemoteProtocolError("the controller's headers are not a JSON object")
    if not all(item is None or isinstance(item, str) for item in value.values()):
        raise RemoteProtocolError("the controller's headers hold something else than strings")
    return value


def _refusal(verdict: str) -> str:
    for prefix in ("ERROR: ", "FATAL: "):
        if verdict.startswith(prefix):
            return verdict.removeprefix(prefix)
    raise RemoteProtocolError(
        "the controller's verdict is neither OK nor a refusal", detail=repr(verdict[:80])
    )


def _printable(data: bytes) -> str:
    return data[:80].decode("ascii", "replace").strip()
