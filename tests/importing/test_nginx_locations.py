"""Which locations are proxied where."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.importing.nginx_locations import locations_of, proxied_locations
from gateway.importing.report import Report
from tests.importing.trees import left_out, server


@pytest.mark.parametrize(
    ("text", "path", "authority"),
    [
        ("location / { proxy_pass http://a; }", "/", "a"),
        ("location ^~ /x { proxy_pass http://a; }", "/x", "a"),
        ("location =/x { proxy_pass http://a; }", "/x", "a"),
        ("location / { if (!-e $request_filename) { proxy_pass http://a; } }", "/", "a"),
        ("location / { try_files $uri @b; } location @b { proxy_pass http://a; }", "/", "a"),
        ("try_files $uri @b; location @b { proxy_pass http://a; }", "/", "a"),
        ("location / { error_page 404 = @b; } location @b { proxy_pass http://a; }", "/", "a"),
        ("set $h a; location / { proxy_pass http://$h:80; }", "/", "a:80"),
        ("location ~ ^/ci/ { proxy_pass http://a; }", "/ci", "a"),
        ("location ~ ^/ci(/|$) { proxy_pass http://a; }", "/ci", "a"),
        ("location ~ ^/(.*)$ { proxy_pass http://a; }", "/", "a"),
        ("location /x { location /x/y { proxy_pass http://a; } }", "/x/y", "a"),
    ],
)
def test_ways_to_say_it(tmp_path: Path, text: str, path: str, authority: str) -> None:
    report = Report()
    (found,) = proxied_locations(server(tmp_path, text), report)
    assert (found.path, found.target.authority) == (path, authority)
    assert report.notes == []


def test_what_cannot_be_read_is_noted(tmp_path: Path) -> None:
    report = Report()
    text = "location / { proxy_pass http://unix:/run/jenkins.sock; }"
    assert proxied_locations(server(tmp_path, text), report) == []
    assert left_out(report) == ["proxy_pass http://unix:/run/jenkins.sock"]


def test_kinds(tmp_path: Path) -> None:
    text = "location ~* \\.png$ {} location ~^/a {} location ~ ^/(b|c) {} location @b {}"
    text += " location /c {} location = /d {}"
    found = [(each.kind, each.path) for each in locations_of(server(tmp_path, text))]
    assert found == [
        ("~*", "\\.png$"),
        ("", "/a"),
        ("~", "^/(b|c)"),
        ("@", "@b"),
        ("", "/c"),
        ("=", "/d"),
    ]
