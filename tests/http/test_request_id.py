"""Ids of requests: made here, or believed."""

from __future__ import annotations

import ipaddress
import re

import pytest

from gateway.http.forwarding import ProxyTrust, request_headers
from gateway.http.request_id import given_request_id, new_request_id
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Headers

UUID = b"8d0a1f6e-6f0c-4f3b-9d5e-0a2b3c4d5e6f"


def test_they_are_short_and_differ() -> None:
    ids = {new_request_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("[2-9a-km-np-z]{4}-[2-9a-km-np-z]{4}", each) for each in ids)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([UUID], UUID.decode()),
        ([b"0123456789abcdef" * 2], "0123456789abcdef" * 2),
        ([b"k3vq-9x2m"], "k3vq-9x2m"),
        ([], None),
        ([UUID, UUID], None),
        ([b"short"], None),
        ([b"a" * 129], None),
        ([b"a" * 20 + b"\n"], None),
        ([b"a" * 20 + b" b"], None),
        ([b"-" * 20], None),
        ([b'"; drop table'], None),
        ([b"\xe9" * 20], None),
    ],
)
def test_well_formed_ones(values: list[bytes], expected: str | None) -> None:
    assert given_request_id(Headers([(b"x-request-id", each) for each in values])) == expected


@pytest.mark.parametrize(
    ("peer", "given", "sent"),
    [
        ("10.0.0.1", UUID, UUID),
        ("10.0.0.1", b"bad one", b"abcd-efgh"),
        ("192.0.2.7", UUID, b"abcd-efgh"),
    ],
)
def test_only_a_trusted_proxys_is_believed_and_one_is_sent_on(
    peer: str, given: bytes, sent: bytes
) -> None:
    trust = ProxyTrust([ipaddress.ip_network("10.0.0.0/8")], peer, scheme="http", port=80)
    fields = [(b"Host", b"a"), (b"x-request-ID", given)]
    request = RequestHead(b"GET", b"/", b"1.1", Headers(fields))
    request_id = trust.request_id(request.headers)
    assert request_id == sent.decode()
    headers = request_headers(
        request, trust.provenance(request), request_id=request_id, agent_fields=False
    )
    assert headers.get_all(b"x-request-id") == [sent]
