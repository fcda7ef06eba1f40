"""Which fields travel on, and what the controller is told about the client (PROTOCOLS I.1, RFC
9110 7.6).

Owns: hop-by-hop fields, agents' fields, ``X-Forwarded-*`` and ``Forwarded``, and whom to believe
about them; what may come as a trailer.

Must not know: connections, bodies, routes.

Believing. Jenkins takes the *first* element of ``X-Forwarded-For/-Host/-Proto/-Port``, so whatever
a client writes there must be gone. If, and only if, the TCP peer is in ``trusted_proxies``, its
fields count: the client is the rightmost address of ``X-Forwarded-For`` that is not itself
trusted, everything left of it may be invented and is cut off; where there is something else than
an address (``unknown``, ``unix:``), the client is ``unknown``, which is in no network: the proxy's
own address in its place would lend it the proxy's trust. Of the others the last element counts,
the one the trusted proxy wrote. Other claims (``X-Forwarded-User``, by which plugins log people
in) travel on only from it, and only those that the operator names: proxies pass on what they do not
know, so the rest may be its clients' own. ``Forwarded`` is never believed: a proxy that does not
know it passes on what a client made up, and Jetty prefers it to ``X-Forwarded-*``. Where one
arrived, ours takes its place. ``X-Request-Id`` is believed likewise, and always sent. For
``traceparent`` see ``trace_context``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.config.claims import CLAIM_PREFIX, CLAIMS, WRITTEN_HERE
from gateway.config.networks import Network, is_in, read_address
from gateway.errors import RemoteProtocolError
from gateway.http.request_id import given_request_id, new_request_id
from gateway.http.trace_context import FIELDS as TRACE_FIELDS
from gateway.http.trace_context import TraceContext
from gateway.protocol.http_head import RequestHead, ResponseHead
from gateway.protocol.http_headers import Field, Headers
from gateway.protocol.http_rules import is_authority
from gateway.transport.stream import UNKNOWN

# RFC 9110 section 7.6.1, with the credentials that are meant for a proxy, and what framing decides
# anew.
_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
_FORWARDED: Final = frozenset(name.encode() for name in WRITTEN_HERE)
_CLAIM_PREFIX: Final = CLAIM_PREFIX.encode()
_CLAIMS: Final = frozenset(name.encode() for name in CLAIMS)
# Secrets and claims of agents: nothing but agents' endpoints gets them (PROTOCOLS K.5 item 4).
_AGENT_FIELDS: Final = frozenset({b"node-name", b"secret-key", b"connection-cookie"})
_AGENT_PREFIX: Final = b"x-remoting-"
_REPLACED: Final = _HOP_BY_HOP | _FORWARDED | {b"x-request-id"}
# By whether agents' fields may pass: names and prefixes that do not travel on.
_UNWANTED: Final[dict[bool, tuple[frozenset[bytes], tuple[bytes, ...]]]] = {
    True: (_REPLACED | _CLAIMS, (_CLAIM_PREFIX,)),
    False: (_REPLACED | _CLAIMS | _AGENT_FIELDS, (_CLAIM_PREFIX, _AGENT_PREFIX)),
}
# What Connection usually says: no other field's name.
_OPTIONS: Final = frozenset({b"close", b"keep-alive", b"upgrade"})
# In an answer; the request's id is the gateway's to tell.
_UNWANTED_IN_RESPONSE: Final = _HOP_BY_HOP | {b"x-request-id"}
# ``Connection`` names fields for one hop only. Naming one of these is an attempt to have something
# removed that the controller relies on.
_END_TO_END: Final = (
    frozenset({b"authorization", b"content-length", b"content-type", b"cookie", b"host", b"origin"})
    | _FORWARDED
    | _AGENT_FIELDS
)
# In an answer the same trick would only hurt its own recipient, so such names are passed over.
_RESPONSE_END_TO_END: Final = frozenset(
    {b"content-length", b"content-type", b"location", b"set-cookie", b"www-authenticate"}
)
# What must be known before the body, or is for somebody else (RFC 9110 section 6.5.1, and the list
# of RFC 7230 section 4.1.2): framing, routing, request modifiers, control of an answer,
# authentication, the content's format. An application that adds trailers to the head would take
# them for what the head says.
_NOT_IN_TRAILERS: Final = (
    _REPLACED
    | _CLAIMS
    | _AGENT_FIELDS
    | TRACE_FIELDS
    | {
        b"age",
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"date",
        b"expect",
        b"expires",
        b"host",
        b"location",
        b"max-forwards",
        b"pragma",
        b"range",
        b"retry-after",
        b"set-cookie",
        b"trailer",
        b"vary",
        b"www-authenticate",
    }
)
_PREFIXES_NOT_IN_TRAILERS: Final = (_AGENT_PREFIX, _CLAIM_PREFIX, b"if-", b"proxy-")
_NO_BODY_FIELDS: Final = frozenset({b"content-length", b"trailer"})
_LIST_MEMBER_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+):\d+")
_PORT: Final = re.compile(rb"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a request comes from, as far as it is believed.

    ``client``: an IP address as text, ``unix`` or ``unknown``. ``scheme``: ``http`` or ``https``,
    as the client saw it.
    ``host`` and ``port``: the authority that the client used; ``host`` None where it named none.
    ``chain``: the client and the trusted proxies it came through, for ``X-Forwarded-For``.
    ``claims``: names of other claims, in lower case, that travel on.
    """

    client: str
    scheme: str
    host: bytes | None
    port: bytes
    chain: tuple[str, ...]
    claims: frozenset[bytes] = frozenset()


