"""The table of reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.importing.nginx_reasons import explain, reason_for
from gateway.importing.report import Fate
from tests.importing.trees import parse


@pytest.mark.parametrize(
    ("text", "fate", "word"),
    [
        ("auth_basic x;", Fate.LEFT_OUT, "password"),
        ("auth_basic off;", Fate.NOT_NEEDED, "password"),
        ("proxy_set_header X-Real-IP $remote_addr;", Fate.NOT_NEEDED, "by itself"),
        ("proxy_set_header Host $host:$server_port;", Fate.NOT_NEEDED, "by itself"),
        ("proxy_set_header Host jenkins.lan;", Fate.LEFT_OUT, "as the client sent it"),
        ("proxy_set_header Authorization '';", Fate.LEFT_OUT, "may believe it"),
        ("proxy_set_header X-Forwarded-User '';", Fate.LEFT_OUT, "a log-in by it"),
        ("proxy_set_header X-Forwarded-User $u;", Fate.LEFT_OUT, "trusted_proxy_headers names it"),
        ("proxy_set_header Proxy-Ssl-Id $i;", Fate.LEFT_OUT, "trusted_proxy_headers names it"),
        ("proxy_set_header X-Forwarded-Proto $scheme;", Fate.NOT_NEEDED, "by itself"),
        ("proxy_set_header X-Forwarded-Ssl on;", Fate.NOT_NEEDED, "takes it out of requests"),
        ("proxy_set_header X-Forwarded-Server a;", Fate.NOT_NEEDED, "takes it out of requests"),
        ("proxy_set_header X-Forwarded-Scheme a;", Fate.NOT_NEEDED, "takes it out of requests"),
        ("proxy_set_header X-Forwarded-By a;", Fate.NOT_NEEDED, "takes it out of requests"),
        ("proxy_set_header X-Proxied-Https on;", Fate.NOT_NEEDED, "takes it out of requests"),
        ("add_header X-SSH-Endpoint a:22;", Fate.LEFT_OUT, "SSHD.hostName"),
        ("satisfy any;", Fate.LEFT_OUT, "is kept out now"),
        ("satisfy all;", Fate.LEFT_OUT, "password"),
        ("limit_except GET { deny all; }", Fate.LEFT_OUT, "methods"),
        ("error_page 497 https://$host;", Fate.LEFT_OUT, "redirect_to_https"),
        ("error_page 404 /x.html;", Fate.LEFT_OUT, "error pages"),
        ("subs_filter a b;", Fate.LEFT_OUT, "rewrites"),
        ("ssl_certificate a.crt;", Fate.LEFT_OUT, "name it in tls"),
        ("proxy_pass_request_headers off;", Fate.LEFT_OUT, "whole"),
        ("proxy_buffers 4 32k;", Fate.NOT_NEEDED, "buffered"),
        ("map $http_upgrade $c { default x; }", Fate.NOT_NEEDED, "upgrades"),
        ("map $host $c { default x; }", Fate.LEFT_OUT, "variables"),
        ("limit_req zone=a;", Fate.LEFT_OUT, "rates"),
        ("ssl_password_file x;", Fate.LEFT_OUT, "passphrase"),
        ("ssl_session_tickets off;", Fate.NOT_NEEDED, "forward secrecy"),
        ("something_of_a_module x;", Fate.LEFT_OUT, "no counterpart"),
    ],
)
def test_reasons(tmp_path: Path, text: str, fate: Fate, word: str) -> None:
    (directive,) = parse(tmp_path, text)
    found = reason_for(directive)
    assert found[0] is fate
    assert word in found[1]


@pytest.mark.parametrize(
    ("text", "fate", "word"),
    [
        ("location ~ \\.git { deny all; }", Fate.LEFT_OUT, "it was closed there"),
        ("if ($bad) { return 403; }", Fate.LEFT_OUT, "it was closed there"),
        ("location ~ /userContent/x { deny all; }", Fate.LEFT_OUT, "it was closed there"),
        ("location ~ /userContent/ { auth_basic x; }", Fate.LEFT_OUT, "password"),
        ("location /static/ { allow 10.0.0.1; deny all; }", Fate.LEFT_OUT, "it was closed there"),
        ("location /userContent/ { internal; }", Fate.LEFT_OUT, "it was closed there"),
        ("location /mystatic/ { auth_basic x; root /x; }", Fate.LEFT_OUT, "files"),
        ("location /x { }", Fate.LEFT_OUT, "passed nothing on"),
        ("location ~ /static/ { root /x; }", Fate.NOT_NEEDED, "by itself"),
        ("if ($ssl_client_verify != SUCCESS) { return 403; }", Fate.LEFT_OUT, "mode to require"),
        ("location ~ \\.x$ { proxy_pass http://a; }", Fate.LEFT_OUT, "not by patterns"),
        ("location ^~ /.well-known { root /x; }", Fate.LEFT_OUT, "renewed"),
        ("location /x { return 200 ok; }", Fate.LEFT_OUT, "answers of its own"),
    ],
)
def test_blocks_by_what_matters_in_them(tmp_path: Path, text: str, fate: Fate, word: str) -> None:
    (directive,) = parse(tmp_path, text)
    found = explain(directive)
    assert found[0] is fate
    assert word in found[1]
