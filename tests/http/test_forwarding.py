"""Which fields travel on, and who is believed about the client."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest

from gateway.config.networks import Network, is_in
from gateway.errors import RemoteProtocolError
from gateway.http.forwarding import (
    Provenance,
    ProxyTrust,
    informational_fields,
    request_headers,
    response_fields,
    trailer_fields,
)
from gateway.protocol.http_head import RequestHead, ResponseHead
from gateway.protocol.http_headers import Field, Headers

NETWORKS: list[Network] = [
    ipaddress.ip_network("10.0.0.0/8"),
    ipaddress.ip_network("fd00::/8"),
]
STRANGER = ProxyTrust(NETWORKS, "192.0.2.7", scheme="http", port=8080)
TRUSTED = ProxyTrust(NETWORKS, "10.0.0.1", scheme="http", port=8080)


def asked(*fields: Field, host: bytes | None = b"ci.example.com") -> RequestHead:
    own = [] if host is None else [(b"Host", host)]
    return RequestHead(b"GET", b"/", b"1.1", Headers([*own, *fields]))


def sent_on(
    *fields: Field, trust: ProxyTrust = STRANGER, agent_fields: bool = False
) -> list[Field]:
    """Return what goes to the controller, without Host and the fields that are always added."""
    request = asked(*fields)
    headers = request_headers(
        request, trust.provenance(request), request_id="abcd-efgh", agent_fields=agent_fields
    )
    added = {b"host", b"x-request-id"} | {
        b"x-forwarded-" + name for name in (b"for", b"host", b"proto", b"port")
    }
    return [field for field in headers if field[0].lower() not in added]


def claims(*fields: Field, trust: ProxyTrust, host: bytes | None = b"ci.example.com") -> Provenance:
    return trust.provenance(asked(*fields, host=host))


# -- who is believed -------------------------------------------------------------------------------


def test_a_stranger_is_not_believed() -> None:
    found = claims(
        (b"X-Forwarded-For", b"1.2.3.4"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"evil.example.com"),
        (b"X-Forwarded-Port", b"443"),
        trust=STRANGER,
    )
    assert found == Provenance(
        "192.0.2.7",
        "http",
        b"ci.example.com",
        b"80",
        ("192.0.2.7",),
    )


@pytest.mark.parametrize(
    ("values", "chain"),
    [
        ([], ["10.0.0.1"]),
        ([b"198.51.100.9"], ["198.51.100.9", "10.0.0.1"]),
        ([b"6.6.6.6, 198.51.100.9"], ["198.51.100.9", "10.0.0.1"]),
        ([b"198.51.100.9, 10.0.0.2"], ["198.51.100.9", "10.0.0.2", "10.0.0.1"]),
        ([b"6.6.6.6", b"198.51.100.9 ,10.0.0.2"], ["198.51.100.9", "10.0.0.2", "10.0.0.1"]),
        ([b"10.0.0.3, 10.0.0.2"], ["10.0.0.3", "10.0.0.2", "10.0.0.1"]),
        ([b"198.51.100.9:4711"], ["198.51.100.9", "10.0.0.1"]),
        ([b"[2001:db8::1]:4711"], ["2001:db8::1", "10.0.0.1"]),
        ([b"[2001:DB8::1]"], ["2001:db8::1", "10.0.0.1"]),
        ([b"2001:db8::1"], ["2001:db8::1", "10.0.0.1"]),
        ([b"::ffff:203.0.113.9"], ["203.0.113.9", "10.0.0.1"]),
        ([b"[::ffff:203.0.113.9]:4711"], ["203.0.113.9", "10.0.0.1"]),
        ([b"198.51.100.9, ::ffff:10.0.0.2"], ["198.51.100.9", "10.0.0.2", "10.0.0.1"]),
        ([b"198.51.100.9, unknown"], ["unknown", "10.0.0.1"]),
        ([b"198.51.100.9, unix:"], ["unknown", "10.0.0.1"]),
        ([b"198.51.100.9, _hidden, 10.0.0.2"], ["unknown", "10.0.0.2", "10.0.0.1"]),
        ([b"198.51.100.9, <script>"], ["unknown", "10.0.0.1"]),
        ([b'fe80::1%";proto=https;for=1.2.3.4'], ["unknown", "10.0.0.1"]),
        ([b"fd00::1%eth0"], ["unknown", "10.0.0.1"]),
        ([b"unknown, 198.51.100.9"], ["198.51.100.9", "10.0.0.1"]),
        ([b",,"], ["unknown", "10.0.0.1"]),
        ([b""], ["unknown", "10.0.0.1"]),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_not_trusted(
    values: list[bytes], chain: list[str]
) -> None:
    found = claims(*[(b"x-forwarded-for", value) for value in values], trust=TRUSTED)
    assert found.chain == tuple(chain)
    assert found.client == chain[0]
    if chain[0] == "unknown":
        assert not is_in([*NETWORKS, ipaddress.ip_network("::/0")], found.client)


@pytest.mark.parametrize(
    ("fields", "scheme", "host", "port"),
    [
        ([], "http", b"ci.example.com", b"80"),
        ([(b"X-Forwarded-Proto", b"HTTPS")], "https", b"ci.example.com", b"443"),
        ([(b"X-Forwarded-Proto", b"http, https")], "https", b"ci.example.com", b"443"),
        ([(b"X-Forwarded-Proto", b"gopher")], "http", b"ci.example.com", b"80"),
        ([(b"X-Forwarded-Host", b"pub.example.com")], "http", b"pub.example.com", b"80"),
        ([(b"X-Forwarded-Host", b"pub.example.com:81")], "http", b"pub.example.com:81", b"81"),
        ([(b"X-Forwarded-Host", b"a b")], "http", b"ci.example.com", b"80"),
        ([(b"X-Forwarded-Host", b"[::1]:82")], "http", b"[::1]:82", b"82"),
        ([(b"X-Forwarded-Port", b"8443")], "http", b"ci.example.com", b"8443"),
        ([(b"X-Forwarded-Port", b"99999999")], "http", b"ci.example.com", b"80"),
    ],
)
def test_what_a_trusted_proxy_says_about_the_outside(
    fields: list[Field], scheme: str, host: bytes, port: bytes
) -> None:
    found = claims(*fields, trust=TRUSTED)
    assert (found.scheme, found.host, found.port) == (scheme, host, port)


def test_without_host_the_listener_tells_the_port() -> None:
    found = claims(trust=STRANGER, host=None)
    assert (found.host, found.port) == (None, b"8080")
    assert claims(trust=TRUSTED, host=None).port == b"8080"
    tls = ProxyTrust([], "192.0.2.7", scheme="https", port=8443)
    assert claims(trust=tls).scheme == "https"
    assert claims(trust=tls).port == b"443"
    assert claims(trust=tls, host=b"a:8443").port == b"8443"


# -- what goes to the controller -------------------------------------------------------------------


def test_end_to_end_fields_keep_order_and_case() -> None:
    fields = [(b"b", b"2"), (b"Cookie", b"x=y"), (b"B", b"3"), (b"AUTHORIZATION", b"Basic x")]
    assert sent_on(*fields) == fields


def test_hop_by_hop_fields_stay_here_with_those_that_connection_names() -> None:
    assert sent_on(
        (b"Keep-Alive", b"timeout=5"),
        (b"X-A", b"1"),
        (b"Connection", b"keep-alive, X-Hop"),
        (b"TE", b"trailers"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"x-hop", b"gone"),
        (b"Upgrade", b"nothing"),
        (b"X-B", b"2"),
    ) == [(b"X-A", b"1"), (b"X-B", b"2")]


@pytest.mark.parametrize(
    "name",
    [
        b"Host",
        b"Content-Length",
        b"content-type",
        b"X-Forwarded-For",
        b"Forwarded",
        b"Authorization",
        b"Cookie",
        b"Secret-Key",
        b"Node-Name",
        b"Connection-Cookie",
        b"X-Remoting-Capability",
    ],
)
def test_connection_must_not_take_away_what_the_controller_relies_on(name: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        sent_on((b"Connection", b"close, " + name))


def test_what_strangers_claim_is_replaced() -> None:
    request = asked(
        (b"X-Forwarded-For", b"1.2.3.4"),
        (b"x-forwarded-user", b"admin"),
        (b"X-Forwarded-Server", b"x"),
        (b"X-Proxied-Https", b"on"),
        (b"Forwarded", b"for=1.2.3.4;proto=https"),
        (b"X-Forwarded-Proto", b"https"),
        (b"Accept", b"*/*"),
    )
    headers = request_headers(
        request, STRANGER.provenance(request), request_id="abcd-efgh", agent_fields=False
    )
    assert list(headers) == [
        (b"Host", b"ci.example.com"),
        (b"Accept", b"*/*"),
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Host", b"ci.example.com"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Port", b"80"),
        (b"X-Request-Id", b"abcd-efgh"),
        (b"Forwarded", b'for=192.0.2.7;host="ci.example.com";proto=http'),
    ]


def test_what_a_trusted_proxy_says_goes_on_without_what_its_clients_made_up() -> None:
    request = asked(
        (b"X-Forwarded-For", b"6.6.6.6, 2001:db8::1"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"pub.example.com"),
        (b"X-Forwarded-User", b"alice"),
        (b"Forwarded", b"for=6.6.6.6"),
    )
    headers = request_headers(
        request, TRUSTED.provenance(request), request_id="abcd-efgh", agent_fields=False
    )
    assert list(headers) == [
        (b"Host", b"ci.example.com"),
        (b"X-Forwarded-For", b"2001:db8::1, 10.0.0.1"),
        (b"X-Forwarded-Host", b"pub.example.com"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Port", b"443"),
        (b"X-Request-Id", b"abcd-efgh"),
        (b"Forwarded", b'for="[2001:db8::1]";host="pub.example.com";proto=https, for=10.0.0.1'),
    ]


CLAIMS = [
    (b"X-Forwarded-User", b"admin"),
    (b"x-forwarded-GROUPS", b"admins"),
    (b"X-Forwarded-Prefix", b"/x"),
    (b"X-Forwarded-Server", b"x"),
    (b"X-Proxied-Https", b"on"),
    (b"Proxy-Auth-Cert", b"x"),
    (b"Proxy-Ssl-Id", b"x"),
]


@pytest.mark.parametrize("agent_fields", [True, False])
@pytest.mark.parametrize("trust", [STRANGER, TRUSTED], ids=["stranger", "trusted"])
def test_claims_that_nobody_named_stay_here(trust: ProxyTrust, *, agent_fields: bool) -> None:
    """A proxy passes on what it does not know: a client's X-Forwarded-User would be a log-in."""
    assert sent_on(*CLAIMS, (b"Accept", b"a"), trust=trust, agent_fields=agent_fields) == [
        (b"Accept", b"a")
    ]


