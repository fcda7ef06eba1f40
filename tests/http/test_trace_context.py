"""traceparent: what is valid, whom it is believed from, and what the controller gets."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.config.logs import TraceContextConfig
from gateway.http.forwarding import Provenance, request_headers
from gateway.http.trace_context import TraceContext, given_trace_id, trace_of
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Headers

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
GIVEN = f"00-{ID}-00f067aa0ba902b7-01".encode()
STATE = (b"tracestate", b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
FROM = Provenance("192.0.2.7", "https", b"ci", b"443", ("192.0.2.7",))


def config(**settings: Any) -> TraceContextConfig:
    return TraceContextConfig(**settings)


@pytest.mark.parametrize(
    "value",
    [
        GIVEN,
        f"00-{ID}-00f067aa0ba902b7-00".encode(),
        f"00-{ID}-00f067aa0ba902b7-ff".encode(),
        # A later version: what version 00 knows of it counts, whatever follows.
        f"01-{ID}-00f067aa0ba902b7-01".encode(),
        f"cc-{ID}-00f067aa0ba902b7-01-what-the-future-brings".encode(),
    ],
)
def test_valid(value: bytes) -> None:
    assert given_trace_id(Headers([(b"Traceparent", value)])) == ID


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        GIVEN + b"-more",  # version 00 has nothing more
        GIVEN + b"x",
        GIVEN.upper(),
        f"ff-{ID}-00f067aa0ba902b7-01".encode(),
        f"00-{'0' * 32}-00f067aa0ba902b7-01".encode(),
        f"00-{ID}-{'0' * 16}-01".encode(),
        f"00-{ID[:-1]}-00f067aa0ba902b7-01".encode(),
        f"00-{ID}-00f067aa0ba902b7-1".encode(),
        f"0-{ID}-00f067aa0ba902b7-01".encode(),
        f"01-{ID}-00f067aa0ba902b7-01.x".encode(),
        b" " + GIVEN,
        b'00-"\\n\x1b[31m' + b"a" * 40,
    ],
)
def test_invalid(value: bytes) -> None:
    assert given_trace_id(Headers([(b"traceparent", value)])) is None


def test_two_are_none() -> None:
    assert given_trace_id(Headers([(b"traceparent", GIVEN)] * 2)) is None


def sent(trace: TraceContext | None, *fields: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Return what of the trace the controller gets."""
    request = RequestHead(b"GET", b"/", b"1.1", Headers([(b"Host", b"ci"), *fields]))
    headers = request_headers(request, FROM, request_id="x", agent_fields=False, trace=trace)
    return [each for each in headers if each[0].lower().startswith(b"trace")]


@pytest.mark.parametrize("trusted", [True, False])
def test_a_valid_one_travels_on_untouched(*, trusted: bool) -> None:
    fields = ((b"TraceParent", GIVEN), STATE)
    trace = trace_of(Headers(fields), config(), trusted=trusted)
    assert trace.trace_id == ID
    assert sent(trace, *fields) == [*fields]


def test_strangers_can_be_left_out() -> None:
    fields = ((b"traceparent", GIVEN), STATE)
    only = config(accept="trusted_proxies")
    assert trace_of(Headers(fields), only, trusted=True).trace_id == ID
    trace = trace_of(Headers(fields), only, trusted=False)
    assert trace.trace_id != ID
    assert sent(trace, *fields) == []


@pytest.mark.parametrize(
    "fields", [(), ((b"traceparent", b"nonsense"), STATE), (STATE,), ((b"traceparent", GIVEN),) * 2]
)
def test_a_new_trace(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    trace = trace_of(Headers(fields), config(), trusted=True)
    assert re.fullmatch("[0-9a-f]{32}", trace.trace_id)
    assert trace.trace_id != trace_of(Headers(fields), config(), trusted=True).trace_id
    assert sent(trace, *fields) == []  # half of a trace context is worse than none


@pytest.mark.parametrize("fields", [(), ((b"traceparent", b"nonsense"), STATE)])
def test_a_new_trace_that_is_sent(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    trace = trace_of(Headers(fields), config(start="send"), trusted=False)
    ((name, value),) = sent(trace, *fields)
    assert name == b"traceparent"
    assert value.endswith(b"-01")
    assert given_trace_id(Headers([(name, value)])) == trace.trace_id
    # One that is valid still goes on as it came.
    assert trace_of(Headers([(b"traceparent", GIVEN)]), config(start="send"), trusted=False).passes


def test_without_an_opinion_all_pass() -> None:
    assert sent(None, (b"traceparent", b"x"), STATE) == [(b"traceparent", b"x"), STATE]
