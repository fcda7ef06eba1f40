"""From file to configuration; each kind of mistake and the line that reports it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.load import for_single_controller, load, parse_controller, parse_listen
from gateway.config.models import ControllerConfig, GatewayConfig, RouteConfig
from gateway.config.values import Address, ControllerUrl
from gateway.errors import ConfigError
from tests.config.certificates import certificate_pem, ec_key, private_pem

_GOOD = """\
listeners:
  - address: 127.0.0.1:8080
controllers:
  main:
    url: https://jenkins.lan:8080/
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(text)
    return path


def _errors(folder: Path, text: str, **environ: str) -> list[str]:
    """Return the problems as ``line: key: text``."""
    path = _write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ=environ)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


def test_a_small_file(tmp_path: Path) -> None:
    path = _write(tmp_path, _GOOD)
    loaded = load(path)
    assert loaded.source == path
    assert loaded.warnings == ()
    assert loaded.config.controllers == {
        "main": ControllerConfig(url=ControllerUrl("https", "jenkins.lan", 8080, ""))
    }
    assert loaded.config.routes == (RouteConfig(id="main", controller="main"),)


def test_every_key_of_a_large_file(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_bytes(certificate_pem(ec_key()))
    (tmp_path / "tls.key").write_bytes(private_pem(ec_key()))
    config = load(
        _write(
            tmp_path,
            """\
state_dir: state
listeners:
  - address: "0.0.0.0:8443"
    tls:
      certificates: [{certificate: tls.crt, key: tls.key}]
  - address: "127.0.0.1:8080"
trusted_proxies: [10.0.0.0/8]
controllers:
  main:
    url: ${URL}
    tcp_discovery: {host: edge.example.com, port: "${PORT}"}
    agents:
      transport: jnlp4
      protocol: JNLP4-connect
      address: jenkins.lan:${PORT}
      identity: ${IDENTITY:-discover}
      chunks_per_message: one
routes:
  - {id: main, host: jenkins.example.com, path: /, controller: main}
agents:
  keepalive: {interval: 15s, suspect_after: 15s, dead_after: 45s}
  handshake_timeout: 20s
""",
        ),
        environ={"URL": "http://jenkins.lan:8080/", "PORT": "50000"},
    ).config
    assert config.state_dir == tmp_path / "state"
    assert config.controllers["main"].agents.address == Address("jenkins.lan", 50000)
    assert config.controllers["main"].agents.chunks_per_message == "one"
    assert config.agents.keepalive.interval == 15
    assert config.agents.handshake_timeout == 20
    assert GatewayConfig.model_validate(config.model_dump(mode="json")) == config


def test_relative_paths_do_not_depend_on_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    _write(tmp_path / "conf", _GOOD + "state_dir: state\n")
    monkeypatch.chdir(tmp_path)
    config = load(Path("conf/gateway.yaml")).config
    assert config.state_dir == tmp_path / "conf" / "state"


def test_relative_paths_start_where_the_file_is_named(tmp_path: Path) -> None:
    """Not where a link leads to: Kubernetes links to another folder after each change."""
    (tmp_path / "..1").mkdir()
    _write(tmp_path / "..1", f"state_dir: state\n{_GOOD}")
    path = tmp_path / "gateway.yaml"
    path.symlink_to("..1/gateway.yaml")
    assert load(path).config.state_dir == tmp_path / "state"


def test_the_paths_of_a_file_are_told_even_if_it_is_wrong(tmp_path: Path) -> None:
    named: set[Path] = set()
    with pytest.raises(ConfigError):
        load(_write(tmp_path, f"state_dir: state\nnonsense: 1\n{_GOOD}"), named=named)
    assert named == {tmp_path / "state"}


def test_warnings_name_file_and_line(tmp_path: Path) -> None:
    path = _write(tmp_path, _GOOD.replace("127.0.0.1", "0.0.0.0"))
    (warning,) = load(path).warnings
    assert warning.startswith(f"{path}:2: listeners[0]: plain HTTP beyond this machine")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "listeners: [{address: 8443}]",
            '1: listeners[0].address: found 8443; allowed: host:port, such as "0.0.0.0:8443"',
        ),
        (
            "listeners:\n  - address: h:1\n    tsl: {}",
            "3: listeners[0].tsl: unknown key; allowed: address, tls, plain_agents,"
            ' redirect_to_https, proxy_protocol. Did you mean "tls"?',
        ),
        ("listeners:\n  - {}", "2: listeners[0].address: found nothing; required. host:port; "),
        ("listeners: []", "1: listeners: found []; allowed: at least one item"),
        ("listeners: 5", "1: listeners: found 5; allowed: a list"),
        (
            "listeners: [5]",
            "1: listeners[0]: found 5; allowed: a mapping with address, tls, plain_agents",
        ),
        ("listeners: [{address: 'h:1', plain_agents: on}]", 'found "on"; allowed: true or false'),
        ("controllers: []", "1: controllers: found []; allowed: a mapping of name: value"),
        ("controllers: {}", "1: controllers: found {}; allowed: at least one item"),
        ("controllers:\n  a b: {}", '2: controllers.a b: found "a b"; allowed: up to 63 letters'),
        (
            "controllers:\n  m:\n    - 1",
            "2: controllers.m: found [1]; allowed: a mapping with url, ",
        ),
        (
            "controllers:\n  m:\n    agents:\n      adress: h:1",
            "4: controllers.m.agents.adress: unknown key; allowed: transport, protocol, ",
        ),
        (
            "controllers:\n  m:\n    agents:\n      transport: foo",
            '4: controllers.m.agents.transport: found "foo"; allowed: "auto" or "jnlp4" or "web',
        ),
        (
            "controllers: {m: {agents: {protocol: JNLP4-conect}}}",
            'allowed: "JNLP4-connect" or "JNLP4-plaintext". Did you mean "JNLP4-connect"?',
        ),
        (
            "controllers: {m: {tcp_discovery: hid}}",
            'allowed: "pass" or "hide". Did you mean "hide"?',
        ),
        (
            "controllers: {m: {tcp_discovery: {host: h, port: x}}}",
            'found "x"; allowed: a whole number',
        ),
        ("controllers: {m: {tcp_discovery: {host: h, port: 0}}}", "found 0; allowed: 1 or more"),
        ("controllers: {m: {tcp_discovery: {host: h, port: 70000}}}", "allowed: 65535 or less"),
        ("controllers: {m: {tcp_discovery: {host: h, prot: 5}}}", 'Did you mean "port"?'),
        ("controllers: {m: {agents: {identity: {file: none}}}}", "none: no such file or directory"),
        ("routes:", "1: routes: found nothing; allowed: a list"),
        ("routes: [{id: 5, controller: m}]", "1: routes[0].id: found 5; allowed: text (in quotes"),
        ("trusted_proxies: [10.0.0.1/8]", 'you may mean "10.0.0.0/8"'),
        ("agents: {handshake_timeout: 25}", "found 25; allowed: a number and a unit"),
        ("agents: {handshake_timeout: 0s}", 'found "0s"; allowed: more than 0'),
        (
            "agents: {handshake_timeout: 30s}",
            'found "30s"; allowed: less than 30s, because agent.jar',
        ),
        (
            "agents: {keepalive: {interval: 60s}}",
            'found "60s"; allowed: less than 60s, because proxies',
        ),
        (
            "agents: {keepalives: {}}",
            "1: agents.keepalives: unknown key; allowed: keepalive, handshake",
        ),
        ("extra: 1", "1: extra: unknown key; allowed: state_dir, listeners, "),
    ],
)
def test_mistakes(tmp_path: Path, text: str, error: str) -> None:
    found = _errors(tmp_path, text)
    assert [line for line in found if error in line], found


