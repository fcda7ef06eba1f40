"""Request heads that must be refused, each with the rule or catalogue that its class comes from.

Data only. ``statuses``: what a refusal may say; where a rule names one, it is that one. Classes:

* RFC 9110, RFC 9112: the section that forbids it.
* llhttp: test vectors in ``test/request/*.md`` of nodejs/llhttp.
* Http11Probe: documented cases of MDA2AV/Http11Probe.
* smuggler: mutations of the ``Transfer-Encoding`` field in defparam/smuggler.
* CVE numbers: what has been exploited.

All were written anew for this table.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Malformed(NamedTuple):
    """A head, where its class comes from, and the statuses that a refusal may have."""

    name: str
    origin: str
    head: bytes
    statuses: tuple[int, ...] = (400,)


def _get(fields: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return line + b"\r\nHost: a\r\n" + fields + b"\r\n"


def _post(fields: bytes) -> bytes:
    return _get(fields, b"POST / HTTP/1.1")


_LINES: Final = [
    Malformed("no version", "RFC 9112 3", b"GET /\r\n\r\n"),
    Malformed("no target", "RFC 9112 3", b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    Malformed("empty target", "RFC 9112 3", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n"),
    Malformed("two spaces before target", "RFC 9112 3", _get(b"", b"GET  / HTTP/1.1")),
    Malformed("two spaces before version", "RFC 9112 3", _get(b"", b"GET /  HTTP/1.1")),
    Malformed("space behind version", "RFC 9112 3", _get(b"", b"GET / HTTP/1.1 ")),
    Malformed("space before method", "RFC 9112 3", _get(b"", b" GET / HTTP/1.1")),
    Malformed("tab between", "RFC 9112 3", _get(b"", b"GET\t/ HTTP/1.1")),
    Malformed("tab before version", "Http11Probe", _get(b"", b"GET /\tHTTP/1.1")),
    Malformed("vertical tab between", "Http11Probe", _get(b"", b"GET\x0b/ HTTP/1.1")),
    Malformed("form feed between", "Http11Probe", _get(b"", b"GET\x0c/ HTTP/1.1")),
    Malformed("space in target", "RFC 9112 3.2", _get(b"", b"GET /a b HTTP/1.1")),
    Malformed("NUL in method", "RFC 9110 5.6.2", _get(b"", b"GE\0T / HTTP/1.1")),
    Malformed("colon in method", "RFC 9110 5.6.2", _get(b"", b"GET: / HTTP/1.1")),
    Malformed("non-ASCII method", "RFC 9110 5.6.2", _get(b"", b"G\xc3\x8bT / HTTP/1.1")),
    Malformed("no method", "RFC 9112 3", _get(b"", b"/ HTTP/1.1")),
    Malformed("lower-case version", "RFC 9112 2.3", _get(b"", b"GET / http/1.1")),
    Malformed("mixed-case version", "RFC 9112 2.3", _get(b"", b"GET / HtTP/1.1")),
    Malformed("version without minor", "RFC 9112 2.3", _get(b"", b"GET / HTTP/1")),
    Malformed("two-digit minor", "RFC 9112 2.3", _get(b"", b"GET / HTTP/1.10")),
    Malformed("leading zero in version", "Http11Probe", _get(b"", b"GET / HTTP/01.1")),
    Malformed("version with comma", "llhttp", _get(b"", b"GET / HTTP/1,1")),
    Malformed("version with sign", "Http11Probe", _get(b"", b"GET / HTTP/+1.1")),
    Malformed("space in version", "llhttp", _get(b"", b"GET / HTTP/1. 1")),
    Malformed("other protocol name", "llhttp", _get(b"", b"GET / ICE/1.0")),
    Malformed("misspelt protocol", "llhttp", _get(b"", b"GET / HTTPER/1.1")),
    Malformed("HTTP/0.9 simple request", "RFC 9112 2.3", b"GET /\r\n"),
    Malformed("HTTP/0.9 by name", "RFC 9110 15.6.6", _get(b"", b"GET / HTTP/0.9"), (505,)),
    Malformed("HTTP/1.2", "RFC 9110 15.6.6", _get(b"", b"GET / HTTP/1.2"), (505,)),
    Malformed("HTTP/2.0", "RFC 9110 15.6.6", _get(b"", b"GET / HTTP/2.0"), (505,)),
    Malformed("HTTP/9.9", "Http11Probe", _get(b"", b"GET / HTTP/9.9"), (505,)),
    Malformed("HTTP/2 preface", "RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (505,)),
    Malformed("TLS ClientHello", "practice", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    Malformed("PROXY protocol v2", "practice", b"\r\n\r\n\0\r\nQUIT\n\x21\x11"),
    Malformed("status line", "RFC 9112 2.1", b"HTTP/1.1 200 OK\r\nHost: a\r\n\r\n"),
    Malformed("many empty lines first", "RFC 9112 2.2", b"\r\n" * 3 + _get(b"")),
    Malformed("bare LF first", "RFC 9112 2.2", b"\n" + _get(b"")),
    Malformed("bare CR first", "RFC 9112 2.2", b"\r" + _get(b"")),
    Malformed("empty line of spaces", "RFC 9112 2.2", b"  \r\n" + _get(b"")),
]

_TARGETS: Final = [
    Malformed("NUL in target", "RFC 3986 2", _get(b"", b"GET /\0 HTTP/1.1")),
    Malformed("DEL in target", "RFC 3986 2", _get(b"", b"GET /\x7f HTTP/1.1")),
    Malformed("control byte in target", "RFC 3986 2", _get(b"", b"GET /\x01 HTTP/1.1")),
    Malformed("raw UTF-8 in target", "RFC 3986 2", _get(b"", b"GET /\xc3\xbc HTTP/1.1")),
    Malformed("raw Latin-1 in target", "RFC 3986 2", _get(b"", b"GET /\xfc HTTP/1.1")),
    Malformed("CR in target", "RFC 3986 2", _get(b"", b"GET /\r HTTP/1.1")),
    Malformed("fragment", "RFC 9112 3.2", _get(b"", b"GET /a#b HTTP/1.1")),
    Malformed("relative target", "RFC 9112 3.2.1", _get(b"", b"GET a/b HTTP/1.1")),
    Malformed("query only", "RFC 9112 3.2.1", _get(b"", b"GET ?a HTTP/1.1")),
    Malformed("backslash target", "practice", _get(b"", b"GET \\a HTTP/1.1")),
    Malformed("asterisk for GET", "RFC 9112 3.2.4", _get(b"", b"GET * HTTP/1.1")),
    Malformed("asterisk with path", "RFC 9112 3.2.4", _get(b"", b"OPTIONS *a HTTP/1.1")),
    Malformed("authority-form for GET", "RFC 9112 3.2.3", _get(b"", b"GET a:80 HTTP/1.1")),
    Malformed("other scheme", "RFC 9112 3.2.2", _get(b"", b"GET ftp://a/ HTTP/1.1")),
    Malformed("scheme without authority", "RFC 9112 3.2.2", _get(b"", b"GET http:/x HTTP/1.1")),
    Malformed("absolute-form, other host", "RFC 9112 3.2.2", _get(b"", b"GET http://b/ HTTP/1.1")),
    Malformed(
        "absolute-form, other port", "RFC 9112 3.2.2", _get(b"", b"GET http://a:1/ HTTP/1.1")
    ),
    Malformed("absolute-form, user", "RFC 9110 4.2.4", _get(b"", b"GET http://u@a/ HTTP/1.1")),
    Malformed("absolute-form, no host", "RFC 9110 4.2.1", _get(b"", b"GET http:///x HTTP/1.1")),
    Malformed("absolute-form, dot behind", "practice", _get(b"", b"GET http://a./ HTTP/1.1")),
    Malformed("absolute-form without Host", "RFC 9112 3.2.2", b"GET http://a/ HTTP/1.0\r\n\r\n"),
    Malformed("CONNECT", "RFC 9110 9.3.6", _get(b"", b"CONNECT a:443 HTTP/1.1"), (405,)),
    Malformed("CONNECT to a path", "RFC 9110 9.3.6", _get(b"", b"CONNECT / HTTP/1.1"), (405,)),
    Malformed("TRACE", "RFC 9110 9.3.8", _get(b"", b"TRACE / HTTP/1.1"), (405,)),
]

_FIELDS: Final = [
    Malformed("bare LF line end", "RFC 9112 2.2", b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
    Malformed("all lines bare LF", "RFC 9112 2.2", b"GET / HTTP/1.1\nHost: a\n\n"),
    Malformed("bare LF in request line", "RFC 9112 2.2", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    Malformed("bare LF hides a field", "CVE-2022-32214", _get(b"X: a\nContent-Length: 5\r\n")),
    Malformed("bare CR in a value", "RFC 9112 2.2", _get(b"X: a\rb\r\n")),
    Malformed("bare CR hides a field", "CVE-2024-27982", _get(b"X: a\rTransfer-Encoding: b\r\n")),
    Malformed("CR CR LF", "RFC 9112 2.2", _get(b"X: a\r\r\n")),
    Malformed("CR before colon", "llhttp", _get(b"X\r: a\r\n")),
    Malformed("LF CR", "Http11Probe", _get(b"X: a\n\r\n")),
    Malformed("folded line, space", "RFC 9112 5.2", _get(b"X: a\r\n b\r\n")),
    Malformed("folded line, tab", "RFC 9112 5.2", _get(b"X: a\r\n\tb\r\n")),
    Malformed("folded first field", "RFC 9112 2.2", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    Malformed("folded Transfer-Encoding", "smuggler", _post(b"Transfer-Encoding:\r\n chunked\r\n")),
    Malformed("folded empty line", "RFC 9112 5.2", _get(b"X: a\r\n \r\n")),
    Malformed("space before colon", "RFC 9112 5.1", _get(b"X : a\r\n")),
    Malformed("tab before colon", "RFC 9112 5.1", _get(b"X\t: a\r\n")),
    Malformed("space in name", "RFC 9110 5.1", _get(b"X Y: a\r\n")),
    Malformed("empty name", "RFC 9110 5.1", _get(b": a\r\n")),
    Malformed("no colon", "RFC 9112 5", _get(b"nonsense\r\n")),
    Malformed("slash in name", "RFC 9110 5.6.2", _get(b"X/Y: a\r\n")),
    Malformed("parenthesis in name", "RFC 9110 5.6.2", _get(b"X(Y): a\r\n")),
    Malformed("quote in name", "RFC 9110 5.6.2", _get(b'"X": a\r\n')),
    Malformed("at sign in name", "RFC 9110 5.6.2", _get(b"X@Y: a\r\n")),
    Malformed("NUL in name", "RFC 9110 5.6.2", _get(b"X\0: a\r\n")),
    Malformed("non-ASCII name", "RFC 9110 5.6.2", _get(b"X\xfc: a\r\n")),
    Malformed("NUL in value", "RFC 9110 5.5", _get(b"X: a\0b\r\n")),
    Malformed("control byte in value", "RFC 9110 5.5", _get(b"X: a\x01b\r\n")),
    Malformed("escape in value", "RFC 9110 5.5", _get(b"X: \x1b[2J\r\n")),
    Malformed("DEL in value", "RFC 9110 5.5", _get(b"X: a\x7f\r\n")),
    Malformed("vertical tab in value", "RFC 9110 5.5", _get(b"X: \x0ba\r\n")),
    Malformed("form feed in value", "RFC 9110 5.5", _get(b"X: a\x0c\r\n")),
    Malformed("101 fields", "RFC 6585 5", _get(b"X: a\r\n" * 100), (431,)),
    Malformed("value too long", "RFC 6585 5", _get(b"X: " + b"a" * 40_000 + b"\r\n"), (431,)),
    Malformed("name too long", "RFC 6585 5", _get(b"X" * 40_000 + b": a\r\n"), (431,)),
    Malformed(
        "target too long", "RFC 9112 3", _get(b"", b"GET /" + b"a" * 9_000 + b" HTTP/1.1"), (414,)
    ),
    Malformed("method too long", "RFC 9112 3", _get(b"", b"A" * 9_000 + b" / HTTP/1.1"), (414,)),
    Malformed("endless request line", "RFC 9112 3", b"GET /" + b"a" * 9_000, (414,)),
    Malformed("endless field", "RFC 6585 5", b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, (431,)),
]


def _host(fields: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\n" + fields + b"\r\n"


_HOSTS: Final = [
    Malformed("no Host", "RFC 9112 3.2", _host(b"")),
    Malformed("no Host but another field", "RFC 9112 3.2", _host(b"X-Host: a\r\n")),
    Malformed("two Hosts", "RFC 9112 3.2", _host(b"Host: a\r\nHost: b\r\n")),
    Malformed("two equal Hosts", "RFC 9112 3.2", _host(b"Host: a\r\nhost: a\r\n")),
    Malformed(
        "two Hosts in HTTP/1.0", "RFC 9112 3.2", b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"
    ),
    Malformed("empty Host", "RFC 9110 4.2.1", _host(b"Host:\r\n")),
    Malformed("Host of a space", "RFC 9110 4.2.1", _host(b"Host:  \r\n")),
    Malformed("Host with user", "RFC 9110 4.2.4", _host(b"Host: u@a\r\n")),
    Malformed("Host list", "RFC 9112 3.2", _host(b"Host: a, b\r\n")),
    Malformed("Host with a space", "RFC 9112 3.2", _host(b"Host: a b\r\n")),
    Malformed("Host with path", "RFC 9112 3.2", _host(b"Host: a/b\r\n")),
    Malformed("Host with scheme", "RFC 9112 3.2", _host(b"Host: http://a\r\n")),
    Malformed("Host with query", "RFC 9112 3.2", _host(b"Host: a?b\r\n")),
    Malformed("Host with fragment", "RFC 9112 3.2", _host(b"Host: a#b\r\n")),
    Malformed("Host with backslash", "practice", _host(b"Host: a\\b\r\n")),
    Malformed("Host percent-encoded", "practice", _host(b"Host: %61\r\n")),
    Malformed("Host raw UTF-8", "RFC 3986 3.2.2", _host(b"Host: \xc3\xbc\r\n")),
    Malformed("port not a number", "RFC 3986 3.2.3", _host(b"Host: a:b\r\n")),
    Malformed("empty port", "practice", _host(b"Host: a:\r\n")),
    Malformed("port zero", "practice", _host(b"Host: a:0\r\n")),
    Malformed("port too big", "practice", _host(b"Host: a:65536\r\n")),
    Malformed("signed port", "practice", _host(b"Host: a:+80\r\n")),
    Malformed("two ports", "RFC 3986 3.2.3", _host(b"Host: a:80:80\r\n")),
    Malformed("bare IPv6", "RFC 3986 3.2.2", _host(b"Host: ::1\r\n")),
    Malformed("bracket not closed", "RFC 3986 3.2.2", _host(b"Host: [::1\r\n")),
    Malformed("bracketed nonsense", "RFC 3986 3.2.2", _host(b"Host: [::1::2]\r\n")),
    Malformed("bracketed name", "RFC 3986 3.2.2", _host(b"Host: [a]\r\n")),
    Malformed("IPv6 with zone", "RFC 6874", _host(b"Host: [fe80::1%25eth0]\r\n")),
    Malformed("text behind IPv6", "RFC 3986 3.2.2", _host(b"Host: [::1]a\r\n")),
    Malformed("folded Host", "RFC 9112 5.2", _host(b"Host:\r\n a\r\n")),
    Malformed("Host with space before colon", "CVE-2019-16276", _host(b"Host : a\r\n")),
]


def _length(value: bytes) -> bytes:
    return _post(b"Content-Length:" + value + b"\r\n")


_LENGTHS: Final = [
    Malformed("two lengths", "RFC 9112 6.3", _post(b"Content-Length: 5\r\nContent-Length: 6\r\n")),
    Malformed(
        "equal lengths", "RFC 9112 6.3", _post(b"Content-Length: 5\r\nContent-Length: 5\r\n")
    ),
    Malformed("list of lengths", "RFC 9112 6.3", _length(b" 5, 6")),
    Malformed("list of equal lengths", "RFC 9112 6.3", _length(b" 5, 5")),
    Malformed("empty length", "RFC 9110 8.6", _length(b"")),
    Malformed("negative length", "RFC 9110 8.6", _length(b" -5")),
    Malformed("signed length", "RFC 9110 8.6", _length(b" +5")),
    Malformed("hexadecimal length", "RFC 9110 8.6", _length(b" 0x5")),
    Malformed("octal-looking length", "Http11Probe", _length(b" 010")),
    Malformed("zeros", "Http11Probe", _length(b" 00")),
    Malformed("fractional length", "RFC 9110 8.6", _length(b" 5.0")),
    Malformed("exponent", "RFC 9110 8.6", _length(b" 5e1")),
    Malformed("separated digits", "RFC 9110 8.6", _length(b" 1 0")),
    Malformed("underscored digits", "CVE-2023-25690 class", _length(b" 1_0")),
    Malformed("quoted length", "RFC 9110 8.6", _length(b' "5"')),
    Malformed("length with unit", "RFC 9110 8.6", _length(b" 5b")),
    Malformed("length with comma", "RFC 9110 8.6", _length(b" 5,")),
    Malformed("length with semicolon", "RFC 9110 8.6", _length(b" 5;")),
    Malformed("word as length", "RFC 9110 8.6", _length(b" NaN")),
    Malformed("full-width digit", "RFC 9110 8.6", _length(b" \xef\xbc\x95")),
    Malformed("length of 2**63", "practice", _length(b" 9223372036854775808")),
    Malformed("length of 2**64 + 5", "CVE-2002-0392 class", _length(b" 18446744073709551621")),
    Malformed("negative zero", "Http11Probe cl-negative-zero", _length(b" -0")),
    Malformed("octal prefix", "Http11Probe cl-octal", _length(b" 0o5")),
    Malformed("list of three lengths", "Http11Probe cl-comma-triple", _length(b" 5, 5, 5")),
    Malformed("leading zeros", "Http11Probe cl-leading-zeros", _length(b" 0005")),
    Malformed("forty digits", "practice", _length(b" " + b"9" * 40)),
    Malformed("vertical tab before length", "Http11Probe", _length(b"\x0b5")),
    Malformed("NUL behind length", "Http11Probe", _length(b" 5\0")),
]


def _coding(value: bytes) -> bytes:
    return _post(b"Transfer-Encoding:" + value + b"\r\n")


_CODINGS: Final = [
    Malformed(
        "length, then coding",
        "RFC 9112 6.3",
        _post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ),
    Malformed(
        "coding, then length",
        "RFC 9112 6.3",
        _post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    ),
    Malformed(
        "two codings",
        "RFC 9112 6.1",
        _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ),
    Malformed(
        "identity, then chunked",
        "smuggler",
        _post(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
    ),
    Malformed(
        "chunked in HTTP/1.0",
        "RFC 9112 6.1",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    Malformed("chunked twice", "RFC 9112 6.1", _coding(b" chunked, chunked")),
    Malformed("chunked not last", "RFC 9112 6.3", _coding(b" chunked, gzip")),
    Malformed("gzip, chunked", "RFC 9112 6.1", _coding(b" gzip, chunked"), (501,)),
    Malformed("identity", "RFC 9112 7", _coding(b" identity"), (501,)),
    Malformed("unknown coding", "RFC 9112 6.1", _coding(b" xchunked"), (501,)),
    Malformed("chunke", "smuggler", _coding(b" chunke"), (501,)),
    Malformed("empty coding", "RFC 9112 6.1", _coding(b"")),
    Malformed("comma only", "smuggler", _coding(b" ,")),
    Malformed("leading comma", "smuggler", _coding(b" , chunked")),
    Malformed("trailing comma", "smuggler", _coding(b" chunked,")),
    Malformed("quoted coding", "smuggler", _coding(b' "chunked"')),
    Malformed("parameter", "smuggler", _coding(b" chunked;q=0.5")),
    Malformed("vertical tab", "smuggler", _coding(b"\x0bchunked")),
    Malformed("bare LF before", "smuggler", _coding(b"\nchunked")),
    Malformed("non-breaking space", "smuggler", _coding(b"\xa0chunked")),
    Malformed("space before colon", "smuggler", _post(b"Transfer-Encoding : chunked\r\n")),
    Malformed("space before name", "smuggler", _post(b" Transfer-Encoding: chunked\r\n")),
    Malformed(
        "hidden behind a bare CR", "smuggler", _post(b"X: y\rTransfer-Encoding: chunked\r\n")
    ),
    Malformed(
        "hidden behind a bare LF", "smuggler", _post(b"X: y\nTransfer-Encoding: chunked\r\n")
    ),
]


# A byte that somebody might strip, in four places; a tab before the value and behind it is legal.
_BYTES: Final = [*(b"%c" % code for code in (*range(0x20), 0x7F, 0x80, 0x85, 0xA0, 0xFF))]
_PLACES: Final = {
    "before the name": b"%bTransfer-Encoding: chunked\r\n",
    "in the name": b"Transfer%b-Encoding: chunked\r\n",
    "behind the name": b"Transfer-Encoding%b: chunked\r\n",
    "before the value": b"Transfer-Encoding: %bchunked\r\n",
    "in the value": b"Transfer-Encoding: chu%bnked\r\n",
    "behind the value": b"Transfer-Encoding: chunked%b\r\n",
}
_MUTATIONS: Final = [
    Malformed(f"byte {byte.hex()} {place} of the coding", "smuggler", _post(field % byte))
    for place, field in _PLACES.items()
    for byte in _BYTES
    if byte != b"\t" or place not in {"before the value", "behind the value"}
]

_UPGRADES: Final = [
    Malformed("h2c", "RFC 9113 3.1", _get(b"Connection: Upgrade\r\nUpgrade: h2c\r\n"), (501,)),
    Malformed("H2C among others", "RFC 9113 3.1", _get(b"Upgrade: websocket, H2C\r\n"), (501,)),
    Malformed("h2c in a second field", "practice", _get(b"Upgrade: a\r\nUpgrade: h2c\r\n"), (501,)),
]

MALFORMED: Final = [
    *_LINES,
    *_TARGETS,
    *_FIELDS,
    *_HOSTS,
    *_LENGTHS,
    *_CODINGS,
    *_MUTATIONS,
    *_UPGRADES,
]
