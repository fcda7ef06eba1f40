"""Listeners: addresses put together, TLS, redirects."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.importing.report import Fate
from tests.importing.trees import document, imported, left_out

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


def _reasons(text: str, folder: Path) -> list[str]:
    return [note.reason for note in imported(folder, text).report.of(Fate.LEFT_OUT)]


def test_a_redirect_beside_what_is_served_without_tls(tmp_path: Path) -> None:
    made = imported(
        tmp_path, f"server {{ return 301 https://www.example$request_uri; }} server {{ {_PASS} }}"
    )
    assert "redirect_to_https" not in made.document["listeners"][0]
    reasons = [note.reason for note in made.report.notes]
    assert any("redirect_to_https keeps the host" in each for each in reasons)
    assert any("other hosts are served without TLS there" in each for each in reasons)


def test_a_redirect_of_all_hosts_to_the_one_with_the_certificate(tmp_path: Path) -> None:
    text = "server { listen 80 default_server; rewrite ^(.*) https://a.example$1 permanent; }"
    text += f"server {{ listen 443 ssl; server_name a.example; {_TLS} {_PASS} }}"
    made = document(tmp_path, text)
    assert made["listeners"][0] == {"address": "0.0.0.0:80", "redirect_to_https": True}
    assert any("redirect_to_https keeps the host" in each for each in _reasons(text, tmp_path))


def test_what_is_redirected_is_not_served(tmp_path: Path) -> None:
    # The server's own return comes before any location of it.
    made = document(
        tmp_path,
        f"server {{ listen 80; return 301 https://$host$request_uri; {_PASS} }}"
        f"server {{ listen 443 ssl; {_TLS} {_PASS} }}",
    )
    assert made["listeners"][0] == {"address": "0.0.0.0:80", "redirect_to_https": True}


@pytest.mark.parametrize(
    ("condition", "redirects"),
    [
        ("$scheme != https", True),
        ('$https = ""', True),
        ("$server_port = 80", True),
        ("$host = a.example", True),
        ("$host != a.example", False),
        ("$http_user_agent ~ curl", False),
    ],
)
def test_conditions_of_redirects(tmp_path: Path, condition: str, redirects: bool) -> None:
    text = f"if ({condition}) {{ return 301 https://a.example$request_uri; }} {_PASS}"
    text = f"server {{ listen 80; server_name a.example; {text} }}"
    text += f"server {{ listen 443 ssl; server_name a.example; {_TLS} {_PASS} }}"
    made = imported(tmp_path, text)
    assert made.document["listeners"][0].get("redirect_to_https", False) is redirects
    assert redirects or any(each.startswith("if (") for each in left_out(made.report))


def test_a_redirect_of_what_a_proxy_in_front_calls_http(tmp_path: Path) -> None:
    text = "server {{ listen 80; {} if ($http_x_forwarded_proto = 'http')"
    text += (
        " {{ return 301 https://$host$request_uri; }} location / {{ proxy_pass http://j:1; }} }}"
    )
    made = imported(tmp_path, text.format(""))
    assert "redirect_to_https" not in made.document["listeners"][0]
    assert any("in trusted_proxies" in n.reason for n in made.report.notes if "if (" in n.text)
    believed = "set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For;"
    made = imported(tmp_path, text.format(believed))
    assert made.document["listeners"][0]["redirect_to_https"] is True


def test_addresses_of_both_families_have_all_that_either_has(tmp_path: Path) -> None:
    site = "server {{ listen 443 ssl; {} server_name {}; ssl_certificate {}.crt;"
    site += " ssl_certificate_key {}.key; location / {{ proxy_pass http://{}:1; }} }}"
    text = site.format("listen [::]:443 ssl ipv6only=on;", *"aaaa") + site.format("", *"bbbb")
    (listener,) = document(tmp_path, text)["listeners"]
    assert listener["address"] == "[::]:443"
    names = [Path(each["key"]).name for each in listener["tls"]["certificates"]]
    assert names == ["a.key", "b.key"]


def test_a_redirect_for_both_families_does_not_hide_what_one_of_them_serves(
    tmp_path: Path,
) -> None:
    made = imported(
        tmp_path,
        "server { listen 80 default_server; listen [::]:80 default_server;"
        " return 301 https://$host$request_uri; }"
        f"server {{ listen 80; server_name a.example; {_PASS} }}",
    )
    assert made.document["listeners"] == [{"address": "[::]:80"}]
    assert "return 301 https://$host$request_uri" in left_out(made.report)


def test_an_address_within_all_addresses(tmp_path: Path) -> None:
    made = imported(
        tmp_path,
        f"server {{ listen 127.0.0.1:80; server_name a; {_PASS} }} server {{ listen 80; {_PASS} }}",
    )
    assert made.document["listeners"] == [{"address": "0.0.0.0:80"}]
    assert any("0.0.0.0:80 has this address" in note.reason for note in made.report.notes)


def test_ssl_and_proxy_protocol_of_one_block_are_those_of_the_address(tmp_path: Path) -> None:
    text = f"server {{ listen 443; server_name a; {_TLS} {_PASS} }}"
    text += f"server {{ listen 443 ssl proxy_protocol; server_name b; {_TLS} {_PASS} }}"
    made = imported(tmp_path, text)
    (listener,) = made.document["listeners"]
    assert (listener["proxy_protocol"], "tls" in listener) == ("required", True)
    assert any("needs trusted_proxies" in note.reason for note in made.report.notes)


def test_a_certificate_where_nginx_spoke_plain_http(tmp_path: Path) -> None:
    made = imported(tmp_path, f"server {{ listen 443; {_TLS} {_PASS} }}")
    assert "tls" not in made.document["listeners"][0]
    assert {"ssl_certificate a.crt", "ssl_certificate_key a.key"} <= set(left_out(made.report))


def test_what_was_served_at_one_address_only(tmp_path: Path) -> None:
    site = "server {{ listen {}; server_name {}; location / {{ proxy_pass http://{}:1; }} }}"
    text = site.format("127.0.0.1:81", "a", "a") + site.format("80", "b", "b")
    reasons = [each for each in _reasons(text, tmp_path) if "holds for all listeners" in each]
    assert ["0.0.0.0:80" in reasons[0], "127.0.0.1:81" in reasons[1]] == [True, True]
    both = site.format("80", "a", "a") + site.format("80", "b", "b")
    assert not any("holds for all listeners" in each for each in _reasons(both, tmp_path))


def test_a_default_that_refuses_is_not_said_to_be_open(tmp_path: Path) -> None:
    text = "server { listen 80 default_server; return 444; }"
    text += f"server {{ listen 80; server_name a; {_PASS} }}"
    made = imported(tmp_path, text)
    assert not any("gave requests for other hosts" in note.reason for note in made.report.notes)
    (note,) = (each for each in made.report.notes if each.text == "server {...}")
    assert (note.fate, note.reason) == (Fate.NOT_NEEDED, "hosts without a route are refused")
    # A route for all hosts opens what was refused; that has to be said.
    made = imported(tmp_path, text + f"server {{ listen 81; {_PASS} }}")
    assert "server {...}" in left_out(made.report)


@pytest.mark.parametrize(
    ("value", "before", "noted"),
    [
        ("https", "listen 80;", True),
        ("$http_x_forwarded_proto", "listen 80;", True),
        ("$scheme", "listen 80;", False),
        ("https", f"listen 80; listen 443 ssl; {_TLS}", False),
        ("https", "set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For;", False),
    ],
)
def test_what_jenkins_was_told_of_a_proxy_in_front(
    tmp_path: Path, value: str, before: str, *, noted: bool
) -> None:
    made = imported(
        tmp_path, f"server {{ {before} proxy_set_header X-Forwarded-Proto {value}; {_PASS} }}"
    )
    assert (f"proxy_set_header X-Forwarded-Proto {value}" in left_out(made.report)) is noted


def test_hsts_of_a_location_is_the_hosts(tmp_path: Path) -> None:
    made = document(
        tmp_path,
        f"server {{ listen 443 ssl; {_TLS} location / {{ proxy_pass http://j:1;"
        ' add_header Strict-Transport-Security "max-age=60; includeSubdomains; preload"; } }',
    )
    assert made["listeners"][0]["tls"]["hsts"] == {"max_age": "60s", "include_subdomains": True}


@pytest.mark.parametrize("first", ["on", "optional"])
def test_client_certificates_of_the_strictest(tmp_path: Path, first: str) -> None:
    site = "server {{ listen 443 ssl; server_name {}; ssl_verify_client {};"
    site += (
        " ssl_client_certificate {}.pem; " + _TLS + " location / {{ proxy_pass http://j:1; }} }}"
    )
    second = "optional" if first == "on" else "on"
    text = site.format("a", first, first) + site.format("b", second, second)
    (listener,) = document(tmp_path, text)["listeners"]
    assert listener["tls"]["client_certificates"]["mode"] == "require"
    assert Path(listener["tls"]["client_certificates"]["ca_file"]).name == "on.pem"
    assert sum("put them together" in each for each in _reasons(text, tmp_path)) == 1


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


def test_an_address_that_is_none_is_left_out(tmp_path: Path) -> None:
    made = imported(tmp_path, f"server {{ listen 8o:80; listen 4'43; listen 81; {_PASS} }}")
    assert [each["address"] for each in made.document["listeners"]] == ["8o:80", "0.0.0.0:81"]


def test_what_one_of_several_blocks_wants(tmp_path: Path) -> None:
    site = "server {{ listen 443 ssl; server_name {}; {} " + _TLS + " {} }}"
    wants = "ssl_verify_client on; ssl_client_certificate ca.pem; ssl_protocols TLSv1.3;"
    wants += " add_header Strict-Transport-Security max-age=60;"
    made = imported(tmp_path, site.format("a", "", _PASS) + site.format("b", wants, _PASS))
    (listener,) = made.document["listeners"]
    assert listener["tls"].keys() == {"certificates", "client_certificates", "minimum_version"}
    reasons = [note.reason for note in made.report.notes]
    assert any("hsts is of a listener, and the other hosts" in each for each in reasons)
    assert sum("holds for the whole listener" in each for each in reasons) == 2


def test_what_only_this_machine_came_to_is_for_it_alone(tmp_path: Path) -> None:
    local = f"server {{ listen 127.0.0.1:8080; listen [::1]:8080; {_PASS} }}"
    guarded = f"server {{ listen 443 ssl; server_name ci.example; {_TLS} allow 10.0.0.0/8;"
    guarded += f" deny all; {_PASS} }}"
    made = imported(tmp_path, guarded + local)
    routes = {each["host"]: each["allow_from"] for each in made.document["routes"]}
    assert routes == {"ci.example": ["10.0.0.0/8"], "*": ["127.0.0.1/32", "::1/128"]}
    assert any("only this machine came here" in note.reason for note in made.report.notes)
    (route,) = document(tmp_path, local)["routes"]
    assert "allow_from" not in route


def test_certificates_of_any_authority_are_not_taken(tmp_path: Path) -> None:
    made = imported(
        tmp_path,
        f"server {{ listen 443 ssl; {_TLS} ssl_verify_client optional_no_ca;"
        f" ssl_client_certificate ca.pem; {_PASS} }}",
    )
    (note,) = (each for each in made.report.notes if "ca.pem" in each.text)
    assert (note.fate, "nobody is asked" in note.reason) == (Fate.LEFT_OUT, True)


def test_ipv6_alone_is_both_families_and_says_so(tmp_path: Path) -> None:
    def said(listen: str) -> bool:
        reasons = _reasons(f"server {{ {listen} {_PASS} }}", tmp_path)
        return any("only IPv6 could come here" in each for each in reasons)

    assert said("listen [::]:80 ipv6only=on;")
    assert said("listen [::]:80;")
    assert not said("listen [::]:80 ipv6only=off;")
    assert not said("listen 80; listen [::]:80 ipv6only=on;")