@pytest.mark.parametrize("agent_fields", [True, False])
def test_claims_that_are_named_travel_on_from_trusted_proxies(*, agent_fields: bool) -> None:
    named = frozenset({b"x-forwarded-user", b"x-forwarded-groups", b"x-proxied-https"})

    def passed(peer: str) -> list[Field]:
        trust = ProxyTrust(NETWORKS, peer, scheme="http", port=8080, claims=named)
        return sent_on(*CLAIMS, trust=trust, agent_fields=agent_fields)

    assert passed("10.0.0.1") == [CLAIMS[0], CLAIMS[1], CLAIMS[4]]
    assert passed("192.0.2.7") == []


@pytest.mark.parametrize("said", [b"unknown", b'fe80::1%";proto=https;for=1.2.3.4', b"unix:"])
def test_an_unknown_client_is_nobody_to_the_controller_too(said: bytes) -> None:
    request = asked((b"X-Forwarded-For", said), (b"Forwarded", b"x"))
    headers = request_headers(
        request, TRUSTED.provenance(request), request_id="a-b", agent_fields=False
    )
    assert headers.get(b"x-forwarded-for") == b"unknown, 10.0.0.1"
    assert headers.get(b"forwarded") == (
        b'for=unknown;host="ci.example.com";proto=http, for=10.0.0.1'
    )


