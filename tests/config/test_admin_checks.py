"""What keeps a gateway with an open admin listener from starting."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.load import Loaded, load
from gateway.errors import ConfigError
from tests.certificates import authority, write

TOKEN = "0123456789abcdef"


def read(folder: Path, admin: str) -> Loaded:
    write(folder, "localhost")
    (folder / "ca.pem").write_bytes(authority().cert_pem.bytes())
    path = folder / "gateway.yaml"
    path.write_text(
        "state_dir: state\n"
        'listeners: [{address: "127.0.0.1:8443"}]\n'
        'controllers: {main: {url: "https://127.0.0.1:9/"}}\n'
        f"admin: {admin}\n"
    )
    return load(path, environ={"ADMIN_TOKEN": TOKEN})


TLS = "tls: {certificates: [{certificate: localhost.crt, key: localhost.key}]"


@pytest.mark.parametrize(
    "admin",
    [
        "{}",
        '{listen: "off"}',
        '{listen: "127.0.0.1:9180"}',
        '{listen: "[::1]:9180", token: "${ADMIN_TOKEN}"}',
        f'{{listen: "0.0.0.0:9180", token: "{TOKEN}", {TLS}}}}}',
        f'{{listen: "0.0.0.0:9180", {TLS}, client_certificates: {{mode: require, ca_file:'
        " ca.pem}}}",
    ],
)
def test_what_is_allowed(tmp_path: Path, admin: str) -> None:
    assert read(tmp_path, admin).warnings == ()


@pytest.mark.parametrize(
    ("admin", "expected"),
    [
        ('{listen: "0.0.0.0:9180"}', 'admin.listen: found "0.0.0.0:9180" without a proof'),
        (f'{{listen: "0.0.0.0:9180", {TLS}}}}}', "token_file"),
        (
            f'{{listen: "0.0.0.0:9180", {TLS}, client_certificates: {{mode: optional, ca_file:'
            " ca.pem}}}",
            "without a proof",
        ),
        ('{listen: "127.0.0.1:8443"}', "which listeners[0] has already"),
        ('{token: "short"}', "admin.token: found something else; allowed: a token of 16"),
        ('{token_file: "none"}', "admin.token_file: found"),
        (f'{{token_file: "none", token: "{TOKEN}"}}', "found beside token_file"),
        (f"{{{TLS}}}}}", "admin.tls: found beside listen"),
        ('{listen: "127.0.0.1:9180", tls: {certificates: []}}', "admin.tls.certificates"),
        ("{hosts: [a b]}", "admin.hosts[0]"),
        ("{socket_mode: '0666'}", 'allowed: "0600" or "0660"'),
    ],
)
def test_what_is_refused(tmp_path: Path, admin: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, admin)
    assert expected in str(caught.value)
    assert "gateway.yaml:4" in str(caught.value)


def test_a_short_token_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, '{token: "hunter2"}')
    assert "hunter2" not in str(caught.value)


def test_a_token_in_clear_is_warned_of(tmp_path: Path) -> None:
    (warning,) = read(tmp_path, f'{{listen: "0.0.0.0:9180", token: "{TOKEN}"}}').warnings
    assert "without encryption" in warning


def test_a_token_that_everybody_may_read(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o644)
    (warning,) = read(tmp_path, "{token_file: token}").warnings
    assert "chmod o-rwx" in warning
    path.chmod(0o600)
    assert read(tmp_path, "{token_file: token}").warnings == ()
