"""Requests that are odd and legal, and the one thing that each of them means.

Data only. ``origin``: the rule, or the public catalogue whose class it is (Http11Probe: its
documented cases; llhttp: ``test/request/*.md``; smuggler: mutations of defparam/smuggler). All were
written anew for this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Odd:
    """``wire`` as a client sends it, and what the controller must get.

    ``fields`` without those that the gateway adds. ``last``: no request may follow on this
    connection.
    """

    name: str
    origin: str
    wire: bytes
    line: bytes = b"GET / HTTP/1.1"
    fields: Fields = ((b"Host", b"a"),)
    body: bytes = b""
    trailers: bytes = b""
    last: bool = False


_HOST: Final = (b"Host", b"a")
_CHUNKED: Final = (b"Transfer-Encoding", b"chunked")
_POST: Final = b"POST / HTTP/1.1"
_HELLO: Final = b"5\r\nhello\r\n0\r\n\r\n"


def _get(name: str, origin: str, fields: bytes, *expected: tuple[bytes, bytes]) -> Odd:
    wire = b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"
    return Odd(name, origin, wire, fields=(_HOST, *expected))


def _line(name: str, origin: str, line: bytes, expected: bytes | None = None) -> Odd:
    return Odd(name, origin, line + b"\r\nHost: a\r\n\r\n", expected or line)


def _chunked(
    name: str, origin: str, body: bytes, expected: bytes = b"hello", trailers: bytes = b""
) -> Odd:
    wire = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    return Odd(name, origin, wire, _POST, (_HOST, _CHUNKED), expected, trailers)


def _coded(name: str, origin: str, field: bytes) -> Odd:
    wire = b"POST / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n" + _HELLO
    return Odd(name, origin, wire, _POST, (_HOST, _CHUNKED), b"hello")


def _with_length(name: str, origin: str, method: bytes, fields: bytes, *expected: bytes) -> Odd:
    """``expected``: names and values by turns, in the place of Content-Length: 5."""
    line = method + b" / HTTP/1.1"
    wire = line + b"\r\nHost: a\r\n" + fields + b"\r\nhello"
    pairs = tuple(zip(expected[::2], expected[1::2], strict=True))
    fields_expected = (_HOST, *(pairs or ((b"Content-Length", b"5"),)))
    return Odd(name, origin, wire, line, fields_expected, b"hello")


_BODIES: Final = [
    _chunked("an extension", "llhttp", b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    _chunked("an extension of the last chunk", "llhttp", b"5\r\nhello\r\n0;last\r\n\r\n"),
    _chunked("a quoted extension", "llhttp", b'5;a="b;c\\"d"\r\nhello\r\n0\r\n\r\n'),
    _chunked("a quote not closed", "llhttp", b'5;a="b\r\nhello\r\n0\r\n\r\n'),
    _chunked(
        "an extension without a name",
        "Http11Probe chunk-bare-semicolon",
        b"5;\r\nhello\r\n0\r\n\r\n",
    ),
    _chunked(
        "an extension that is no token",
        "Http11Probe chunk-ext-invalid-token",
        b"5;[a]\r\nhello\r\n0\r\n\r\n",
    ),
    _chunked(
        "an extension with a request in it", "practice", b"5;GET / HTTP/1.1\r\nhello\r\n0\r\n\r\n"
    ),
    _chunked("leading zeros", "Http11Probe", b"00000005\r\nhello\r\n0\r\n\r\n"),
    _chunked("three zeros at the end", "llhttp", b"5\r\nhello\r\n000\r\n\r\n"),
    _chunked("upper-case size", "Http11Probe", b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    _chunked("lower-case size", "llhttp", b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    _chunked("a chunk for each byte", "practice", b"1\r\nh\r\n" * 50 + b"0\r\n\r\n", b"h" * 50),
    _chunked("a body of CRLF", "practice", b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
    _chunked("a body like its own end", "practice", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    _chunked("no body in chunks", "Http11Probe", b"0\r\n\r\n", b""),
    _chunked(
        "trailers",
        "Http11Probe",
        b"0\r\nx-SUM:1 \r\nX-sum: 2\r\n\r\n",
        b"",
        b"x-SUM: 1\r\nX-sum: 2\r\n",
    ),
    _chunked("an empty trailer", "RFC 9110 5.5", b"0\r\nX-Sum:\r\n\r\n", b"", b"X-Sum: \r\n"),
    _chunked(
        "a trailer with credentials",
        "Http11Probe trailer-auth",
        b"0\r\nAuthorization: x\r\n\r\n",
        b"",
    ),
    _chunked(
        "a trailer with a type",
        "Http11Probe trailer-content-type",
        b"0\r\nContent-Type: x\r\n\r\n",
        b"",
    ),
    _coded("CHUNKED", "Http11Probe te-case-mismatch", b"Transfer-Encoding: CHUNKED"),
    _coded("a coding without a space", "smuggler", b"Transfer-Encoding:chunked"),
    _coded(
        "a tab before the coding", "Http11Probe te-tab-before-value", b"Transfer-Encoding:\tchunked"
    ),
    _coded(
        "white space around the coding",
        "Http11Probe te-trailing-space",
        b"Transfer-Encoding: \t chunked \t ",
    ),
    _coded("tRANSFER-eNCODING", "smuggler", b"tRANSFER-eNCODING: chunked"),
    _coded(
        "Connection names the coding",
        "RFC 9112 6.1",
        b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
    ),
    _coded(
        "TE and a coding",
        "RFC 9110 10.1.4",
        b"TE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked",
    ),
    _with_length(
        "GET with a body", "Http11Probe get-cl-body-desync", b"GET", b"Content-Length: 5\r\n"
    ),
    _with_length("HEAD with a body", "Http11Probe head-cl-body", b"HEAD", b"Content-Length: 5\r\n"),
    _with_length(
        "OPTIONS with a body", "Http11Probe options-cl-body", b"OPTIONS", b"Content-Length: 5\r\n"
    ),
    _with_length("DELETE with a body", "RFC 9110 9.3.5", b"DELETE", b"Content-Length: 5\r\n"),
    Odd(
        "GET in chunks",
        "practice",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + _HELLO,
        fields=(_HOST, _CHUNKED),
        body=b"hello",
    ),
    _with_length(
        "no space before the length",
        "Http11Probe cl-extra-leading-sp",
        b"PUT",
        b"Content-Length:5\r\n",
    ),
    _with_length(
        "white space around the length",
        "Http11Probe cl-trailing-space",
        b"PUT",
        b"Content-Length: \t 5 \t\r\n",
    ),
    _with_length(
        "cONTENT-lENGTH", "smuggler", b"PUT", b"cONTENT-lENGTH: 5\r\n", b"cONTENT-lENGTH", b"5"
    ),
    _with_length(
        "an underscore in the coding's name",
        "Http11Probe transfer-encoding-underscore",
        b"POST",
        b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n",
        *(b"Transfer_Encoding", b"chunked", b"Content-Length", b"5"),
    ),
    _with_length(
        "names that only resemble framing",
        "smuggler",
        b"POST",
        b"X-Transfer-Encoding: chunked\r\nContent-Length: 5\r\nContent-Lengths: 9\r\n",
        *(b"X-Transfer-Encoding", b"chunked", b"Content-Length", b"5", b"Content-Lengths", b"9"),
    ),
    _with_length(
        "Connection without other fields",
        "RFC 9110 7.6.1",
        b"POST",
        b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 5\r\n",
    ),
    _get(
        "GET with the length 0",
        "Http11Probe post-cl-zero",
        b"Content-Length: 0\r\n",
        (b"Content-Length", b"0"),
    ),
    Odd(
        "POST without framing",
        "Http11Probe post-no-cl-no-te",
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        _POST,
    ),
]

_FIELDS: Final = [
    _get("an empty value", "RFC 9110 5.5", b"X-A:\r\nX-B: \t \r\n", (b"X-A", b""), (b"X-B", b"")),
    _get("obs-text", "RFC 9110 5.5", b"X-A: \x80\xc3\xbc\xff\r\n", (b"X-A", b"\x80\xc3\xbc\xff")),
    _get("a tab inside", "RFC 9110 5.5", b"X-A: a\tb\r\n", (b"X-A", b"a\tb")),
    _get("colons in a value", "practice", b"X-A: :b: c:\r\n", (b"X-A", b":b: c:")),
    _get(
        "a request in a value",
        "practice",
        b"X-A: GET /b HTTP/1.1\r\n",
        (b"X-A", b"GET /b HTTP/1.1"),
    ),
    _get(
        "every character of a name",
        "RFC 9110 5.6.2",
        b"!#$%&'*+-.^_`|~09Az: x\r\n",
        (b"!#$%&'*+-.^_`|~09Az", b"x"),
    ),
    _get(
        "the same field twice",
        "RFC 9110 5.3",
        b"X-A: 1\r\nx-a: 2\r\nX-A: 1\r\n",
        (b"X-A", b"1"),
        (b"x-a", b"2"),
        (b"X-A", b"1"),
    ),
    _get(
        "two Cookies",
        "RFC 6265 5.4",
        b"Cookie: a=1\r\ncookie: b=2\r\n",
        (b"Cookie", b"a=1"),
        (b"cookie", b"b=2"),
    ),
    _get(
        "two Authorizations",
        "practice",
        b"Authorization: a\r\nAuthorization: b\r\n",
        (b"Authorization", b"a"),
        (b"Authorization", b"b"),
    ),
    _get(
        "two types",
        "Http11Probe",
        b"Content-Type: a/b\r\nContent-Type: c/d\r\n",
        (b"Content-Type", b"a/b"),
        (b"Content-Type", b"c/d"),
    ),
    _get("TE: trailers", "RFC 9110 10.1.4", b"TE: trailers\r\nX-A: 1\r\n", (b"X-A", b"1")),
    _get("TE: chunked", "smuggler", b"TE: chunked\r\n"),
    _get(
        "HTTP2-Settings alone",
        "RFC 9113 3.1",
        b"HTTP2-Settings: AAMAAABkAAQ\r\n",
        (b"HTTP2-Settings", b"AAMAAABkAAQ"),
    ),
    _get("Proxy-Connection", "practice", b"Proxy-Connection: close\r\n"),
    _get("an odd Connection", "RFC 9110 7.6.1", b"Connection: ,, keep-ALIVE ,\t\r\n"),
    _get("an empty Connection", "RFC 9110 7.6.1", b"Connection:\r\n"),
    _get(
        "a method in a field",
        "practice",
        b"X-HTTP-Method-Override: PUT\r\n",
        (b"X-HTTP-Method-Override", b"PUT"),
    ),
    _get("a target in a field", "practice", b"X-Original-URL: /b\r\n", (b"X-Original-URL", b"/b")),
    _get("99 fields", "practice", b"X: a\r\n" * 99, *(((b"X", b"a"),) * 99)),
    _get(
        "a value of 24,000 bytes",
        "practice",
        b"X: " + b"a" * 24_000 + b"\r\n",
        (b"X", b"a" * 24_000),
    ),
    _get(
        "an Expect that nobody knows",
        "Http11Probe expect-unknown",
        b"Expect: 200-ok\r\n",
        (b"Expect", b"200-ok"),
    ),
    _get(
        "an Expect without a body",
        "practice",
        b"Expect: 100-continue\r\n",
        (b"Expect", b"100-continue"),
    ),
    _with_length(
        "an Expect that does not wait",
        "Http11Probe expect-100-cl",
        b"PUT",
        b"Expect: 100-continue\r\nContent-Length: 5\r\n",
        *(b"Expect", b"100-continue", b"Content-Length", b"5"),
    ),
    _with_length(
        "an odd Expect",
        "smuggler",
        b"PUT",
        b"expect: 100-CONTINUE, y\r\nContent-Length: 5\r\n",
        *(b"expect", b"100-CONTINUE, y", b"Content-Length", b"5"),
    ),
    Odd("hOST", "RFC 9110 5.1", b"GET / HTTP/1.1\r\nhOST:a\r\n\r\n", fields=((b"hOST", b"a"),)),
    Odd(
        "Host last",
        "practice",
        b"GET / HTTP/1.1\r\nX-A: 1\r\nHost: a\r\n\r\n",
        fields=((b"X-A", b"1"), _HOST),
    ),
    Odd(
        "Host in capitals with a dot",
        "practice",
        b"GET / HTTP/1.1\r\nHost: A.Example.:80\r\n\r\n",
        fields=((b"Host", b"A.Example.:80"),),
    ),
    Odd(
        "Host is IPv6",
        "RFC 3986 3.2.2",
        b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        fields=((b"Host", b"[::1]:8080"),),
    ),
]

_LINES: Final = [
    _line("an empty line first", "RFC 9112 2.2", b"\r\nGET / HTTP/1.1", b"GET / HTTP/1.1"),
    _line("a method of its own", "RFC 9110 9.1", b"get / HTTP/1.1"),
    _line("a method of odd characters", "RFC 9110 5.6.2", b"!#$%&'*+-.^_`|~ / HTTP/1.1"),
    _line("PROPFIND", "practice", b"PROPFIND / HTTP/1.1"),
    _line("a target of 8,000 bytes", "RFC 9112 3", b"GET /" + b"a" * 8_000 + b" HTTP/1.1"),
    _line("slashes", "practice", b"GET //a///b/ HTTP/1.1"),
    _line("encoded slashes", "practice", b"GET /a%2Fb%2fc/%252F HTTP/1.1"),
    _line("escapes of plain characters", "practice", b"GET /%61%7E/%41?%61 HTTP/1.1"),
    _line("parameters", "practice", b"GET /a;b=c/d;e HTTP/1.1"),
    _line("a backslash", "practice", b"GET /a\\b HTTP/1.1"),
    _line("dot segments inside", "practice", b"GET /a/./b/../c HTTP/1.1"),
    _line("encoded dot segments", "practice", b"GET /a/%2e/b/%2E%2e/c HTTP/1.1"),
    _line("every character of a path", "RFC 3986 3.3", b"GET /-._~!$&'()*+,;=:@ HTTP/1.1"),
    _line("more than RFC 3986 allows", "practice", b'GET /"<>[]^`{|} HTTP/1.1'),
    _line(
        "a query with everything",
        "RFC 3986 3.4",
        b"GET /?a=/../?b=//&c=%zz&d=http://x/;\\ HTTP/1.1",
    ),
    _line("an empty query", "RFC 3986 3.4", b"GET /? HTTP/1.1"),
    _line("a scheme in the path", "practice", b"GET /http://b/ HTTP/1.1"),
    _line("absolute-form", "RFC 9112 3.2.2", b"GET http://a/x?y HTTP/1.1", b"GET /x?y HTTP/1.1"),
    _line(
        "absolute-form in capitals", "RFC 3986 3.1", b"GET HTTP://A/X HTTP/1.1", b"GET /X HTTP/1.1"
    ),
    _line(
        "absolute-form with the default port",
        "RFC 9110 4.2.3",
        b"GET http://a:80/ HTTP/1.1",
        b"GET / HTTP/1.1",
    ),
    _line(
        "absolute-form of https",
        "RFC 9110 4.2.3",
        b"GET https://a:443//x HTTP/1.1",
        b"GET //x HTTP/1.1",
    ),
    _line(
        "absolute-form without a path",
        "RFC 9112 3.2.2",
        b"GET http://a?x HTTP/1.1",
        b"GET /?x HTTP/1.1",
    ),
    _line("OPTIONS *", "RFC 9112 3.2.4", b"OPTIONS * HTTP/1.1"),
    _line(
        "OPTIONS for an authority",
        "RFC 9112 3.2.4",
        b"OPTIONS http://a HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
    ),
    Odd("HTTP/1.0", "RFC 9112 9.3", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", last=True),
    Odd(
        "HTTP/1.0 that asks to stay",
        "RFC 9112 9.3",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        last=True,
    ),
    Odd(
        "HTTP/1.0 with a body",
        "RFC 9112 9.3",
        b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        _POST,
        (_HOST, (b"Content-Length", b"5")),
        b"hello",
        last=True,
    ),
    Odd(
        "Connection: close",
        "RFC 9112 9.6",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: CLOSE\r\n\r\n",
        last=True,
    ),
]

ODD: Final = [*_BODIES, *_FIELDS, *_LINES]
