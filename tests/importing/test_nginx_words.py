"""Arguments: times, sizes, addresses, targets."""

from __future__ import annotations

import pytest

from gateway.importing.nginx_words import (
    Listen,
    Redirect,
    Target,
    fill_in,
    join_address,
    parse_listen,
    parse_network,
    parse_redirect,
    parse_size,
    parse_target,
    parse_time,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("500ms", 0.5), ("1h 30m", 5400), ("1h30m", 5400), ("1d", 86400),
        ("2w", 1209600), ("", None), ("soon", None), ("1x", None),
    ],
)  # fmt: skip
def test_times(text: str, seconds: float | None) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("10", 10), ("8k", 8192), ("1M", 1048576), ("2g", 2**31), ("a", None)],
)
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("args", "host", "port"),
    [
        ("80", "0.0.0.0", 80),
        ("*:8080", "0.0.0.0", 8080),
        ("10.0.0.1", "10.0.0.1", 80),
        ("localhost:8000", "localhost", 8000),
        ("[::]:443", "::", 443),
        ("[::1]", "::1", 80),
        ("unix:/run/x.sock", None, 0),
    ],
)
def test_listen(args: str, host: str | None, port: int) -> None:
    assert parse_listen((args,)) == Listen(host, port, False, False, False)


def test_listen_with_flags() -> None:
    found = parse_listen(("443", "ssl", "http2", "default_server", "proxy_protocol"))
    assert found == Listen("0.0.0.0", 443, True, True, True)
    assert parse_listen(("0",)) is None
    assert parse_listen(("99999",)) is None
    assert parse_listen(("$port",)) is None
    assert join_address("::", 443) == "[::]:443"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("http://jenkins", Target("http", "jenkins", None)),
        ("http://10.0.0.1:8080/", Target("http", "10.0.0.1:8080", "/")),
        ("https://[::1]:8443/ci/", Target("https", "[::1]:8443", "/ci/")),
        ("http://$host", None),
        ("http://unix:/run/x.sock", None),
        ("http://user@host", None),
        ("http://host:port", None),
        ("fastcgi://host", None),
    ],
)
def test_targets(text: str, target: Target | None) -> None:
    assert parse_target(text) == target


def test_variables_that_are_known() -> None:
    assert fill_in("http://$a:${b}$c", {"a": "x", "b": "1"}) == "http://x:1$c"


@pytest.mark.parametrize(
    ("url", "redirect"),
    [
        ("https://$host$request_uri", Redirect(None, 443)),
        ("https://${server_name}:8443$request_uri", Redirect(None, 8443)),
        ("https://CI.example.com/$1", Redirect("ci.example.com", 443)),
        ("http://$host", None),
        ("/login", None),
    ],
)
def test_redirects(url: str, redirect: Redirect | None) -> None:
    assert parse_redirect(url) == redirect


def test_networks_lose_their_host_bits() -> None:
    assert parse_network("192.168.1.17/24") == "192.168.1.0/24"
    assert parse_network("::1") == "::1/128"
    assert parse_network("unix:") is None
