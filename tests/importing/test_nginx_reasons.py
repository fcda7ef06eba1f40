"""The table of reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.importing.nginx_reasons import reason_for
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
        ("proxy_set_header Authorization '';", Fate.LEFT_OUT, "of your own"),
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
