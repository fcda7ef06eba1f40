"""Chunked bodies that must be refused, each with the rule or catalogue that its class comes from.

Data only, as ``malformed_heads``: Http11Probe's and llhttp's cases (``chunk-*`` and ``trailer-*``
of its documentation; ``test/request/transfer-encoding.md``), advisories by their numbers. All were
written anew for this table. ``body`` is what follows the head of a chunked request.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class MalformedBody(NamedTuple):
    """A chunked body, where its class comes from, and the status of a refusal."""

    name: str
    origin: str
    body: bytes
    status: int = 400


_END: Final = b"\r\n0\r\n\r\n"


def _sized(size_line: bytes) -> bytes:
    return size_line + b"hello" + _END


_SIZES: Final = [
    MalformedBody("no size", "RFC 9112 7.1", b"\r\n"),
    MalformedBody(
        "space behind the size", "Http11Probe chunk-size-trailing-ows", _sized(b"5 \r\n")
    ),
    MalformedBody("tab behind the size", "Http11Probe chunk-size-trailing-ows", _sized(b"5\t\r\n")),
    MalformedBody("space before the semicolon", "RFC 9112 7.1.1", _sized(b"5 ;x\r\n")),
    MalformedBody("no semicolon before the extension", "llhttp", _sized(b"5 erfrferferf\r\n")),
    MalformedBody("space before the size", "Http11Probe chunk-leading-sp", _sized(b" 5\r\n")),
    MalformedBody("plus", "Http11Probe chunk-size-plus", _sized(b"+5\r\n")),
    MalformedBody("minus", "Http11Probe chunk-negative", _sized(b"-5\r\n")),
    MalformedBody("minus zero", "Http11Probe chunk-negative", _sized(b"-0\r\n")),
    MalformedBody("0x", "Http11Probe chunk-hex-prefix", _sized(b"0x5\r\n")),
    MalformedBody("0X", "Http11Probe chunk-hex-prefix", _sized(b"0X5\r\n")),
    MalformedBody("h behind", "RFC 9112 7.1", _sized(b"5h\r\n")),
    MalformedBody("underscore", "Http11Probe chunk-underscore", _sized(b"5_0\r\n")),
    MalformedBody("underscore before", "Http11Probe chunk-underscore", _sized(b"_5\r\n")),
    MalformedBody("comma", "RFC 9112 7.1", _sized(b"5,5\r\n")),
    MalformedBody("fraction", "RFC 9112 7.1", _sized(b"5.0\r\n")),
    MalformedBody("quoted", "RFC 9112 7.1", _sized(b'"5"\r\n')),
    MalformedBody("full-width digit", "RFC 9112 7.1", _sized(b"\xef\xbc\x95\r\n")),
    MalformedBody("NUL before", "RFC 9112 7.1", _sized(b"\x005\r\n")),
    MalformedBody("NUL behind", "RFC 9112 7.1", _sized(b"5\0\r\n")),
    MalformedBody("vertical tab behind", "RFC 9112 7.1", _sized(b"5\x0b\r\n")),
    MalformedBody("wraps around in 64 bits", "RFC 9112 7.1", _sized(b"10000000000000005\r\n")),
    MalformedBody("wraps around in 32 bits, signed", "practice", b"-fffffffb\r\n" + b"a" * 9),
    MalformedBody("2**60", "practice", b"1000000000000000\r\n"),
    MalformedBody("forty digits", "practice", _sized(b"0" * 39 + b"5\r\n")),
    MalformedBody("word", "Http11Probe chunk-invalid-size-desync", _sized(b"xyz\r\n")),
    MalformedBody("empty line between chunks", "RFC 9112 7.1", b"1\r\na\r\n\r\n1\r\nb" + _END),
]

_LINE_ENDS: Final = [
    MalformedBody("bare LF behind the size", "Http11Probe chunk-lf-term", _sized(b"5\n")),
    MalformedBody("bare CR behind the size", "Http11Probe chunk-bare-cr-term", _sized(b"5\r")),
    MalformedBody("CR CR LF behind the size", "RFC 9112 2.2", _sized(b"5\r\r\n")),
    MalformedBody("bare LF behind an extension", "Http11Probe chunk-ext-lf", _sized(b"5;x\n")),
    MalformedBody("LF in an extension", "CVE-2023-46747 class", _sized(b"5;x\n\r\n")),
    MalformedBody("CR in an extension", "Http11Probe chunk-ext-cr", _sized(b"5;\rx\r\n")),
    MalformedBody("NUL in an extension", "Http11Probe chunk-ext-ctrl", _sized(b"5;\0\r\n")),
    MalformedBody("escape in an extension", "Http11Probe chunk-ext-ctrl", _sized(b"5;\x1b\r\n")),
    MalformedBody("DEL in an extension", "Http11Probe chunk-ext-ctrl", _sized(b"5;a=\x7f\r\n")),
    MalformedBody("extension too long", "practice", b"5;" + b"x" * 300 + b"\r\n"),
    MalformedBody("endless extension", "CVE-2024-22019 class", b"5;" + b"x" * 9000),
    MalformedBody("bare LF behind the data", "RFC 9112 7.1", b"5\r\nhello\n0\r\n\r\n"),
    MalformedBody("bare CR behind the data", "RFC 9112 7.1", b"5\r\nhello\r0\r\n\r\n"),
    MalformedBody("other bytes for CRLF", "GHSA-vqfr-h8mv-ghfj", b"5\r\nhelloXX0\r\n\r\n"),
    MalformedBody(
        "no CRLF behind the data", "Http11Probe chunk-missing-trailing-crlf", b"5\r\nhello0\r\n\r\n"
    ),
    MalformedBody("chunk spills over", "Http11Probe chunk-spill", b"5\r\nhello!\r\n0\r\n\r\n"),
    MalformedBody("CR CR LF behind the data", "RFC 9112 7.1", b"5\r\nhello\r\r\n0\r\n\r\n"),
    MalformedBody("two CRLFs behind the data", "RFC 9112 7.1", b"5\r\nhello\r\n\r\n0\r\n\r\n"),
    MalformedBody(
        "a size that hides a request", "Http11Probe chunk-invalid-size-desync", b"0_0\r\n\r\n"
    ),
]

_TRAILERS: Final = [
    MalformedBody("bare LF behind a trailer", "Http11Probe chunk-lf-trailer", b"0\r\nX: 1\n\r\n"),
    MalformedBody("bare LFs at the end", "Http11Probe chunk-lf-trailer", b"0\r\nX: 1\n\n"),
    MalformedBody("bare LF for the empty line", "RFC 9112 7.1", b"0\r\n\n"),
    MalformedBody("bare LF behind the last size", "Http11Probe chunk-lf-term", b"0\n\r\n"),
    MalformedBody("bare LFs only", "RFC 9112 7.1", b"0\n\n"),
    MalformedBody("bare CR in a trailer", "RFC 9112 2.2", b"0\r\nX: 1\rY: 2\r\n\r\n"),
    MalformedBody("folded trailer", "RFC 9112 5.2", b"0\r\nX: 1\r\n 2\r\n\r\n"),
    MalformedBody("folded first trailer", "RFC 9112 5.2", b"0\r\n X: 1\r\n\r\n"),
    MalformedBody("space before the colon", "RFC 9112 5.1", b"0\r\nX : 1\r\n\r\n"),
    MalformedBody("no colon", "RFC 9112 5", b"0\r\nX\r\n\r\n"),
    MalformedBody("no name", "RFC 9110 5.1", b"0\r\n: 1\r\n\r\n"),
    MalformedBody("NUL in a trailer", "RFC 9110 5.5", b"0\r\nX: \0\r\n\r\n"),
    MalformedBody("length", "Http11Probe trailer-cl", b"0\r\nContent-Length: 5\r\n\r\n"),
    MalformedBody("coding", "Http11Probe trailer-te", b"0\r\ntransfer-encoding: chunked\r\n\r\n"),
    MalformedBody("host", "Http11Probe trailer-host", b"0\r\nHost: b\r\n\r\n"),
    MalformedBody("a request line", "practice", b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
    MalformedBody("101 trailers", "RFC 6585 5", b"0\r\n" + b"X: 1\r\n" * 101 + b"\r\n", 431),
    MalformedBody("trailer too long", "RFC 6585 5", b"0\r\nX: " + b"a" * 9000 + b"\r\n\r\n"),
    MalformedBody("endless trailer", "RFC 6585 5", b"0\r\nX: " + b"a" * 9000),
]

MALFORMED_BODIES: Final = [*_SIZES, *_LINE_ENDS, *_TRAILERS]