AGENT_FIELDS = [
    (b"Node-Name", b"agent"),
    (b"Secret-Key", b"0123"),
    (b"Connection-Cookie", b"4567"),
    (b"X-Remoting-Capability", b"rO0A"),
    (b"x-remoting-Anything", b"x"),
]


def test_agents_fields_go_to_agents_endpoints_only() -> None:
    assert sent_on(*AGENT_FIELDS, (b"X-Remote", b"1")) == [(b"X-Remote", b"1")]
    assert sent_on(*AGENT_FIELDS, agent_fields=True) == AGENT_FIELDS


def test_a_chunked_request_stays_chunked() -> None:
    fields = sent_on((b"Transfer-Encoding", b"Chunked"), (b"Trailer", b"X-Sum"))
    assert fields == [(b"Trailer", b"X-Sum"), (b"Transfer-Encoding", b"chunked")]


# -- what comes back -------------------------------------------------------------------------------


def test_an_answers_end_to_end_fields_keep_order_and_case() -> None:
    head = ResponseHead(
        200,
        b"",
        b"1.1",
        Headers(
            [
                (b"x-jenkins", b"2.x"),
                (b"x-request-id", b"the controller's own"),
                (b"Set-Cookie", b"a=1"),
                (b"Keep-Alive", b"timeout=60"),
                (b"Set-Cookie", b"b=2"),
                (b"Connection", b"close, X-Hop, Set-Cookie, Content-Length"),
                (b"X-HOP", b"gone"),
                (b"Transfer-Encoding", b"chunked"),
                (b"Upgrade", b"h2c"),
                (b"Content-Length", b"5"),
            ]
        ),
    )
    assert response_fields(head) == [
        (b"x-jenkins", b"2.x"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"Content-Length", b"5"),
    ]


