"""Lines of the access log: what is in them, and what never is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.config.logs import AccessLogConfig, LogConfig
from gateway.observability.access_log import (
    AccessLog,
    AccessRecord,
    combined_line,
    console_line,
    json_line,
)
from gateway.observability.log_fields import ACCESS_FIELDS, FIELDS
from gateway.observability.logs import apply, sink_of

NOW = datetime(2026, 6, 1, 12, 30, 15, 123456, tzinfo=UTC).timestamp()
RECORD = AccessRecord(
    request_id="k3vq-9x2m",
    client="198.51.100.9",
    peer="10.0.0.1",
    scheme="https",
    status=200,
    duration=0.0123456,
    method=b"GET",
    target=b"/job/a%2Fb/?token=hunter2&x=1",
    version=b"1.1",
    host=b"ci.example.com",
    user_agent=b"curl/8",
    referrer=b"https://user:hunter2@ci/x?code=hunter2",
    received=5,
    sent=1234,
    route="main",
    controller="ci",
    upstream=0.01,
    tls_version="TLSv1.3",
    tls_subject="CN=agent 7",
)


def as_json(record: AccessRecord) -> dict[str, Any]:
    line = json_line(record, NOW)
    assert line.isascii()
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_json() -> None:
    assert as_json(RECORD) == {
        "time": "2026-06-01T12:30:15.123Z",
        "channel": "access",
        "gateway.request.id": "k3vq-9x2m",
        "client.address": "198.51.100.9",
        "network.peer.address": "10.0.0.1",
        "http.request.method": "GET",
        "url.scheme": "https",
        "server.address": "ci.example.com",
        "url.path": "/job/a%2Fb/",
        "url.query": "token=***&x=1",
        "http.response.status_code": 200,
        "http.server.request.duration": 0.012346,
        "http.request.body.size": 5,
        "http.response.body.size": 1234,
        "gateway.route.id": "main",
        "jenkins.controller.name": "ci",
        "gateway.controller.duration": 0.01,
        "user_agent.original": "curl/8",
        "network.protocol.version": "1.1",
        "tls.protocol.version": "TLSv1.3",
        "tls.client.subject": "CN=agent 7",
    }


def test_combined() -> None:
    assert combined_line(RECORD, NOW) == (
        '198.51.100.9 - - [01/Jun/2026:12:30:15 +0000] "GET /job/a%2Fb/?token=***&x=1 HTTP/1.1"'
        ' 200 1234 "https://***@ci/x?code=***" "curl/8"'
    )


def test_what_is_not_known_is_left_out() -> None:
    bare = AccessRecord("k3vq-9x2m", "192.0.2.7", "192.0.2.7", "http", 400, 0.0, error="X")
    assert as_json(bare).keys() == {
        "time",
        "channel",
        "gateway.request.id",
        "client.address",
        "network.peer.address",
        "url.scheme",
        "http.response.status_code",
        "http.server.request.duration",
        "http.request.body.size",
        "http.response.body.size",
        "error.type",
    }
    assert combined_line(bare, NOW).endswith('"-" 400 0 "-" "-"')
    assert ' "-" 000 0 ' in combined_line(replace(bare, status=None), NOW)


def test_a_resource_url_is_a_secret() -> None:
    record = replace(RECORD, target=b"/static-files/SIGNED/index.html", referrer=None)
    assert as_json(record)["url.path"] == "/static-files/***/index.html"
    assert "SIGNED" not in combined_line(record, NOW)
    referred = replace(RECORD, referrer=b"https://ci/static%2Dfiles/SIGNED/a;jsessionid=SIGNED")
    assert "SIGNED" not in combined_line(referred, NOW)


def test_no_secret_is_in_any_line() -> None:
    for line in (json_line(RECORD, NOW), combined_line(RECORD, NOW)):
        assert "hunter2" not in line


@pytest.mark.parametrize("evil", [b'" 200 1 "x', b"\x1b[2J", b"a\\", b"\xff\xfe", b"a\r\nb", b"\t"])
def test_nobody_can_forge_a_line_or_drive_a_terminal(evil: bytes) -> None:
    record = replace(RECORD, user_agent=evil, referrer=evil)
    assert as_json(record)["user_agent.original"] == evil.decode("latin-1")
    line = combined_line(record, NOW)
    assert line.isascii()
    assert line.isprintable()
    assert line.count('"') == 6


@pytest.mark.parametrize(
    ("host", "shown"),
    [(b"ci:8443", "ci"), (b"[::1]:8443", "[::1]"), (b"[::1]", "[::1]"), (b"ci", "ci")],
)
def test_the_host_is_shown_without_its_port(host: bytes, shown: str) -> None:
    assert as_json(replace(RECORD, host=host))["server.address"] == shown


def test_long_values_are_cut() -> None:
    long = b"a" * 20_000
    record = replace(RECORD, target=b"/" + long + b"?" + long, user_agent=long, referrer=long)
    assert len(json_line(record, NOW)) < 5000
    assert len(combined_line(record, NOW)) < 5000


@pytest.mark.parametrize(("kind", "begin"), [("json", "{"), ("combined", "198."), ("off", "")])
def test_lines_are_written_whole(kind: Any, begin: str) -> None:
    lines: list[str] = []
    log = AccessLog(kind, write=lines.append, now=lambda: NOW)
    log.write(RECORD)
    if kind == "off":
        assert lines == []
        return
    (line,) = lines
    assert line.startswith(begin)
    assert line.endswith("\n")


def test_they_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    apply(LogConfig(access=AccessLogConfig(format="combined")))
    AccessLog(sink_of("access")).write(RECORD)
    out, err = capsys.readouterr()
    assert out.endswith('"curl/8"\n')
    assert err == ""


def test_without_standard_output_they_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    apply(LogConfig())
    AccessLog(sink_of("access")).write(RECORD)


def test_for_people() -> None:
    evil = "\u202e\x1b[2J".encode()
    line = console_line(replace(RECORD, target=b"/" + evil, error="ClientGone"), NOW)
    assert line.isascii()
    assert line.isprintable()
    assert line.startswith("2026-06-01T12:30:15.123Z [access  ] 200    12.3 ms     1234 B")
    assert line.endswith(" to ci from 198.51.100.9 [k3vq-9x2m] ClientGone")
    bare = AccessRecord("k3vq-9x2m", "192.0.2.7", "192.0.2.7", "http", None, 0.0)
    assert ' ---     0.0 ms        0 B "-" from 192.0.2.7' in console_line(bare, NOW)


def test_every_field_of_a_full_record_is_documented_and_the_reverse() -> None:
    line = as_json(replace(RECORD, error="ClientGone", trace_id="4bf92f3577b34da6a3ce929d0e0e4736"))
    documented = {
        each.name
        for each in (*FIELDS, *ACCESS_FIELDS)
        if each.channels == "all" or "access" in each.channels
    }
    assert line.keys() == documented
