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
        {"paths": ["/script", "/scriptText", "/scriptler"], "allow_from": _NOBODY},
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
    assert {"paths": ["/script", "/scriptler"], "allow_from": _NOBODY} in expose


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
    assert left_out(report)[1:] == []


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
