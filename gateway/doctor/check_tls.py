"""TLS: what the server speaks and shows, and what an agent's Java would say to it.

Owns: the two handshakes, one that believes everything in order to see, one that verifies as Java
does; telling apart what they show, and the intermediate that a server forgot to send.

Must not know: HTTP, how a certificate's fault is put into words. Java fetches no missing
intermediates, and neither does OpenSSL: what the system's authorities and ``-cert`` make of a chain
here, Java makes of it, but for authorities that only one of the two has.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

import trio
from cryptography import x509

from gateway.config.networks import is_ip_address, is_loopback
from gateway.demo.agent_http import Target
from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.certificate_findings import (
    ends_soon,
    expired,
    not_yet,
    unfit,
    unknown_authority,
    wrong_name,
)
from gateway.doctor.certificates import (
    day,
    has_issued,
    is_self_signed,
    issuer_address,
    name_of,
)
from gateway.doctor.client import Address, Unanswered, address_of, get, trust
from gateway.doctor.findings import Finding, Setting, error, warning
from gateway.doctor.question import Question
from gateway.doctor.remedies import APACHE, GATEWAY, HAPROXY, NGINX
from gateway.transport.tls_look import TlsLook, TlsLookFailed, look

_WITHIN: Final = 10.0  # seconds, for one handshake
# Of the addresses of a name, how many are looked at.
_PLACES: Final = 4
# X509_V_ERR_* of OpenSSL's x509_vfy.h
_NOT_YET, _EXPIRED = 9, 10
_SELF_SIGNED, _SELF_SIGNED_IN_CHAIN = 18, 19
_HOSTNAME, _IP_ADDRESS = 62, 64
_NO_ISSUER = frozenset({2, 20, 21})
_SENT_WHERE: Final = (
    Setting(NGINX, "ssl_certificate: a file with the certificate first, then the intermediates"),
    Setting(HAPROXY, "crt: a file with certificate, intermediates and key"),
    Setting(APACHE, "SSLCertificateFile: certificate first, then the intermediates"),
    Setting(GATEWAY, "tls: {certificates: [{certificate: FILE WITH BOTH, key: ...}]}"),
)


async def check_tls(case: Case) -> list[Finding]:
    """Shake hands twice and say what an agent would see."""
    if not case.question.is_https:
        case.note("not used: the URL is http")
        return _in_clear(case)
    findings: list[Finding] = []
    places = case.addresses[:_PLACES] or [address_of(case.question)]
    for number, address in enumerate(places):
        found = await _at(case, address, first=not number)
        # Which of several it was is worth knowing; where there is one it is in the report already.
        where = f"at {address[0]}: " if len(places) > 1 else ""
        findings += [
            replace(each, seen=tuple(where + line for line in each.seen)) for each in found
        ]
    return findings


async def _at(case: Case, address: Address, *, first: bool) -> list[Finding]:
    """Look at one of the addresses; the summary is of the first."""
    try:
        seen = await _look(case, address)
    except TlsLookFailed as failure:
        case.note(str(failure))
        if failure.wants_certificate:
            return [client_certificate(f"{failure}, after it had asked for a certificate")]
        return [_no_handshake(case, str(failure))]
    except Unanswered as silence:
        case.note(str(silence))
        return [_silent(str(silence))]
    chain = [x509.load_der_x509_certificate(each) for each in seen.chain]
    if first:
        case.note(_summary(seen, chain))
    if seen.version in ("TLSv1", "TLSv1.1", "SSLv3"):
        return [_too_old(seen)]
    problem = await _verify(case, address, trust(case.question.ca_file))
    if problem is None:
        return ends_soon(chain)
    return [await _judge(case, problem, chain)]


def _in_clear(case: Case) -> list[Finding]:
    """Return the finding for an agent that sends its secret over a network as it is."""
    host = (case.address or address_of(case.question))[0]
    if case.question.node is None or case.question.tcp or host == "localhost" or is_loopback(host):
        return []
    return [
        warning(
            Cause.SECRET_IN_CLEAR,
            "the agent's secret crosses the network unencrypted",
            seen=f"{case.question.url} is http, and {host} is not this machine",
            meaning="Whoever can listen on the way can be this agent from then on.",
            remedy="Use https:// in -url; this gateway, or any proxy, can end TLS for Jenkins.",
        )
    ]


def _silent(reason: str) -> Finding:
    return error(
        Cause.NO_ANSWER,
        "the connection is made, and nothing answers the TLS handshake",
        seen=reason,
        meaning="Something on the way accepts connections and does nothing with them: a balancer"
        " without a healthy backend, a proxy that wants the PROXY protocol, a firewall that looks"
        " into TLS, or a port where TLS is not spoken.",
        remedy="See that this is the port where TLS is spoken, and look at the backend's health in"
        " the balancer.",
    )


async def _look(case: Case, address: Address) -> TlsLook:
    with trio.move_on_after(_WITHIN):
        stream = await trio.open_tcp_stream(*address)
        try:
            return await look(stream, _server_name(case.question.target.host))
        finally:
            stream.socket.close()
    raise Unanswered("no answer in time", late=True)


def _server_name(host: str) -> str | None:
    return None if is_ip_address(host) else host


async def _verify(case: Case, address: Address, context: ssl.SSLContext) -> ssl.SSLError | None:
    """Return why Java would not believe the server; None if it would. Raises Unanswered."""
    stream = await trio.open_tcp_stream(*address)
    wrapped = trio.SSLStream(stream, context, server_hostname=case.question.target.host)
    try:
        with trio.fail_after(_WITHIN):
            await wrapped.do_handshake()
    except trio.TooSlowError:
        raise Unanswered("no answer in the second TLS handshake", late=True) from None
    except trio.BrokenResourceError as broken:
        if isinstance(broken.__cause__, ssl.SSLError):
            return broken.__cause__
        raise Unanswered("the connection broke in the second TLS handshake") from None
    finally:
        stream.socket.close()
    return None


async def _judge(case: Case, problem: ssl.SSLError, chain: Sequence[x509.Certificate]) -> Finding:
    code = problem.verify_code if isinstance(problem, ssl.SSLCertVerificationError) else None
    if code == _EXPIRED:
        return expired(chain)
    if code == _NOT_YET:
        return not_yet(chain)
    if code in (_HOSTNAME, _IP_ADDRESS):
        return wrong_name(case, chain)
    if code in _NO_ISSUER and not is_self_signed(chain[-1]):
        return await _no_issuer(case, chain)
    if code in _NO_ISSUER or code in (_SELF_SIGNED, _SELF_SIGNED_IN_CHAIN):
        return unknown_authority(case, chain, self_signed=code == _SELF_SIGNED)
    if isinstance(problem, ssl.SSLCertVerificationError):
        return unfit(problem, chain)
    if "CERTIFICATE_REQUIRED" in str(problem):
        return client_certificate(str(problem))
    return error(
        Cause.TLS_FAILED,
        "the TLS handshake fails",
        seen=(str(problem), "a handshake with old ciphers and protocols allowed succeeds"),
        meaning="An agent sees an SSLHandshakeException and tries again for ever: the server has"
        " only ciphers that Java, and this machine, have switched off.",
        remedy="Allow today's ciphers on the proxy that ends TLS, such as ECDHE with AES-GCM.",
        settings=(
            Setting(NGINX, "ssl_protocols TLSv1.2 TLSv1.3; and no ssl_ciphers of your own"),
            Setting(HAPROXY, "no ssl-default-bind-ciphers of your own"),
            Setting(APACHE, "SSLCipherSuite HIGH:!aNULL"),
        ),
    )


def client_certificate(evidence: str) -> Finding:
    """Return the finding for a server that wants a certificate of its clients."""
    return error(
        Cause.CLIENT_CERTIFICATE,
        "the server wants a client certificate",
        seen=evidence,
        meaning="An agent's GET /login shows none, so it waits there for ever.",
        remedy="Ask for client certificates as optional, not as required.",
        settings=(
            Setting(NGINX, "ssl_verify_client optional;"),
            Setting(HAPROXY, "bind ... verify optional"),
            Setting(APACHE, "SSLVerifyClient optional"),
            Setting(GATEWAY, "client_certificates: {mode: optional, ca_file: ...}"),
        ),
    )


async def _no_issuer(case: Case, chain: Sequence[x509.Certificate]) -> Finding:
    """Tell a chain that is cut short from an authority that nobody here knows."""
    last = chain[-1]
    where = issuer_address(last)
    given = case.question.ca_file
    issuer = None if where is None else await _fetch_issuer(where, case.question)
    if issuer is not None and has_issued(issuer, last) and not is_self_signed(issuer):
        proof = f"it can be had at {where}, which Java does not do by itself"
    elif where is not None or case.question.ca_file is not None:
        proof = f"it can be had at {where}" if where else "the authorities given do not reach it"
    else:
        return unknown_authority(case, chain, self_signed=False)
    return error(
        Cause.INTERMEDIATE_MISSING,
        "the server does not send the intermediate certificate",
        seen=(
            f"it sends {len(chain)}: {name_of(chain[0])}",
            f'missing: "{last.issuer.rfc4514_string()}"; {proof}',
        ),
        meaning='Java refuses it: "PKIX path building failed: unable to find valid certification'
        ' path". Browsers fetch the certificate by themselves and show nothing.',
        remedy="Append the intermediate to the certificate file of the proxy that ends TLS, and"
        " reload it.",
        settings=_SENT_WHERE
        if where is not None
        else (
            *_SENT_WHERE,
            Setting("doctor", f"if there is no intermediate, {given} is another authority's"),
        ),
    )


async def _fetch_issuer(where: str, question: Question) -> x509.Certificate | None:
    """Fetch the certificate that an AIA address names; None if that fails. Only ever http."""
    if not where.startswith("http://"):
        return None
    parts = urlsplit(where)
    try:
        plain = Question(Target.parse(where), timeout=5)
        answer = await get(plain, parts.path or "/")
        return _load(answer.body) if answer.status == 200 else None
    except (Unanswered, ValueError):
        return None


def _load(data: bytes) -> x509.Certificate:
    if data.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_certificate(data)
    return x509.load_der_x509_certificate(data)


def _no_handshake(case: Case, reason: str) -> Finding:
    wrong = any(word in reason for word in ("wrong version", "packet length", "unknown protocol"))
    if wrong or "record layer" in reason or "http request" in reason:
        port = case.question.target.port
        return error(
            Cause.NOT_TLS,
            f"port {port} does not speak TLS",
            seen=reason,
            meaning="What listens there speaks something else, probably plain HTTP.",
            remedy=f"Use http:// in -url, or the port where TLS is spoken instead of {port}.",
        )
    return error(
        Cause.TLS_FAILED,
        "the TLS handshake fails",
        seen=reason,
        meaning="An agent sees an SSLHandshakeException and tries again for ever.",
        remedy="Look into the log of the proxy that ends TLS: it refused, and knows why. Often it"
        " has no certificate for this name, or wants the PROXY protocol.",
    )


def _too_old(seen: TlsLook) -> Finding:
    return error(
        Cause.TLS_TOO_OLD,
        f"the server speaks {seen.version} only",
        seen=f"{seen.version}, {seen.cipher}",
        meaning="Java has switched off everything before TLS 1.2 (jdk.tls.disabledAlgorithms).",
        remedy="Allow TLS 1.2 and 1.3 on the proxy that ends TLS.",
        settings=(
            Setting(NGINX, "ssl_protocols TLSv1.2 TLSv1.3;"),
            Setting(HAPROXY, "bind ... ssl-min-ver TLSv1.2"),
            Setting(APACHE, "SSLProtocol -all +TLSv1.2 +TLSv1.3"),
        ),
    )


def _summary(seen: TlsLook, chain: Sequence[x509.Certificate]) -> str:
    if not chain:
        return f"{seen.version}, no certificate"
    return (
        f"{seen.version}; {name_of(chain[0])} until {day(chain[0].not_valid_after_utc)},"
        f" {len(chain)} certificate{'s' if len(chain) > 1 else ''} sent"
    )
