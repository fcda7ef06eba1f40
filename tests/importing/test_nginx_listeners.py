"""Listeners: addresses put together, TLS, redirects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.importing.trees import document, imported

_PASS = "location / { proxy_pass http://j:8080; }"
_TLS = "ssl_certificate a.crt; ssl_certificate_key a.key;"


def test_both_families_are_one(tmp_path: Path) -> None:
    made = document(tmp_path, f"server {{ listen 80; listen [::]:80; listen [::1]:81; {_PASS} }}")
    assert [each["address"] for each in made["listeners"]] == ["[::]:80", "[::1]:81"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("return 301 https://$host$request_uri;", True),
        ("return 308 https://$server_name:8443$request_uri;", 8443),
        ("rewrite ^(.*)$ https://$host$1 permanent;", True),
        ("location / { return 302 https://$host$request_uri; }", True),
        ("if ($scheme != https) { return 301 https://$host$request_uri; } return 404;", True),
        ("return 301 https://a.example$request_uri;", True),
    ],
)
def test_redirects(tmp_path: Path, text: str, value: object) -> None:
    made = document(
        tmp_path,
        f"server {{ server_name a.example; {text} }}"
        f"server {{ server_name a.example; listen 443 ssl; {_TLS} {_PASS} }}",
    )
    plain = next(each for each in made["listeners"] if "tls" not in each)
    assert plain["redirect_to_https"] == value


def test_one_block_for_both_with_a_condition(tmp_path: Path) -> None:
    condition = "if ($scheme = http) { return 301 https://$host$request_uri; }"
    made = document(tmp_path, f"server {{ listen 80; listen 443 ssl; {_TLS} {condition} {_PASS} }}")
    assert made["listeners"][0] == {"address": "0.0.0.0:80", "redirect_to_https": True}
    assert "tls" in made["listeners"][1]


def test_a_redirect_elsewhere_is_none(tmp_path: Path) -> None:
    made = imported(
        tmp_path, f"server {{ return 301 https://www.example$request_uri; }} server {{ {_PASS} }}"
    )
    assert "redirect_to_https" not in made.document["listeners"][0]
    assert any("redirects keep the host" in note.reason for note in made.report.notes)


def test_certificates_of_several_blocks(tmp_path: Path) -> None:
    site = "server {{ listen 443 ssl; server_name {0}; ssl_certificate {0}.crt;"
    site += " ssl_certificate_key {0}.key; " + _PASS.replace("{", "{{").replace("}", "}}") + " }}"
    made = document(tmp_path, site.format("a") + site.format("b"))
    (listener,) = made["listeners"]
    assert [Path(each["key"]).name for each in listener["tls"]["certificates"]] == [
        "a.key",
        "b.key",
    ]


def test_a_certificate_that_is_no_file(tmp_path: Path) -> None:
    made = imported(
        tmp_path,
        "server { listen 443 ssl; ssl_certificate $ssl_server_name.crt;"
        f" ssl_certificate_key $ssl_server_name.key; {_PASS} }}",
    )
    assert made.document["listeners"][0]["tls"]["certificates"] == [
        {"certificate": "tls.crt", "key": "tls.key"}
    ]
    assert any("it has no certificate" in note.reason for note in made.report.notes)


def test_a_unix_socket_is_left_out(tmp_path: Path) -> None:
    made = imported(tmp_path, f"server {{ listen unix:/run/n.sock; listen 80; {_PASS} }}")
    assert [each["address"] for each in made.document["listeners"]] == ["0.0.0.0:80"]
    assert any("TCP addresses" in note.reason for note in made.report.notes)


def test_what_one_of_several_blocks_wants(tmp_path: Path) -> None:
    site = "server {{ listen 443 ssl; server_name {}; {} " + _TLS + " {} }}"
    wants = "ssl_verify_client on; ssl_client_certificate ca.pem; ssl_protocols TLSv1.3;"
    wants += " add_header Strict-Transport-Security max-age=60;"
    made = imported(tmp_path, site.format("a", "", _PASS) + site.format("b", wants, _PASS))
    (listener,) = made.document["listeners"]
    assert listener["tls"].keys() == {"certificates", "client_certificates", "minimum_version"}
    reasons = [note.reason for note in made.report.notes]
    assert "hsts is of a listener, and the other hosts here have another" in reasons
    assert sum("holds for the whole listener" in each for each in reasons) == 2