@pytest.mark.parametrize(("status", "kept"), [(204, False), (304, True), (200, True)])
def test_only_204_loses_its_length(status: int, *, kept: bool) -> None:
    head = ResponseHead(status, b"", b"1.1", Headers([(b"Content-Length", b"0")]))
    assert (response_fields(head) != []) is kept


def test_an_informational_answer_has_no_body_to_tell_about() -> None:
    """RFC 9110 section 8.6, RFC 9112 section 6.1."""
    fields = [(b"Link", b"</a>"), (b"CONTENT-length", b"5"), (b"X-Hop", b"1"), (b"link", b"</b>")]
    framing = [(b"Transfer-Encoding", b"chunked"), (b"Connection", b"X-Hop"), (b"Trailer", b"X")]
    head = ResponseHead(103, b"", b"1.1", Headers([*fields, *framing]))
    assert informational_fields(head) == [(b"Link", b"</a>"), (b"link", b"</b>")]


# -- trailers --------------------------------------------------------------------------------------


NOT_IN_TRAILERS = [
    # hop-by-hop, and what a proxy is told
    *(b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Upgrade", b"Trailer"),
    *(b"Proxy-Authorization", b"Proxy-Authenticate", b"Proxy-Authentication-Info", b"Proxy-Foo"),
    # framing and routing; the gate refuses these before
    *(b"Content-Length", b"Transfer-Encoding", b"Host"),
    # what we say about the client, and claims about it
    *(b"X-Forwarded-For", b"X-Forwarded-User", b"X-Forwarded-Proto", b"Forwarded"),
    *(b"X-Proxied-Https", b"Proxy-Ssl-Id", b"X-Request-Id"),
    # agents' fields
    *(b"Node-Name", b"Secret-Key", b"Connection-Cookie", b"X-Remoting-Capability"),
    # authentication
    *(b"Authorization", b"Cookie", b"Set-Cookie", b"WWW-Authenticate"),
    # request modifiers: controls and conditions
    *(b"Cache-Control", b"Expect", b"Max-Forwards", b"Pragma", b"Range"),
    *(b"If-Match", b"If-None-Match", b"If-Modified-Since", b"If-Unmodified-Since", b"If-Range"),
    # control of an answer
    *(b"Age", b"Date", b"Expires", b"Location", b"Retry-After", b"Vary"),
    # the content's format
    *(b"Content-Encoding", b"Content-Type", b"Content-Range"),
]


@pytest.mark.parametrize("name", NOT_IN_TRAILERS)
@pytest.mark.parametrize("case", [bytes, bytes.lower, bytes.upper])
def test_fields_that_have_no_business_behind_a_body(
    name: bytes, case: Callable[[bytes], bytes]
) -> None:
    fields = [(b"x-Sum", b"1"), (case(name), b"x"), (b"X-SUM", b"2"), (b"Digest", b"sha-256=")]
    passed = [fields[0], *fields[2:]]
    request, response = asked(), ResponseHead(200, b"", b"1.1", Headers())
    assert trailer_fields(request, fields) == passed
    assert trailer_fields(response, fields) == passed


def test_what_connection_names_is_for_one_hop_in_trailers_too() -> None:
    named = (b"Connection", b"close, X-Hop")
    fields = [(b"X-HOP", b"1"), (b"Server-Timing", b"db;dur=1")]
    for head in (asked(named), ResponseHead(200, b"", b"1.1", Headers([named]))):
        assert trailer_fields(head, fields) == fields[1:]
    assert trailer_fields(asked(), fields) == fields
    assert trailer_fields(asked(), []) == []
