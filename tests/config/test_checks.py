"""Rules across keys: one test for each, with what an operator is told."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.config.checks import Findings, check, suggest
from gateway.config.document import format_location
from gateway.config.models import GatewayConfig
from tests.config.certificates import NOW, certificate_pem, ec_key, private_pem, rsa_key, spki

_IDENTITY = base64.b64encode(spki(rsa_key().public_key())).decode()


def _check(**more: Any) -> Findings:
    data = {
        "listeners": [{"address": "127.0.0.1:8080"}],
        "controllers": {"main": {"url": "https://jenkins.lan/"}},
        **more,
    }
    return check(GatewayConfig.model_validate(data), now=NOW)


def _texts(findings: Findings) -> tuple[list[str], list[str]]:
    errors, warnings = (
        [f"{format_location(problem.location)}: {problem.text}" for problem in problems]
        for problems in (findings.errors, findings.warnings)
    )
    return errors, warnings


def _one_error(text: str, **more: Any) -> None:
    errors, _ = _texts(_check(**more))
    assert len(errors) == 1
    assert text in errors[0]


def _write_pair(folder: Path, **certificate: Any) -> dict[str, str]:
    (folder / "tls.crt").write_bytes(certificate_pem(ec_key(), **certificate))
    (folder / "tls.key").write_bytes(private_pem(ec_key()))
    return {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}


def test_a_plain_configuration_has_nothing_to_say() -> None:
    assert _check() == Findings()


def test_a_good_certificate_has_nothing_to_say(tmp_path: Path) -> None:
    listener = {"address": "0.0.0.0:8443", "tls": {"certificates": [_write_pair(tmp_path)]}}
    assert _check(listeners=[listener]) == Findings()


def test_dates_are_a_warning(tmp_path: Path) -> None:
    pair = _write_pair(tmp_path, end=NOW - timedelta(hours=1))
    findings = _check(listeners=[{"address": "h:1", "tls": {"certificates": [pair]}}])
    errors, (warning,) = _texts(findings)
    assert errors == []
    assert warning.startswith(
        "listeners[0].tls.certificates[0].certificate: the certificate expired"
    )


def test_certificate_and_key_are_both_reported() -> None:
    pair = {"certificate": "/none.crt", "key": "/none.key"}
    errors, _ = _texts(_check(listeners=[{"address": "h:1", "tls": {"certificates": [pair]}}]))
    assert [error.partition(": ")[0] for error in errors] == [
        "listeners[0].tls.certificates[0].certificate",
        "listeners[0].tls.certificates[0].key",
    ]
    assert 'found "/none.crt"; allowed: a file that can be read' in errors[0]


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    pair = _write_pair(tmp_path)
    (tmp_path / "tls.key").write_bytes(private_pem(ec_key(1)))
    _one_error(
        "certificates[0].key: found",
        listeners=[{"address": "h:1", "tls": {"certificates": [pair]}}],
    )


def test_an_address_twice() -> None:
    _one_error(
        'listeners[1].address: found "127.0.0.1:1" a second time',
        listeners=[{"address": "127.0.0.1:1"}, {"address": "127.0.0.1:1"}],
    )
    assert not _check(listeners=[{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0"}]).errors


def test_plain_agents_with_tls(tmp_path: Path) -> None:
    tls = {"certificates": [_write_pair(tmp_path)]}
    _one_error(
        "listeners[0].plain_agents: found true; allowed: only on a listener without tls",
        listeners=[{"address": "h:1", "tls": tls, "plain_agents": True}],
    )


@pytest.mark.parametrize(
    ("address", "plain_agents", "proxies", "warning"),
    [
        ("127.0.0.1:1", False, [], None),
        ("127.0.0.1:1", True, [], None),
        ("0.0.0.0:1", False, ["10.0.0.0/8"], None),
        ("0.0.0.0:1", False, [], "agents are refused here"),
        ("0.0.0.0:1", True, [], "without encryption"),
        ("0.0.0.0:1", True, ["10.0.0.0/8"], "without encryption"),
    ],
)
def test_plain_listeners(
    address: str, *, plain_agents: bool, proxies: list[str], warning: str | None
) -> None:
    listener = {"address": address, "plain_agents": plain_agents}
    errors, warnings = _texts(_check(listeners=[listener], trusted_proxies=proxies))
    assert errors == []
    assert len(warnings) == (warning is not None)
    assert warning is None or warning in warnings[0]


def test_plaintext_must_be_allowed() -> None:
    agents = {"protocol": "JNLP4-plaintext"}
    _one_error(
        'controllers.main.agents.protocol: found "JNLP4-plaintext"',
        controllers={"main": {"url": "http://h", "agents": agents}},
    )
    agents = {"protocol": "JNLP4-plaintext", "allow_plaintext": True}  # type: ignore[dict-item]
    assert _check(controllers={"main": {"url": "https://h", "agents": agents}}) == Findings()


def test_port_zero_is_no_agent_port() -> None:
    _one_error(
        "controllers.main.agents.address",
        controllers={"main": {"url": "http://h", "agents": {"address": "h:0"}}},
    )


def test_without_url_address_and_identity_are_needed() -> None:
    errors, _ = _texts(_check(controllers={"main": {}}))
    assert len(errors) == 2
    assert errors[0].startswith("controllers.main.agents.address: found nothing")
    assert errors[1].startswith('controllers.main.agents.identity: found "discover"')
    agents = {"address": "h:50000", "identity": _IDENTITY}
    assert _check(controllers={"main": {"agents": agents}}) == Findings()


def test_routes_need_known_controllers() -> None:
    _one_error(
        'routes[0].controller: found "mian"; allowed: "main". Did you mean "main"?',
        routes=[{"id": "a", "controller": "mian"}],
    )


def test_several_controllers_need_routes() -> None:
    two = {"a": {"url": "https://a"}, "b": {"url": "https://b"}}
    _one_error("routes: found nothing", controllers=two)
    errors, (warning,) = _texts(_check(controllers=two, routes=[{"id": "a", "controller": "a"}]))
    assert errors == []
    assert warning == "controllers.b: no route leads to this controller"


def test_an_empty_list_of_routes_is_no_default() -> None:
    _one_error("routes: found nothing", routes=[])


def test_route_ids_and_targets_are_unique() -> None:
    route = {"id": "a", "controller": "main"}
    _one_error('routes[1].id: found "a" a second time', routes=[route, {**route, "host": "h"}])
    # The default path and the same path spelled out are the same.
    _one_error(
        'routes[1]: found host "*" with path "/" a second time',
        routes=[route, {**route, "id": "b", "path": "/"}],
    )


@pytest.mark.parametrize(
    ("url", "path", "is_allowed"),
    [
        ("http://h/", "/", True),
        ("http://h/", "/jenkins", False),
        ("http://h/jenkins", "/jenkins/", True),
        ("http://h/jenkins", "/", True),
        ("http://h/a/b", "/a", True),
        ("http://h/a/b", "/a/b", True),
        ("http://h/a/b", "/a/b/c", False),
        ("http://h/jenkins", "/jenkins2", False),
        ("http://h/jenkins2", "/jenkins", False),
    ],
)
def test_a_route_begins_at_the_prefix_or_above(url: str, path: str, *, is_allowed: bool) -> None:
    errors, _ = _texts(
        _check(
            controllers={"main": {"url": url}},
            routes=[{"id": "a", "controller": "main", "path": path}],
        )
    )
    assert (errors == []) is is_allowed
    assert is_allowed or errors[0].startswith(f'routes[0].path: found "{path}"; allowed: "')


def test_allowed_paths_are_listed() -> None:
    _one_error(
        'found "/x"; allowed: "/a/b", "/a", "/". Paths are not rewritten',
        controllers={"main": {"url": "http://h/a/b"}},
        routes=[{"id": "a", "controller": "main", "path": "/x"}],
    )


@pytest.mark.parametrize(
    ("dead_after", "is_allowed"), [("40s", True), ("39.9s", False), ("60s", True)]
)
@pytest.mark.parametrize("key", ["dead_after", "controller_dead_after"])
def test_a_session_is_suspect_before_it_is_dead(
    key: str, dead_after: str, *, is_allowed: bool
) -> None:
    agents = {"keepalive": {key: dead_after}}
    if is_allowed:
        assert _check(agents=agents) == Findings()
        return
    _one_error(
        f'agents.keepalive.{key}: found "{dead_after}"; allowed: at least 40s', agents=agents
    )


def test_suggestions() -> None:
    assert suggest("adress", ["url", "address"]) == ' Did you mean "address"?'
    assert suggest("zzz", ["url", "address"]) == ""


def test_one_address_that_may_take_all_connections() -> None:
    _, (warning,) = _texts(_check(limits={"connections": 1000}))
    assert warning.startswith("limits.connections_per_address: it is 2048 and more than")
    limits = {"connections": 1000, "connections_per_address": 1000}
    assert _check(limits=limits) == Findings()


def test_sessions_end_before_they_are_cut() -> None:
    _one_error(
        'shutdown.drain_spread: found "60s"; allowed: less than 60s = drain_timeout',
        shutdown={"drain_spread": "60s", "drain_timeout": "60s"},
    )
