"""Inheritance between blocks."""

from __future__ import annotations

from pathlib import Path

from gateway.importing.nginx_scope import Scope, walk
from tests.importing.trees import parse


def test_inner_ones_replace_outer_ones(tmp_path: Path) -> None:
    directives = parse(
        tmp_path, "gzip on; allow 10.0.0.1; server { allow 10.0.0.2; allow 10.0.0.3; set $a b; }"
    )
    http = Scope(directives)
    server = http.inner(directives[-1])
    assert [each.args[0] for each in server.nearest("allow")] == ["10.0.0.2", "10.0.0.3"]
    assert server.is_on("gzip")
    assert not server.is_on("sendfile")
    assert server.own("gzip") == []
    assert len(list(walk(directives))) == 6


def test_only_constant_variables_are_known(tmp_path: Path) -> None:
    directives = parse(
        tmp_path, "server { set $a x; set $b $a.lan; set $c $host; location / { set $a y; } }"
    )
    server = Scope(()).inner(directives[0])
    assert server.variables() == {"a": "x", "b": "x.lan"}
    assert server.inner(server.own("location")[0]).variables()["a"] == "y"
