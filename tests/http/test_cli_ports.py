"""The headers by which the CLI finds other ports (PROTOCOLS E.4)."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.cli import CliConfig
from gateway.http.cli_ports import advertised_fields
from gateway.protocol.http_headers import Field

SSH: Field = (b"X-SSH-Endpoint", b"inner:22")
PORTS: list[Field] = [
    (b"X-Hudson-CLI-Port", b"1"),
    (b"X-Jenkins-CLI-Port", b"1"),
    (b"x-jenkins-cli2-port", b"1"),
]
HOST: Field = (b"X-Jenkins-CLI-Host", b"inner")
PAGE: list[Field] = [(b"X-Jenkins", b"2"), SSH, *PORTS, HOST]


def fields(given: list[Field], **config: Any) -> list[Field]:
    return advertised_fields(given, CliConfig.model_validate(config))


def test_by_default_everything_passes() -> None:
    assert fields(PAGE) is PAGE


@pytest.mark.parametrize("setting", ["drop", {"host": "ssh.example.com", "port": 22}])
def test_nothing_is_made_up(setting: Any) -> None:
    page: list[Field] = [(b"X-Jenkins", b"2")]
    assert fields(page, ssh_endpoint=setting, tcp_ports=setting) == page


def test_drop() -> None:
    assert fields(PAGE, ssh_endpoint="drop") == [each for each in PAGE if each is not SSH]
    assert fields(PAGE, tcp_ports="drop") == [PAGE[0], SSH]


def test_rewrite() -> None:
    there = {"host": "gw.example.com", "port": 2222}
    assert fields(PAGE, ssh_endpoint=there)[1] == (b"X-SSH-Endpoint", b"gw.example.com:2222")
    rewritten = fields(PAGE, tcp_ports=there)
    assert rewritten == [
        PAGE[0],
        SSH,
        *((name, b"2222") for name, _ in PORTS),
        (b"X-Jenkins-CLI-Host", b"gw.example.com"),
    ]


def test_a_host_alone_is_left() -> None:
    assert fields([HOST], tcp_ports={"host": "gw", "port": 1}) == [HOST]