def test_all_mistakes_are_reported_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = _errors(
        tmp_path,
        "agents: {x: 1}\nlisteners: [{address: 1}, {address: 'h:1', tls: {certificates: [{}]}}]\n"
        "controllers:\n  m: {y: 1}\n",
    )
    assert [line.partition(": ")[0] for line in found] == ["1", "2", "2", "2", "4"]


def test_a_missing_section_is_reported_with_what_it_is(tmp_path: Path) -> None:
    found = _errors(tmp_path, "state_dir: /s\n")
    assert found[0].startswith("1: listeners: found nothing; required. Where to accept connections")
    assert found[1].startswith("1: controllers: found nothing; required. The controllers, each")


def test_checks_across_keys_name_lines_too(tmp_path: Path) -> None:
    found = _errors(tmp_path, _GOOD + "routes:\n  - id: a\n    controller: mian\n")
    assert found == ['8: routes[0].controller: found "mian"; allowed: "main". Did you mean "main"?']


def test_a_password_in_a_url_is_not_repeated(tmp_path: Path) -> None:
    found = _errors(tmp_path, _GOOD.replace("jenkins.lan", "admin:hunter2@jenkins.lan"))
    assert "hunter2" not in "\n".join(found)
    assert "https://***@jenkins.lan" in found[0]
    with pytest.raises(ConfigError) as caught:
        parse_controller("http://admin:hunter2@jenkins.lan")
    assert "hunter2" not in str(caught.value)


def test_long_values_are_cut(tmp_path: Path) -> None:
    (found,) = _errors(tmp_path, _GOOD + f"state: {'x' * 500}\ntrusted_proxies: [{'y' * 500}]\n")[
        1:
    ]
    assert len(found) < 250


def test_what_comes_from_the_environment_is_shown_as_it_came(tmp_path: Path) -> None:
    (found,) = _errors(tmp_path, _GOOD.replace("127.0.0.1:8080", "${LISTEN}"), LISTEN="nowhere")
    assert found.startswith('2: listeners[0].address: found "nowhere"; allowed: host:port')


def test_without_a_file() -> None:
    config = for_single_controller(
        "http://jenkins.lan:8080/jenkins",
        certificate=Path("/s/a.crt"),
        key=Path("/s/a.key"),
        state_dir=Path("/s"),
    )
    assert [str(listener.address) for listener in config.listeners] == ["0.0.0.0:8443"]
    assert config.listeners[0].tls is not None
    assert config.state_dir == Path("/s")
    assert config.path_of(config.routes[0]) == "/jenkins"
    assert config.controllers["main"].agents.identity == "discover"
    assert GatewayConfig.model_validate(config.model_dump(mode="json")) == config


def test_wrong_options_are_reported_like_wrong_keys() -> None:
    with pytest.raises(ConfigError, match=r'^--controller: found "jenkins"; allowed: an http or'):
        parse_controller("jenkins")
    with pytest.raises(ConfigError, match=r'^--listen: found "8443"; allowed: host:port'):
        parse_listen("8443")
