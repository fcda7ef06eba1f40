"""Tests of ``gateway.config.credentials_checks``: what is refused, and what is only said."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.extracted import Extracted
from gateway.config.load import Loaded, load
from gateway.errors import ConfigError
from tests.credentials.jenkins_files import NODE_KEY

BEGIN = """\
state_dir: state
listeners: [{address: "127.0.0.1:0"}]
controllers:
  main:
    url: https://jenkins.lan:8443/
"""


def read(folder: Path, text: str) -> Loaded:
    path = folder / "gateway.yaml"
    path.write_text(BEGIN + text)
    good = folder / "good.secrets"
    good.write_bytes(Extracted(NODE_KEY, None).to_bytes())
    good.chmod(0o600)
    return load(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "    credentials: {modes: [nodes, nodes]}",
            'gateway.yaml:6: controllers.main.credentials.modes[1]: found "nodes" a second time',
        ),
        (
            "    credentials: {modes: [controller, nodes]}",
            'controllers.main.credentials.modes[1]: found "nodes" behind "controller"',
        ),
        (
            "    credentials: {modes: [jenkins_secrets]}",
            "controllers.main.credentials.jenkins_secrets: found nothing; required for the mode",
        ),
        (
            "    credentials: {modes: [nodes], jenkins_secrets: gateway.yaml}",
            "credentials.jenkins_secrets: found",
        ),
        (
            "    credentials: {modes: [node]}",
            'found "node"; allowed: "controller" or "jenkins_secrets" or "nodes". Did you mean',
        ),
        (
            "nodes: {rules: [{match: a, controllers: [mian]}]}",
            'gateway.yaml:6: nodes.rules[0].controllers[0]: found "mian"; allowed: "main".',
        ),
        (
            "nodes: {rules: [{match: a, client_certificate: {by: san}}]}",
            "nodes.rules[0].client_certificate: no listener asks for client certificates",
        ),
        ("lockout: {first: 20m}", "lockout.longest: allowed: as long as lockout.first, or longer"),
        ("lockout: {per_address: 3}", "lockout.per_address: found 3; allowed: 5 or more"),
        (
            "lockout: {per_address_total: 49}",
            "lockout.per_address_total: found 49; allowed: 50 or more",
        ),
        ("nodes: {rules: [{match: 'a**'}]}", 'nodes.rules[0].match: found "a**"; allowed'),
    ],
)
def test_errors(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("    credentials: {modes: [nodes, controller]}", "is still passed on to the controller"),
        ("    credentials: {jenkins_secrets: good.secrets}", "no mode uses it"),
        (
            "    credentials: {modes: [nodes], jenkins_secrets: {jenkins_home: /var/jenkins}}",
            "jenkins_secrets.jenkins_home: the gateway can read master.key",
        ),
        ("nodes: {unlisted: deny}", "no agent is let in at all"),
        ("store: {key_file: open.key}", "everybody on this machine may read"),
    ],
)
def test_warnings(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "open.key").write_text("")
    (tmp_path / "open.key").chmod(0o644)
    (warning,) = read(tmp_path, text).warnings
    assert expected in warning
    assert "gateway.yaml:" in warning


def test_a_sidecar_is_not_warned(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        BEGIN.replace("jenkins.lan", "127.0.0.1")
        + "    credentials: {modes: [jenkins_secrets], jenkins_secrets: {jenkins_home: /j}}\n"
    )
    assert load(path).warnings == ()


def test_a_secrets_file_that_everybody_may_read(tmp_path: Path) -> None:
    line = "    credentials: {modes: [jenkins_secrets], jenkins_secrets: good.secrets}"
    assert read(tmp_path, line).warnings == ()
    (tmp_path / "good.secrets").chmod(0o604)
    (warning,) = load(tmp_path / "gateway.yaml").warnings
    assert "chmod o-rwx" in warning
