"""What is wrong with a server's certificate, in words: dates, names, who vouches for it, strength.

Owns: the findings. Must not know: handshakes, connections.

``chain`` is what the server sent, its own certificate first.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509

from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.certificates import day, name_of, names_of, strength_of
from gateway.doctor.findings import Finding, Setting, error, warning
from gateway.doctor.remedies import AGENT, APACHE, GATEWAY, HAPROXY, NGINX

_SOON: Final = timedelta(days=14)
# X509_V_ERR_* of OpenSSL's x509_vfy.h: a key or a digest, below the security level of this machine
_WEAK: Final = frozenset({66, 67, 68})


def unfit(problem: ssl.SSLCertVerificationError, chain: Sequence[x509.Certificate]) -> Finding:
    """Return the finding for a certificate that is refused for what it is, not for who signed."""
    weak = problem.verify_code in _WEAK
    return error(
        Cause.CERTIFICATE_UNFIT,
        "the certificate is too weak" if weak else "the certificate is not fit for this server",
        seen=(problem.verify_message, *(f"it sends {strength_of(each)}" for each in chain)),
        meaning="Java takes no SHA-1 from the authorities that come with it, no MD5, and no RSA key"
        " below 1024 bits from anybody; this machine's OpenSSL wants 2048."
        if weak
        else "Java refuses it: SSLHandshakeException, for the same reason.",
        remedy="Have a certificate issued with a key of 2048 bits or more, signed with SHA-256."
        if weak
        else "Have a certificate issued for a TLS server (extended key usage serverAuth), by an"
        " authority that may issue some.",
    )


def expired(chain: Sequence[x509.Certificate]) -> Finding:
    """Return the finding for a certificate whose time is over, the server's or another."""
    now = datetime.now(UTC)
    old = next((each for each in chain if each.not_valid_after_utc < now), chain[0])
    own = old is chain[0]
    return error(
        Cause.CERTIFICATE_EXPIRED,
        f"{'the' if own else 'an intermediate'} certificate expired on"
        f" {day(old.not_valid_after_utc)}",
        seen=f"{name_of(old)}, valid from {day(old.not_valid_before_utc)}"
        f" to {day(old.not_valid_after_utc)}; today is {day(now)}",
        meaning="Java refuses it: CertificateExpiredException, and agents try again for ever.",
        remedy="Renew the certificate and reload the proxy that ends TLS."
        if own
        else "Replace the intermediate by the authority's present one, in the certificate file of"
        " the proxy that ends TLS, and reload it.",
        settings=(
            Setting(NGINX, "nginx -s reload, once the file of ssl_certificate is new"),
            Setting(HAPROXY, "systemctl reload haproxy, once the file of crt is new"),
            Setting(APACHE, "apachectl graceful, once SSLCertificateFile is new"),
            Setting(GATEWAY, "nothing: a new file is in force within two seconds"),
        ),
    )


def not_yet(chain: Sequence[x509.Certificate]) -> Finding:
    """Return the finding for a certificate whose time has not come."""
    return error(
        Cause.CERTIFICATE_NOT_YET_VALID,
        f"the certificate is valid from {day(chain[0].not_valid_before_utc)} on only",
        seen=f"{name_of(chain[0])}; here it is {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        meaning="Java refuses it: CertificateNotYetValidException.",
        remedy="Set this machine's clock (timedatectl); if it is right, use another certificate.",
    )


def wrong_name(case: Case, chain: Sequence[x509.Certificate]) -> Finding:
    """Return the finding for a certificate that does not name the host."""
    host = case.question.target.host
    names = ", ".join(names_of(chain[0])) or "no name at all"
    return error(
        Cause.WRONG_NAME,
        f"the certificate is for another name than {host}",
        seen=f"it is for {names}",
        meaning="Java refuses it: No subject alternative names matching, or none found.",
        remedy=f"Use a certificate that has {host} among its names, or a name that it has in -url.",
        settings=(
            Setting(NGINX, f"a server with server_name {host}; and its ssl_certificate"),
            Setting(HAPROXY, "crt FOLDER, with a certificate for each name; SNI chooses"),
            Setting(APACHE, f"a <VirtualHost> with ServerName {host} and its SSLCertificateFile"),
            Setting(GATEWAY, f"one more of tls.certificates, for {host}"),
        ),
    )


def unknown_authority(
    case: Case, chain: Sequence[x509.Certificate], *, self_signed: bool
) -> Finding:
    """Return the finding for a certificate that nobody known here vouches for."""
    what = "is self-signed" if self_signed else "comes from an authority that is not known here"
    ca = case.question.ca_file
    given = f"; {ca} does not have it either" if ca is not None else ""
    return error(
        Cause.AUTHORITY_UNKNOWN,
        f"the certificate {what}",
        seen=f'{name_of(chain[0])}, signed by "{chain[-1].issuer.rfc4514_string()}"{given}',
        meaning='Java refuses it: "PKIX path building failed", unless its own list (cacerts, which'
        " the doctor does not read) has the authority, or it is told to believe it.",
        remedy="Give agents the authority's certificate: java -jar agent.jar -cert @ca.pem ...",
        settings=(
            Setting(AGENT, "-cert @ca.pem  (PEM; together with a -url that it is for)"),
            Setting(
                "Java",
                "keytool -importcert -cacerts -file ca.pem -alias jenkins-ca, or"
                " -Djavax.net.ssl.trustStore=FILE",
            ),
            Setting("doctor", "--ca-file ca.pem, to go on from here"),
        ),
    )


def ends_soon(chain: Sequence[x509.Certificate]) -> list[Finding]:
    """Return the finding for a certificate that ends within two weeks, if there is one."""
    now = datetime.now(UTC)
    # One that has expired was not needed: the handshake went well.
    soon = [each for each in chain if now < each.not_valid_after_utc < now + _SOON]
    return [
        warning(
            Cause.CERTIFICATE_ENDS_SOON,
            f"the certificate ends on {day(each.not_valid_after_utc)}",
            seen=f"{name_of(each)}: {(each.not_valid_after_utc - now).days} days left",
            meaning="From then on no agent gets in.",
            remedy="Renew it now, and find out why nothing has done so by itself.",
        )
        for each in soon[:1]
    ]
