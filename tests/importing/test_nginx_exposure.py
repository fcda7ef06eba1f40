"""Who gets what: nothing that nginx kept from people is open without a word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.importing.report import Fate
from tests.importing.trees import imported, left_out

if TYPE_CHECKING:
    from gateway.importing.report import Report

_NOBODY = ["127.0.0.1/32"]
_PASS = "proxy_pass http://j:8080;"


def _import(folder: Path, text: str) -> tuple[list[Any], Report]:
    made = imported(folder, f"server {{ listen 127.0.0.1:80; {text} }}")
    route = made.document["routes"][0]
    return route.get("expose", []), made.report


def _left(report: Report, start: str) -> list[str]:
    return [n.reason for n in report.of(Fate.LEFT_OUT) if n.text.startswith(start)]


def test_a_closed_beginning_closes_what_begins_so(tmp_path: Path) -> None:
    expose, report = _import(tmp_path, f"location / {{ {_PASS} }} location /script {{ deny all; }}")
    assert expose == [
        "all",
        {
            "paths": ["/script", "/scriptApproval", "/scriptText", "/scriptler"],
            "allow_from": _NOBODY,
        },
    ]
    (reason,) = _left(report, "location /script")
    assert "every path that begins so" in reason
    assert "/scriptText" in reason


@pytest.mark.parametrize("location", ["/script/", "= /script", "~ ^/script(/|$)", "~ ^/script$"])
def test_a_closed_path_closes_no_other(tmp_path: Path, location: str) -> None:
    text = f"location / {{ {_PASS} }} location {location} {{ deny all; }}"
    expose, report = _import(tmp_path, text)
    assert expose == ["all", {"paths": ["/script"], "allow_from": _NOBODY}]
    assert _left(report, "location") == []


def test_what_has_a_location_of_its_own_keeps_it(tmp_path: Path) -> None:
    expose, _ = _import(
        tmp_path,
        f"location / {{ {_PASS} }} location /script {{ deny all; }}"
        f" location /scriptT {{ allow 10.0.0.0/8; deny all; {_PASS} }}",
    )
    assert {"paths": ["/scriptT", "/scriptText"], "allow_from": ["10.0.0.0/8"]} in expose
    assert {"paths": ["/script", "/scriptApproval", "/scriptler"], "allow_from": _NOBODY} in expose


def test_alternatives_of_a_pattern(tmp_path: Path) -> None:
    expose, report = _import(
        tmp_path,
        f"location / {{ {_PASS} }} location ~ ^/(cli|script)/ {{ return 403; }}"
        f" location ~* ^/(?:manage|log)/ {{ allow 10.0.0.0/8; deny all; {_PASS} }}",
    )
    assert expose == [
        "all",
        {"paths": ["/log", "/manage"], "allow_from": ["10.0.0.0/8"]},
        {"paths": ["/cli", "/script"], "allow_from": _NOBODY},
    ]
    assert left_out(report)[1:] == ["location ~* ^/(?:manage|log)/ {...}"]


def test_a_pattern_that_was_restricted_is_noted(tmp_path: Path) -> None:
    text = f"location / {{ {_PASS} }} location ~ \\.jnlp$ {{ allow 10.0.0.0/8; deny all; {_PASS} }}"
    expose, report = _import(tmp_path, text)
    assert expose == []
    (reason,) = _left(report, "location ~ ")
    assert "as open as the rest" in reason


def test_a_single_path_opens_nothing_below_it(tmp_path: Path) -> None:
    # nginx let everybody see the first page, and it alone.
    expose, report = _import(
        tmp_path,
        f"location / {{ allow 10.0.0.0/8; deny all; {_PASS} }}"
        f" location = / {{ allow all; {_PASS} }} location = /login {{ allow all; {_PASS} }}",
    )
    assert expose == []
    assert len([n for n in report.of(Fate.LEFT_OUT) if "as closed as the rest" in n.reason]) == 2


def test_what_only_nginx_could_ask_for_is_closed(tmp_path: Path) -> None:
    expose, _ = _import(
        tmp_path,
        f"location / {{ {_PASS} }} location /hidden/ {{ internal; {_PASS} }}"
        " location = /auth { internal; proxy_pass http://auth:1/x; }",
    )
    assert expose == ["all", {"paths": ["/hidden"], "allow_from": _NOBODY}]


def test_an_answer_comes_before_what_is_passed_on(tmp_path: Path) -> None:
    text = f"location / {{ {_PASS} }} location /cli/ {{ {_PASS} return 403; }}"
    assert _import(tmp_path, text)[0] == ["all", {"paths": ["/cli"], "allow_from": _NOBODY}]


def test_a_part_that_cannot_be_one_makes_no_route(tmp_path: Path) -> None:
    # Other programs have their files at /static/; of Jenkins' own it cannot be had alone.
    made = imported(
        tmp_path,
        f"server {{ listen 127.0.0.1:80; location /static/ {{ proxy_pass http://files:1; }}"
        f" location / {{ {_PASS} }} }}",
    )
    assert list(made.document["controllers"]) == ["j"]
    assert any("cannot be a part" in reason for reason in _left(made.report, "location /static/"))


def test_a_closed_path_is_its_own_routes(tmp_path: Path) -> None:
    made = imported(
        tmp_path,
        f"server {{ listen 127.0.0.1:80; location / {{ {_PASS} }}"
        " location /wiki { proxy_pass http://w:1; } location /wiki/admin/ { deny all; } }",
    ).document
    assert [route.get("expose") for route in made["routes"]] == [
        None,
        ["all", {"paths": ["/admin"], "allow_from": _NOBODY}],
    ]


@pytest.mark.parametrize(
    ("location", "fate", "word"),
    [
        ("/ci { return 301 $scheme://$host/ci/; }", Fate.NOT_NEEDED, "by itself"),
        ("= /ci { return 301 /ci/; }", Fate.NOT_NEEDED, "by itself"),
        ("= / { return 302 /ci/; }", Fate.LEFT_OUT, "have to go to /ci/"),
        ("/ { rewrite ^/ $scheme://$host/ci permanent; }", Fate.LEFT_OUT, "have to go to /ci/"),
        ("/other { deny all; }", Fate.NOT_NEEDED, "no route leads there"),
    ],
)
def test_locations_beside_the_prefix(tmp_path: Path, location: str, fate: Fate, word: str) -> None:
    _, report = _import(tmp_path, f"location /ci/ {{ {_PASS} }} location {location}")
    (note,) = (each for each in report.of(fate) if each.text.startswith("location"))
    assert word in note.reason


def _allowed(expose: list[Any], path: str) -> list[str] | None:
    """Return whom the part of a path is for."""
    (part,) = (each for each in expose if each != "all" and path in each.get("paths", ()))
    found: list[str] | None = part.get("allow_from")
    return found


_RESTRICTED = "allow 10.0.0.0/8; deny all;"


@pytest.mark.parametrize("pattern", ["^/(job|github-webhook)/", "^/github-"])
def test_a_plain_prefix_opens_nothing_that_a_pattern_restricts(
    tmp_path: Path, pattern: str
) -> None:
    expose, report = _import(
        tmp_path,
        f"location / {{ {_PASS} }} location ~ {pattern} {{ {_RESTRICTED} {_PASS} }}"
        f" location /github-webhook/ {{ allow all; {_PASS} }}",
    )
    found = _allowed(expose, "/github-webhook" if "|" in pattern else "/github-")
    assert found == ["10.0.0.0/8"]
    assert "/github-webhook" in str(expose)
    assert {"paths": ["/github-webhook"]} not in expose
    (reason,) = _left(report, "location /github-webhook/")
    assert "nginx never came here" in reason


def test_what_ends_the_search_keeps_what_it_closes(tmp_path: Path) -> None:
    for name in ("scriptText", "scriptApproval"):
        expose, report = _import(
            tmp_path,
            f"location / {{ {_PASS} }} location ^~ /script {{ deny all; }}"
            f" location ~ ^/{name} {{ {_PASS} }}",
        )
        assert _allowed(expose, f"/{name}") == _NOBODY
        assert "nginx never came here" in _left(report, f"location ~ ^/{name}")[0]


def test_names_are_spelt_as_jenkins_does_where_case_did_not_count(tmp_path: Path) -> None:
    expose, report = _import(
        tmp_path,
        f"location / {{ {_PASS} }} location ~* ^/(scripttext|pluginmanager|systemi)"
        " { deny all; }",
    )
    for path in ("/scriptText", "/pluginManager", "/systemInfo"):
        assert _allowed(expose, path) == _NOBODY
    said = [each for each in _left(report, "location ~*") if "upper and lower case" in each]
    assert len(said) == 3
    assert any("(/pluginManager)" in each for each in said)
    assert not any("(/pluginmanager)" in each for each in said)


@pytest.mark.parametrize(("name", "shown"), [("MANAGE", "manage"), ("OTHER", "OTHER")])
def test_a_name_is_said_to_be_jenkins_own_in_its_own_case_only(
    tmp_path: Path, name: str, shown: str
) -> None:
    _, report = _import(tmp_path, f"location / {{ {_PASS} }} location ~* ^/{name} {{ deny all; }}")
    (said,) = (each for each in _left(report, "location ~*") if "upper and lower case" in each)
    assert f"(/{shown})" in said


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("internal;", _NOBODY),
        ("alias /x/; allow 10.0.0.0/8; deny all;", ["10.0.0.0/8"]),
    ],
)
def test_files_that_were_closed(tmp_path: Path, text: str, allowed: list[str]) -> None:
    site = f"location / {{ {_PASS} }} location "
    expose, _ = _import(tmp_path, f"{site} /userContent/ {{ {text} }}")
    assert _allowed(expose, "/userContent") == allowed
    # There is no such part of it.
    expose, report = _import(tmp_path, f"{site} /static/ {{ {text} }}")
    assert expose == []
    assert "it was closed there" in _left(report, "location /static/")[0]


@pytest.mark.parametrize("code", ["403", "444", "500", "503"])
def test_an_error_in_the_place_of_a_path_closes_it(tmp_path: Path, code: str) -> None:
    text = f"location / {{ {_PASS} }} location /cli/ {{ return {code}; }}"
    assert _import(tmp_path, text)[0] == ["all", {"paths": ["/cli"], "allow_from": _NOBODY}]


@pytest.mark.parametrize(
    ("around", "location", "is_open"),
    [
        ("/", "/script", True),
        ("/", "= /cli", True),
        ("/ci/", "/ci/script/", True),
        ("/", "/userContent/", False),
        ("/", "/static/", False),
        ("/", "= /50x.html", False),
        ("/ci/", "/script", False),
        ("/job/", "/job/x/", True),
        ("/job/", "/script/", False),
    ],
)
def test_files_in_the_place_of_what_jenkins_has(
    tmp_path: Path, around: str, location: str, is_open: bool
) -> None:
    text = f"location {around} {{ {_PASS} }} location {location} {{ root /var/empty; }}"
    _, report = _import(tmp_path, text)
    said = [each for each in _left(report, "location") if "as open as the rest" in each]
    assert len(said) == is_open


def test_files_before_what_is_passed_on_are_not_in_its_place(tmp_path: Path) -> None:
    _, report = _import(
        tmp_path,
        f"location / {{ {_PASS} }} location /job/ {{ root /x; try_files $uri @j; }}"
        f" location @j {{ {_PASS} }}",
    )
    assert not any("as open as the rest" in each for each in _left(report, "location"))


def test_a_part_is_compared_with_the_one_that_it_is_in(tmp_path: Path) -> None:
    expose, _ = _import(
        tmp_path,
        f"{_RESTRICTED} location / {{ {_PASS} }} location /job/ {{ allow all; {_PASS} }}"
        f" location /job/secret/ {{ {_PASS} }}",
    )
    assert _allowed(expose, "/job") is None
    assert _allowed(expose, "/job/secret") == ["10.0.0.0/8"]


def test_a_closed_path_in_a_part_of_a_route_without_a_whole(tmp_path: Path) -> None:
    expose, _ = _import(
        tmp_path, f"location /job/ {{ {_PASS} }} location /job/secret/ {{ deny all; }}"
    )
    assert expose == [{"paths": ["/job"]}, {"paths": ["/job/secret"], "allow_from": _NOBODY}]


def test_one_path_of_two_locations_is_for_those_whom_both_let_in(tmp_path: Path) -> None:
    expose, report = _import(
        tmp_path,
        f"location / {{ {_PASS} }} location /script {{ {_RESTRICTED} {_PASS} }}"
        " location ~ ^/script(/|$) { deny all; }",
    )
    assert _allowed(expose, "/script") == _NOBODY
    assert any("whom both let in" in note.reason for note in report.of(Fate.LEFT_OUT))


def test_rules_of_who_is_led_to_a_named_location(tmp_path: Path) -> None:
    made = imported(
        tmp_path,
        f"server {{ listen 127.0.0.1:80; location / {{ {_RESTRICTED} try_files $uri @j; }}"
        f" location @j {{ {_PASS} }} }}",
    )
    assert made.document["routes"][0]["allow_from"] == ["10.0.0.0/8"]
