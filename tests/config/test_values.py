"""Every spelling of every value, and the way back."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from gateway.config.values import (
    Address,
    ControllerUrl,
    Duration,
    FileContext,
    Network,
    Secret,
    Size,
    format_duration,
    parse_duration,
    parse_host,
    parse_network,
    parse_prefix,
    parse_size,
)


class _Everything(BaseModel):
    duration: Duration = 1.0
    size: Size = 1
    address: Address = Address("h", 1)
    url: ControllerUrl = ControllerUrl("http", "h", 80, "")
    network: Network = ipaddress.ip_network("10.0.0.0/8")
    secret: Secret = Secret("made-up")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20s", 20),
        ("500ms", 0.5),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("0.3s", 0.3),
        ("3ms", 0.003),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "20", "s", "-1s", "1 s", "1S", "1m30s", ".5s", "\u0663s", "1e3s", "20s\n"]
)
def test_not_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"^allowed: a number and a unit"):
        parse_duration(text)


@given(st.floats(min_value=0, max_value=1e9, allow_nan=False))
def test_durations_come_back_exactly(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_durations_are_written_as_people_do() -> None:
    assert format_duration(20.0) == "20s"
    assert format_duration(0.5) == "0.5s"


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("512B", 512), ("64KiB", 65536), ("1MiB", 1 << 20), ("2GiB", 2 << 30)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "64", "64K", "64kib", "1.5MiB", "-1B", "1 MiB", "64KB"])
def test_not_sizes(text: str) -> None:
    with pytest.raises(ValueError, match=r"^allowed: a whole number and a unit"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:8443", "0.0.0.0", 8443),
        ("Jenkins.LAN:50000", "jenkins.lan", 50000),
        ("jenkins_controller:1", "jenkins_controller", 1),
        ("[::]:8443", "::", 8443),
        ("[FD00::1]:65535", "fd00::1", 65535),
        ("127.0.0.1:0", "127.0.0.1", 0),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8443",
        ":8443",
        "host",
        "host:",
        "host:65536",
        "host:-1",
        "host:\u0661",
        "::1:8443",
        "[]:1",
        "[host]:1",
        "[fe80::1%eth0]:1",
        "ho st:1",
        "host:1 ",
        "host:1\n",
        "-host:1",
        "300.1.1.1:1",
        "münchen:1",
        "user@host:1",
        "http://host:1",
        "a..b:1",
    ],
)
def test_not_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"^allowed: "):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.example.com:1", False),
    ],
)
def test_loopback(text: str, is_loopback: bool) -> None:
    assert Address.parse(text).is_loopback is is_loopback


@pytest.mark.parametrize(
    ("text", "authority", "port", "prefix", "again"),
    [
        ("http://jenkins.lan:8080", "jenkins.lan:8080", 8080, "", "http://jenkins.lan:8080/"),
        ("http://jenkins.lan:8080/", "jenkins.lan:8080", 8080, "", "http://jenkins.lan:8080/"),
        ("HTTPS://CI.example.com/Jenkins/", "ci.example.com", 443, "/Jenkins", None),
        ("https://ci:443/a/b", "ci", 443, "/a/b", "https://ci/a/b/"),
        ("http://ci:443", "ci:443", 443, "", "http://ci:443/"),
        ("http://[::1]", "[::1]", 80, "", "http://[::1]/"),
        ("http://[::1]:8080/x", "[::1]:8080", 8080, "/x", "http://[::1]:8080/x/"),
    ],
)
def test_urls(text: str, authority: str, port: int, prefix: str, again: str | None) -> None:
    url = ControllerUrl.parse(text)
    assert (url.authority, url.port, url.prefix) == (authority, port, prefix)
    assert url.address == Address(url.host, port)
    assert again is None or str(url) == again
    assert ControllerUrl.parse(str(url)) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jenkins.lan:8080",
        "//jenkins.lan",
        "ftp://jenkins.lan",
        "http://",
        "http://:80",
        "http://h:0",
        "http://h:x",
        "http://h:99999",
        "http://u:p@h",
        "http://h/?q",
        "http://h/#f",
        "http://h/?",
        "http://h/a b",
        "http://h/\tx",
        "http://h/a//b",
        "http://h/a/../b",
        "http://h/./b",
        "http://h/%41",
        "http://h/a;b",
        "http://[::1",
        "http://ü/",
    ],
)
def test_not_urls(text: str) -> None:
    with pytest.raises(ValueError, match=r"^allowed: "):
        ControllerUrl.parse(text)


@pytest.mark.parametrize(
    ("text", "prefix"), [("", ""), ("/", ""), ("/jenkins", "/jenkins"), ("/a/b/", "/a/b")]
)
def test_prefixes(text: str, prefix: str) -> None:
    assert parse_prefix(text) == prefix


@pytest.mark.parametrize("text", ["jenkins", "//", "/a//", "/..", "/a/./b", "/a?b", "/é", "/a\n"])
def test_not_prefixes(text: str) -> None:
    with pytest.raises(ValueError, match=r"^allowed: "):
        parse_prefix(text)


def test_hosts_are_bounded() -> None:
    assert parse_host("a" * 63) == "a" * 63
    assert parse_host(".".join(["a" * 50] * 4))
    for host in ("a" * 64, ".".join(["a" * 50] * 5), "a.", ".a", "1", "1.2.3"):
        with pytest.raises(ValueError, match="allowed"):
            parse_host(host)


def test_networks() -> None:
    assert parse_network("10.0.0.0/8") == ipaddress.ip_network("10.0.0.0/8")
    assert parse_network("fd00::1") == ipaddress.ip_network("fd00::1/128")
    with pytest.raises(ValueError, match=r'you may mean "10\.0\.0\.0/8"'):
        parse_network("10.0.0.1/8")
    for wrong in ("", "10.0.0.0/33", "ten", 5, None):
        with pytest.raises(ValueError, match="allowed: a network"):
            parse_network(wrong)


def test_everything_survives_json() -> None:
    made = _Everything.model_validate(
        {
            "duration": "300ms",
            "size": "64KiB",
            "address": "[::1]:5",
            "url": "https://ci/jenkins",
            "network": "fd00::/8",
            "secret": "made-up-2",
        }
    )
    snapshot = made.model_dump(mode="json")
    again = _Everything.model_validate(json.loads(json.dumps(snapshot)))
    assert again == made
    assert again.secret.reveal() == "made-up-2"
    assert _Everything.model_validate_json(made.model_dump_json()) == made


def test_numbers_without_a_unit_are_for_code_only() -> None:
    assert _Everything(duration=0.05).duration == 0.05
    for wrong in ({"duration": 20}, {"size": 20}):
        with pytest.raises(ValidationError, match="and a unit"):
            _Everything.model_validate(wrong, context=FileContext(Path()))


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("inf"), float("nan")])
def test_durations_are_positive_and_finite(wrong: float) -> None:
    with pytest.raises(ValidationError):
        _Everything(duration=wrong)


@pytest.mark.parametrize("wrong", [None, True, 1.5, [], {}])
def test_text_values_come_from_text(wrong: object) -> None:
    with pytest.raises(ValidationError, match="allowed: text"):
        _Everything.model_validate({"address": wrong})


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("made-up-hunter2")
    model = _Everything(secret=secret)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>20}",
        "%s" % secret,  # noqa: UP031
        repr(model),
        str(model),
        repr(model.model_dump()),
        repr({"a": [secret]}),
    ]
    assert not [text for text in shown if "hunter2" in text]
    assert repr(secret) == "***"
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_secrets_compare_by_their_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("é")}) == 2
