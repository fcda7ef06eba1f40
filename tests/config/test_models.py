"""Defaults, rules of single keys, and the way a configuration takes to a worker."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gateway.config import models
from gateway.config.keys import PublicKey
from gateway.config.models import (
    AgentsConfig,
    ControllerAgentsConfig,
    ControllerConfig,
    GatewayConfig,
    KeepaliveConfig,
    ListenerConfig,
    RouteConfig,
    TcpDiscoveryRewrite,
    default_state_dir,
)
from gateway.config.values import Address, ControllerUrl, FileContext
from tests.config.certificates import public_pem, rsa_key, spki

_MINIMAL: dict[str, Any] = {
    "listeners": [{"address": "127.0.0.1:8080"}],
    "controllers": {"main": {"url": "http://jenkins.lan:8080/"}},
}


def _make(**more: Any) -> GatewayConfig:
    return GatewayConfig.model_validate({**_MINIMAL, **more})


def test_defaults() -> None:
    config = _make(state_dir="/s")
    assert config.listeners == (ListenerConfig(address=Address("127.0.0.1", 8080)),)
    assert config.listeners[0].tls is None
    assert config.listeners[0].plain_agents is False
    assert config.trusted_proxies == ()
    assert config.routes == (RouteConfig(id="main", host="*", path=None, controller="main"),)
    controller = config.controllers["main"]
    assert controller.url == ControllerUrl("http", "jenkins.lan", 8080, "")
    assert controller.tcp_discovery == "pass"
    agents = controller.agents
    assert (agents.transport, agents.protocol, agents.address, agents.identity) == (
        "auto",
        "JNLP4-connect",
        None,
        "discover",
    )
    assert agents.allow_plaintext is False
    assert agents.chunks_per_message == "many"
    keepalive = config.agents.keepalive
    assert (keepalive.interval, keepalive.suspect_after, keepalive.dead_after) == (20, 20, 60)
    assert keepalive.controller_dead_after == 300
    assert config.agents.handshake_timeout == 25
    assert config.agents.handshake_rate == 50
    assert config.routes[0].websockets is True
    assert controller.connections.websockets == 1024


def test_several_controllers_get_no_routes_by_default() -> None:
    assert _make(controllers={"a": {}, "b": {}}).routes == ()


def test_everything_reaches_a_worker_as_json(tmp_path: Path) -> None:
    identity = base64.b64encode(spki(rsa_key().public_key())).decode()
    config = _make(
        state_dir="/s",
        listeners=[
            {
                "address": "[::]:8443",
                "tls": {"certificates": [{"certificate": "/a.crt", "key": "/a.key"}]},
            },
            {"address": "0.0.0.0:8080", "plain_agents": True},
        ],
        trusted_proxies=["10.0.0.0/8", "fd00::/8"],
        controllers={
            "main": {
                "url": "https://ci/jenkins/",
                "tcp_discovery": {"host": "Edge.example.com", "port": 50000},
                "agents": {"address": "ci:50000", "identity": identity},
            },
            "old": {"tcp_discovery": "hide", "agents": {"identity": "discover"}},
        },
        routes=[{"id": "r", "host": "CI.example.com", "path": "/", "controller": "main"}],
        agents={"keepalive": {"interval": "500ms"}, "handshake_timeout": "10.25s"},
    )
    snapshot = json.loads(json.dumps(config.model_dump(mode="json")))
    assert GatewayConfig.model_validate(snapshot) == config
    assert config.routes[0].host == "ci.example.com"
    assert config.controllers["main"].tcp_discovery == TcpDiscoveryRewrite(
        host="edge.example.com", port=50000
    )
    assert isinstance(config.controllers["main"].agents.identity, PublicKey)


def test_nothing_can_be_changed() -> None:
    config = _make()
    for model, key in ((config, "routes"), (config.agents, "handshake_timeout")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, key, None)


@pytest.mark.parametrize(
    ("prefix", "path", "expected_prefix", "expected_path"),
    [
        ("/jenkins", None, "/jenkins", "/jenkins"),
        ("/jenkins", "/", "/jenkins", ""),
        ("", "/", "", ""),
        (None, None, "", ""),
        (None, "/old/", "/old", "/old"),
    ],
)
def test_prefix_and_path(
    prefix: str | None, path: str | None, expected_prefix: str, expected_path: str
) -> None:
    controller = {} if prefix is None else {"url": f"http://h{prefix}/"}
    config = _make(
        controllers={"main": controller}, routes=[{"id": "r", "path": path, "controller": "main"}]
    )
    assert config.prefix_of(config.routes[0]) == expected_prefix
    assert config.path_of(config.routes[0]) == expected_path


def _fails(data: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        _make(**data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"listener": []}, "Extra inputs"),
        ({"listeners": []}, "at least 1 item"),
        ({"controllers": {}}, "at least 1 item"),
        ({"controllers": {"a b": {}}}, "allowed: up to 63 letters"),
        ({"controllers": {"-a": {}}}, "allowed: up to 63 letters"),
        ({"controllers": {"a" * 64: {}}}, "allowed: up to 63 letters"),
        ({"listeners": [{"address": "h:1", "plain_agents": "yes"}]}, "valid boolean"),
        ({"listeners": [{"address": "h:1", "tls": {"certificates": []}}]}, "at least 1 item"),
        ({"agents": {"keepalive": {"interval": "60s"}}}, "nginx and AWS ALB, cut"),
        ({"agents": {"keepalive": {"interval": "1m"}}}, "nginx and AWS ALB, cut"),
        ({"agents": {"keepalive": {"interval": "0s"}}}, "greater than 0"),
        ({"agents": {"handshake_timeout": "30s"}}, r"agent\.jar gives up at 30 s"),
        ({"agents": {"handshake_rate": 0}}, "greater than or equal to 1"),
        ({"routes": [{"id": "a", "controller": "main", "host": "a.*.x"}]}, "one host name without"),
        ({"routes": [{"id": "a", "controller": "main", "host": "x:1"}]}, "one host name without"),
        (
            {"routes": [{"id": "a", "controller": "main", "path": "x"}]},
            'allowed: "/" or a plain path',
        ),
    ],
)
def test_rules_of_single_keys(data: dict[str, Any], text: str) -> None:
    _fails(data, text)


@pytest.mark.parametrize(
    ("agents", "text"),
    [
        ({"transport": "webSocket"}, "'auto', 'jnlp4' or 'websocket'"),
        ({"protocol": "JNLP3-connect"}, "'JNLP4-connect' or 'JNLP4-plaintext'"),
        ({"chunks_per_message": 1}, "'many' or 'one'"),
        ({"identity": "AAAA"}, 'allowed: "discover"'),
        ({"identity": {"path": "x"}}, "{jenkins_secrets: PATH} with nothing else"),
        ({"identity": {"file": 5}}, "{jenkins_secrets: PATH} with nothing else"),
        ({"identity": {"file": "/nonexistent"}}, "no such file"),
    ],
)
def test_rules_of_a_controllers_agents(agents: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        ControllerAgentsConfig.model_validate(agents)


@pytest.mark.parametrize(
    "value", ["other", {"host": "h"}, {"host": "h", "port": 0}, {"host": "h:1", "port": 5}, None, 5]
)
def test_tcp_discovery_is_a_word_or_host_and_port(value: object) -> None:
    with pytest.raises(ValidationError):
        ControllerConfig.model_validate({"tcp_discovery": value})


def test_limits_are_just_below() -> None:
    assert KeepaliveConfig(interval=59.9).interval == 59.9
    assert AgentsConfig(handshake_timeout=29.9).handshake_timeout == 29.9


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "id.pem").write_bytes(public_pem(rsa_key().public_key()))
    config = GatewayConfig.model_validate(
        {
            "state_dir": "state",
            "listeners": [
                {
                    "address": "h:1",
                    "tls": {"certificates": [{"certificate": "a.crt", "key": "/k/a.key"}]},
                }
            ],
            "controllers": {"main": {"agents": {"identity": {"file": "id.pem"}}}},
        },
        context=FileContext(tmp_path),
    )
    assert config.state_dir == tmp_path / "state"
    tls = config.listeners[0].tls
    assert tls is not None
    assert tls.certificates[0].certificate == tmp_path / "a.crt"
    assert tls.certificates[0].key == Path("/k/a.key")
    assert config.controllers["main"].agents.identity == PublicKey(spki(rsa_key().public_key()))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a"}, "/var/lib/a"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"),
        ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": "/x"}, "/x/remoting-gateway"),
        ({"XDG_STATE_HOME": "relative"}, "/home/h/.local/state/remoting-gateway"),
        ({}, "/home/h/.local/state/remoting-gateway"),
    ],
)
def test_default_state_dir(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: str
) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/h")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert default_state_dir() == Path(expected)
    assert _make().state_dir == Path(expected)


def test_every_key_is_documented() -> None:
    found = [
        f"{model.__name__}.{name}"
        for model in vars(models).values()
        if isinstance(model, type) and issubclass(model, BaseModel)
        for name, info in model.model_fields.items()
        if not info.description
    ]
    assert found == []
