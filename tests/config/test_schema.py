"""The schema accepts what the gateway accepts, in the spelling of the file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.config.document import parse_document
from gateway.config.schema import config_schema

_README = Path(__file__).parents[2] / "README.md"


def _check(text: str) -> None:
    data = parse_document(text, source="f.yaml", environ={}).data
    jsonschema.Draft202012Validator(config_schema()).validate(data)


def _defaults(node: Any) -> list[object]:
    if isinstance(node, dict):
        own = [node["default"]] if "default" in node and "type" in node else []
        return own + [each for value in node.values() for each in _defaults(value)]
    if isinstance(node, list):
        return [each for value in node for each in _defaults(value)]
    return []


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())
    assert json.loads(json.dumps(config_schema())) == config_schema()


def test_the_readmes_example_passes() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", _README.read_text("utf-8"), re.DOTALL)
    _check(example)


def test_every_key_passes() -> None:
    _check("""
state_dir: /var/lib/remoting-gateway
listeners:
  - address: "0.0.0.0:8443"
    tls:
      certificates: [{certificate: tls.crt, key: tls.key}]
      minimum_version: 1.2
      ciphers: ECDHE+AESGCM
      client_certificates: {mode: require, ca_file: clients.pem}
      hsts: {max_age: 365d, include_subdomains: false}
  - {address: "[::1]:8080", plain_agents: true, redirect_to_https: true}
  - {address: "[::1]:8081", redirect_to_https: 8443, proxy_protocol: required}
  - {address: "[::1]:8082", redirect_to_https: false, proxy_protocol: off}
trusted_proxies: [10.0.0.0/8]
controllers:
  main:
    url: http://jenkins.lan:8080/
    jenkins_url: https://ci.example.com/
    tcp_discovery: hide
    proxy_protocol: v2
    agents:
      transport: jnlp4
      protocol: JNLP4-connect
      allow_plaintext: false
      address: jenkins.lan:50000
      identity: discover
      chunks_per_message: many
    credentials: {modes: [nodes, jenkins_secrets, controller], jenkins_secrets: main.secrets}
  third:
    credentials: {jenkins_secrets: {jenkins_home: /var/jenkins_home, master_key: /run/mk}}
    agents: {identity: {jenkins_secrets: main.secrets}}
  other:
    tcp_discovery: {host: a, port: 5}
    agents: {identity: {file: a.pem}}
routes:
  - id: parts
    host: "*.example.com"
    controller: main
    allow_from: [10.0.0.0/8]
    expose:
      - all
      - {set: agents, jnlp_files: true, allow_from: ["fd00::/8"]}
      - {paths: [/github-webhook]}
  - {id: main, host: jenkins.example.com, path: /, controller: main}
agents:
  keepalive: {interval: 20s, suspect_after: 500ms, dead_after: 1m}
  handshake_timeout: 25s
  handshake_rate: 50
nodes:
  unlisted: deny
  rules:
    - match: "build-*"
      deny: false
      controllers: [main]
      allow_from: [10.0.0.0/8]
      client_certificate: {by: san, name: "{node}.agents.example.com"}
      valid_from: "2026-01-01T00:00:00Z"
      valid_until: "2026-12-31T18:00:00+01:00"
lockout:
  enabled: true
  per_node: 5
  per_address: 50
  window: 60s
  first: 60s
  longest: 15m
  exempt: [10.0.0.0/8]
store: {key_file: /etc/gateway/store.key}
limits:
  head: 32KiB
  request_line: 8KiB
  header_fields: 100
  head_warning: 7KiB
  head_timeout: 15s
  body: 2GiB
  body_timeout: 60s
  send_timeout: 60s
  linger_timeout: 5s
  linger_time: 30s
  idle_timeout: 75s
  tls_handshake_timeout: 10s
  connections: 16384
  connections_per_address: 2048
  controller_handshakes: 64
log: {access: {to: off}}
""")


@pytest.mark.parametrize(
    "text",
    [
        "listeners: [{address: 8443}]\ncontrollers: {m: {}}",
        "listeners: [{address: 'h:1', tsl: {}}]\ncontrollers: {m: {}}",
        "listeners: [{address: 'h:1'}]\ncontrollers: {m: {tcp_discovery: maybe}}",
        "listeners: [{address: 'h:1'}]\ncontrollers: {}",
        "listeners: [{address: 'h:1'}]\ncontrollers: {m: {}}\nagents: {handshake_timeout: 25}",
        "controllers: {m: {}}",
    ],
)
def test_mistakes_do_not(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        _check(text)


def test_defaults_are_written_as_in_the_file() -> None:
    found = _defaults(config_schema())
    assert {"20s", "60s", "25s"} <= {each for each in found if isinstance(each, str)}
    assert not [each for each in found if isinstance(each, float)]
