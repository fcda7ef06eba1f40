"""Rules across the keys of the way to a controller, with what an operator is told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.config.checks import check
from gateway.config.document import format_location
from gateway.config.models import GatewayConfig
from tests.config.certificates import NOW, certificate_pem, ec_key, private_pem


def told(url: str | None = "https://jenkins.lan/", **controller: Any) -> tuple[list[str], ...]:
    """Return errors and warnings about a controller, without those of its agents."""
    data = {
        "listeners": [{"address": "127.0.0.1:8080"}],
        "controllers": {"main": {"url": url, **controller}},
    }
    findings = check(GatewayConfig.model_validate(data), now=NOW)
    return tuple(
        [
            f"{format_location(problem.location)}: {problem.text}".removeprefix("controllers.main.")
            for problem in problems
            if problem.location[2:3] != ("agents",)
        ]
        for problems in (findings.errors, findings.warnings)
    )


def write_pair(folder: Path, **certificate: Any) -> dict[str, str]:
    (folder / "tls.crt").write_bytes(certificate_pem(ec_key(), **certificate))
    (folder / "tls.key").write_bytes(private_pem(ec_key()))
    return {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}


def test_everything_right_has_nothing_to_say(tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    tls = {"ca_file": pair["certificate"], "verify_name": False, "client_certificate": pair}
    agents = {"address": "jenkins.lan:50000"}
    assert told(tls=tls, addresses=["a:1", "b:1"], agents=agents) == ([], [])


@pytest.mark.parametrize(
    "more",
    [{"addresses": ["a:1"]}, {"tls": {}}, {"health_check": {}}, {"connections": {}}],
)
def test_without_url_they_mean_nothing(more: dict[str, Any]) -> None:
    (error,), _ = told(None, **more)
    assert error == f"{next(iter(more))}: allowed: only for a controller with url"


def test_tls_without_https() -> None:
    (error,), _ = told("http://jenkins.lan/", tls={})
    assert error.startswith("tls: allowed: only with an https url")


def test_addresses_are_different_and_have_ports() -> None:
    errors, _ = told(addresses=["a:1", "a:1", "b:0"])
    assert [error.partition(";")[0] for error in errors] == [
        'addresses[1]: found "a:1" a second time',
        'addresses[2]: found "b:0"',
    ]


def test_several_addresses_say_nothing_about_the_agent_port() -> None:
    errors, (warning,) = told(addresses=["a:1", "b:1"])
    assert errors == []
    assert 'else to "jenkins.lan"' in warning


def test_no_name_check_needs_a_ca_file() -> None:
    (error,), _ = told(tls={"verify_name": False})
    assert error.startswith("tls.verify_name: found false; allowed: only together with ca_file")


@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_a_ca_file_that_is_none(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    (error,), _ = told(tls={"ca_file": str(path)})
    assert error.startswith(f'tls.ca_file: found "{path}"; allowed: a ')


def test_a_client_certificate_and_key_that_cannot_be_read() -> None:
    errors, _ = told(tls={"client_certificate": {"certificate": "/none.crt", "key": "/none.key"}})
    assert [error.partition(": ")[0] for error in errors] == [
        "tls.client_certificate.certificate",
        "tls.client_certificate.key",
    ]


def test_an_expired_client_certificate_is_a_warning(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, end=NOW - timedelta(hours=1))
    errors, (warning,) = told(tls={"client_certificate": pair})
    assert errors == []
    assert "the controller will refuse it" in warning


@pytest.mark.parametrize(
    ("url", "addresses", "warned"),
    [
        ("http://10.0.0.1/", [], True),
        ("http://jenkins.lan/", ["10.0.0.1:1"], True),
        ("http://jenkins.lan/", [], False),
        ("http://jenkins.lan/", ["other:1"], False),
        ("http://jenkins.lan/", ["10.0.0.1:1", "10.0.0.2:1"], False),
    ],
)
def test_health_checks_that_can_change_nothing(
    url: str, addresses: list[str], *, warned: bool
) -> None:
    agents = {"address": "10.0.0.1:50000"}
    found, warnings = told(url, addresses=addresses, health_check={}, agents=agents)
    assert not found
    assert [text.startswith("health_check: there is one address only") for text in warnings] == (
        [True] if warned else []
    )
    assert told(url, addresses=addresses, agents=agents) == ([], [])