class ProxyTrust:
    """What one TCP peer may claim. Made once a connection."""

    __slots__ = ("_claims", "_networks", "_peer", "_port", "_scheme", "_stranger", "trusted")

    def __init__(
        self,
        networks: Sequence[Network],
        peer: str,
        *,
        scheme: str,
        port: int,
        claims: frozenset[bytes] = frozenset(),
    ) -> None:
        """Judge ``peer``; ``scheme`` and ``port`` are the listener's own.

        ``claims``: what travels on if the peer is trusted, in lower case.
        """
        self._networks = networks
        self._peer = peer
        self._scheme = scheme
        self._port = b"%d" % port
        self._claims = claims
        self.trusted = is_in(networks, peer)
        # The last one of a stranger: its requests seldom differ in their Host.
        self._stranger: Provenance | None = None

    def provenance(self, request: RequestHead) -> Provenance:
        """Return where ``request`` comes from."""
        headers = request.headers
        host = headers.get(b"host")
        if not self.trusted:
            return self._of_stranger(host)
        scheme = _last(headers, b"x-forwarded-proto").lower()
        if scheme not in {b"http", b"https"}:
            scheme = self._scheme.encode()
        claimed_host = _last(headers, b"x-forwarded-host")
        if is_authority(claimed_host):
            host = claimed_host
        claimed_port = _last(headers, b"x-forwarded-port")
        chain = self._chain(headers)
        name = scheme.decode()
        port = claimed_port if _PORT.fullmatch(claimed_port) else _port_of(host, name) or self._port
        return Provenance(chain[0], name, host, port, chain, self._claims)

    def _of_stranger(self, host: bytes | None) -> Provenance:
        known = self._stranger
        if known is None or known.host != host:
            port = _port_of(host, self._scheme) or self._port
            known = Provenance(self._peer, self._scheme, host, port, (self._peer,))
            self._stranger = known
        return known

    def request_id(self, headers: Headers) -> str:
        """Return the id that a trusted proxy gave a request, else a fresh one."""
        given = given_request_id(headers) if self.trusted else None
        return given or new_request_id()

    def _chain(self, headers: Headers) -> tuple[str, ...]:
        """Return the client and the trusted proxies behind it, nearest last."""
        chain = [self._peer]
        if b"x-forwarded-for" not in headers:
            return (self._peer,)  # its own request
        for element in reversed(headers.elements(b"x-forwarded-for") or [b""]):
            address = _address(element)
            chain.append(address)
            if not is_in(self._networks, address):
                break
        return tuple(reversed(chain))


def _address(element: bytes) -> str:
    """Read a member of X-Forwarded-For, with or without a port; ``unknown`` if it is no address."""
    text = element.decode("latin-1")
    match = _LIST_MEMBER_PORT.fullmatch(text)
    if match is not None:
        text = match[1] or match[2]
    address = read_address(text)
    return UNKNOWN.host if address is None else str(address)


def _last(headers: Headers, name: bytes) -> bytes:
    values = headers.get_all(name)
    return values[-1].rpartition(b",")[2].strip(b" \t") if values else b""


def _port_of(host: bytes | None, scheme: str) -> bytes | None:
    if host is None:
        return None
    port = host.rpartition(b"]")[2].partition(b":")[2]
    return port or (b"443" if scheme == "https" else b"80")


