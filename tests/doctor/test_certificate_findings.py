from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from gateway.doctor.causes import Cause
from gateway.doctor.certificate_findings import ends_soon, expired
from tests import certificates


def ending_in(days: int) -> x509.Certificate:
    """Return a certificate whose time ends so many days from now."""
    now = datetime.now(UTC)
    leaf = certificates.authority().issue_cert(
        "ci.example.com", not_before=now - timedelta(days=90), not_after=now + timedelta(days=days)
    )
    return x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())


@pytest.mark.parametrize(
    ("days", "found"),
    [
        ((90, 90), False),
        ((5, 90), True),
        ((90, 5), True),
        ((90, -10), False),  # an old root that is sent besides, and that nobody needs
    ],
)
def test_what_ends_soon(days: tuple[int, ...], found: bool) -> None:
    causes = [each.cause for each in ends_soon([ending_in(each) for each in days])]
    assert causes == ([Cause.CERTIFICATE_ENDS_SOON] if found else [])


@pytest.mark.parametrize(
    ("days", "words"),
    [
        ((-1, 90), ("the certificate expired on", "Renew")),
        ((90, -1), ("an intermediate certificate expired on", "Replace")),
    ],
)
def test_whose_time_is_over(days: tuple[int, ...], words: tuple[str, str]) -> None:
    found = expired([ending_in(each) for each in days])
    assert found.title.startswith(words[0])
    assert found.remedy.startswith(words[1])
