"""Which locations nginx never comes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.importing.nginx_choice import Choice
from gateway.importing.nginx_locations import locations_of
from gateway.importing.report import Report
from tests.importing.trees import left_out, server


@pytest.mark.parametrize(
    ("locations", "reached"),
    [
        (["/a/", "~ ^/"], ["/"]),
        (["/a/", "~ ^/a/"], ["/a"]),
        (["^~ /a/", "~ ^/a/"], ["/a/"]),
        (["= /a/", "~ ^/a/"], ["/a/", "/a"]),
        (["/a", "~ ^/a/"], ["/a", "/a"]),
        (["/a", "~ ^/a(/|$)"], ["/a", "/a"]),
        (["/a/", "~ ^/a(/|$)"], ["/a"]),
        (["/ab", "~ ^/a"], ["/a"]),
        (["/A/", "~* ^/a/"], ["/a"]),
        (["~ ^/a/", "~ ^/a/b/"], ["/a"]),
        (["~ ^/a/b/", "~ ^/a/"], ["/a/b", "/a"]),
        (["^~ /a", "~ ^/ab"], ["/a"]),
        (["^~ /a", "/ab/", "~ ^/ab"], ["/a", "/ab/"]),
        (["^~ /a", "/abc", "~ ^/ab"], ["/a", "/abc"]),
        (["/a/", "~ .*"], ["/"]),
        (["/a/", "~ [.]png$"], ["/a/", "[.]png$"]),
        (["@a", "~ ^/"], ["@a", "/"]),
    ],
)
def test_order(tmp_path: Path, locations: list[str], reached: list[str]) -> None:
    text = " ".join(f"location {each} {{ }}" for each in locations)
    found = Choice(locations_of(server(tmp_path, text))).reached
    assert [each.path for each in found] == reached


def test_nested_locations_come_first(tmp_path: Path) -> None:
    text = "location /a/ { location ~ ^/a/b/ { } location /a/c/ { } } location ~ ^/a/ { }"
    found = Choice(locations_of(server(tmp_path, text))).reached
    assert [each.path for each in found] == ["/a/b", "/a"]


def test_what_is_left_of_a_pattern(tmp_path: Path) -> None:
    text = "location ^~ /a { } location /a/b/c { } location ~ ^/a/b { deny all; }"
    found = Choice(locations_of(server(tmp_path, text))).reached
    assert [(each.path, bool(each.scope.own("deny"))) for each in found] == [
        ("/a", False),
        ("/a/b/c", True),
    ]


def test_both_fates_are_noted(tmp_path: Path) -> None:
    report = Report()
    text = "location ~ ^/a { } location /ab/ { } location ~ ^/(ac|d)/ { }"
    Choice(locations_of(server(tmp_path, text))).note(report)
    assert left_out(report) == ["location /ab/ {...}", "location ~ ^/(ac|d)/ {...}"]