def refuse_unsafe_connection_options(request: RequestHead) -> None:
    """Raise RemoteProtocolError if ``Connection`` names a field that is for the controller."""
    for name in request.headers.elements(b"connection"):
        if name in _END_TO_END or name.startswith(_AGENT_PREFIX):
            raise RemoteProtocolError("Connection names a field that is not for one hop")


def request_headers(
    request: RequestHead,
    provenance: Provenance,
    *,
    request_id: str,
    agent_fields: bool,
    trace: TraceContext | None = None,
) -> Headers:
    """Return the fields that go to the controller: in order and case, hop-by-hop ones replaced.

    ``agent_fields``: let Node-Name and its like pass. ``trace``: None lets its fields pass.
    No Connection is sent: in HTTP/1.1 that means
    that it may stay open. Raises RemoteProtocolError as ``refuse_unsafe_connection_options``.
    """
    headers = request.headers
    unwanted, prefixes = _UNWANTED[agent_fields]
    claims = provenance.claims
    if claims:
        unwanted = unwanted - claims
    if b"connection" in headers:
        refuse_unsafe_connection_options(request)
        unwanted = unwanted.union(headers.elements(b"connection"))
    if trace is not None and not trace.passes and any(each in headers for each in TRACE_FIELDS):
        unwanted = unwanted | TRACE_FIELDS
    fields = [
        each
        for each, name in headers.with_lowered_names()
        if name not in unwanted and (not name.startswith(prefixes) or name in claims)
    ]
    fields += _forwarded_fields(provenance)
    if trace is not None and trace.own is not None:
        fields.append(trace.own)
    fields.append((b"X-Request-Id", request_id.encode()))
    if b"forwarded" in headers:
        fields.append((b"Forwarded", _forwarded(provenance)))
    if request.chunked:
        fields.append((b"Transfer-Encoding", b"chunked"))
    return Headers(fields)


def _forwarded_fields(provenance: Provenance) -> list[Field]:
    fields = [(b"X-Forwarded-For", ", ".join(provenance.chain).encode())]
    if provenance.host is not None:
        fields.append((b"X-Forwarded-Host", provenance.host))
    fields.append((b"X-Forwarded-Proto", provenance.scheme.encode()))
    fields.append((b"X-Forwarded-Port", provenance.port))
    return fields


def _forwarded(provenance: Provenance) -> bytes:
    """Return a ``Forwarded`` value that says what our ``X-Forwarded-*`` say (RFC 7239)."""
    hops = [f'for="[{hop}]"' if ":" in hop else f"for={hop}" for hop in provenance.chain]
    if provenance.host is not None:
        hops[0] += f';host="{provenance.host.decode("ascii")}"'
    hops[0] += f";proto={provenance.scheme}"
    return ", ".join(hops).encode()


def response_fields(head: ResponseHead) -> list[Field]:
    """Return the fields of a controller's answer that go to the client, in order and case.

    Here ``Connection`` cannot take away end-to-end fields: those it names are kept.
    """
    headers = head.headers
    unwanted = _UNWANTED_IN_RESPONSE
    named = headers.elements(b"connection")
    if not _OPTIONS.issuperset(named):
        unwanted = unwanted.union(name for name in named if name not in _RESPONSE_END_TO_END)
    fields = [field for field, name in headers.with_lowered_names() if name not in unwanted]
    if head.status == 204:  # RFC 9110 section 8.6: no length there, but some servers send 0
        fields = [field for field in fields if field[0].lower() != b"content-length"]
    return fields


def informational_fields(head: ResponseHead) -> list[Field]:
    """Return the fields of a 1xx head that go to the client: no framing, since it has no body."""
    fields = response_fields(head)
    return [field for field in fields if field[0].lower() not in _NO_BODY_FIELDS]


def trailer_fields(head: RequestHead | ResponseHead, trailers: Iterable[Field]) -> list[Field]:
    """Return the trailers of a message that travel on, either way, in order and case.

    Dropped, as RFC 9110 section 6.5.1 allows: what only a head may say, and what is for one hop.
    """
    named = head.headers.elements(b"connection")
    return [
        field
        for field in trailers
        if (name := field[0].lower()) not in _NOT_IN_TRAILERS
        and name not in named
        and not name.startswith(_PREFIXES_NOT_IN_TRAILERS)
    ]
