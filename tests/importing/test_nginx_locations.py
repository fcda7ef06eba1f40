"""Which locations are proxied where."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.importing.nginx_locations import locations_of, proxied_locations
from gateway.importing.report import Fate, Report
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
    text = "location ~* \\.png$ {} location ~^/a {} location ~ ^/(b|c)[0-9] {} location @b {}"
    text += " location /c {} location = /d {}"
    found = [(each.kind, each.path) for each in locations_of(server(tmp_path, text))]
    assert found == [
        ("~*", "\\.png$"),
        ("", "/a"),
        ("~", "^/(b|c)[0-9]"),
        ("@", "@b"),
        ("", "/c"),
        ("=", "/d"),
    ]


@pytest.mark.parametrize(
    ("pattern", "paths", "is_open"),
    [
        ("^/(script|cli)", ["/script", "/cli"], True),
        ("^/ci/(?:script|log-in)/", ["/ci/script", "/ci/log-in"], False),
        ("^/ci(/|$)", ["/ci"], False),
        (r"^\/ci\/", ["/ci"], False),
        (r"^/blue\.ocean", ["/blue.ocean"], True),
        ("^/ci.*", ["/ci"], True),
        ("^/ci/.*$", ["/ci"], False),
        ("^/", ["/"], False),
    ],
)
def test_patterns_that_are_beginnings_of_paths(
    tmp_path: Path, pattern: str, paths: list[str], is_open: bool
) -> None:
    for operator in ("~", "~*"):
        found = list(locations_of(server(tmp_path, f'location {operator} "{pattern}" {{}}')))
        assert [(each.kind, each.path, each.is_open) for each in found] == [
            ("", path, is_open) for path in paths
        ]


@pytest.mark.parametrize("pattern", ["^/$", "^/ci$", "^/ci/$"])
def test_patterns_that_are_whole_paths(tmp_path: Path, pattern: str) -> None:
    (found,) = locations_of(server(tmp_path, f"location ~ {pattern} {{}}"))
    assert (found.kind, found.path) == ("=", pattern[1:-1])


@pytest.mark.parametrize(
    ("location", "url", "path"),
    [
        ("/ci/", "http://a:1$request_uri", None),
        ("/ci/", "http://a:1${request_uri}", None),
        ("/ci/", "http://a:1$uri$is_args$args", None),
        ("/ci/", "http://a:1/ci/?$args", "/ci/"),
        ("~ ^/ci/(.*)$", "http://a:1/ci/$1$is_args$args", "/ci/"),
        ("~ ^/ci/(.*)$", "http://a:1/$1", "/"),
        ("/", "http://$server_name:1", None),
    ],
)
def test_variables_that_say_what_is_known(
    tmp_path: Path, location: str, url: str, path: str | None
) -> None:
    text = f"server_name a b; location {location} {{ proxy_pass {url}; }}"
    (found,) = proxied_locations(server(tmp_path, text), Report())
    assert (found.target.authority, found.target.path) == ("a:1", path)


def test_what_only_nginx_asks_for_is_no_way_for_clients(tmp_path: Path) -> None:
    report = Report()
    text = "location /auth { internal; proxy_pass http://a; } location / { proxy_pass http://b; }"
    (found,) = proxied_locations(server(tmp_path, text), report)
    assert found.target.authority == "b"
    assert [note.text for note in report.of(Fate.NOT_NEEDED)] == ["location /auth {...}"]


def test_locations_are_bounded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nginx.conf:1: more than 1000 locations"):
        locations_of(server(tmp_path, "".join(f"location /{i} {{}}" for i in range(1001))))


@pytest.mark.parametrize("pattern", ["^", "/", ".*", "^.*$", "^(.*)$", "^/.*"])
def test_patterns_that_are_everything(tmp_path: Path, pattern: str) -> None:
    (found,) = locations_of(server(tmp_path, f"location ~ {pattern} {{}}"))
    assert (found.kind, found.path, found.pattern) == ("", "/", "~")


def test_a_pattern_that_is_one_letter_is_not_everything(tmp_path: Path) -> None:
    (found,) = locations_of(server(tmp_path, "location ~ ^.$ {}"))
    assert found.kind == "~"
