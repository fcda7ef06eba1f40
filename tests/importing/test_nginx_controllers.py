"""Controllers and routes: prefixes, upstreams, parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.importing.nginx_controllers import unique
from tests.importing.trees import document, imported, left_out


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/ { proxy_pass http://j:8080; }", "http://j:8080/"),
        ("/ { proxy_pass http://j:8080/; }", "http://j:8080/"),
        ("/ci { proxy_pass http://j:8080; }", "http://j:8080/ci/"),
        ("/ci/ { proxy_pass http://j:8080/ci/; }", "http://j:8080/ci/"),
        ("/ { proxy_pass http://j; }", "http://j:80/"),
        ("/ { proxy_pass http://[::1]:8080; }", "http://[::1]:8080/"),
    ],
)
def test_prefixes(tmp_path: Path, location: str, url: str) -> None:
    made = imported(tmp_path, f"server {{ listen 127.0.0.1:80; location {location} }}")
    assert made.document["controllers"] == {"j" if "//j" in location else "jenkins": {"url": url}}
    assert not [each for each in left_out(made.report) if each.startswith("proxy_pass")]


@pytest.mark.parametrize(
    ("location", "url", "hint"),
    [
        ("/ci/ { proxy_pass http://j:80/; }", "http://j:80/ci/", "--prefix=/ci"),
        ("/ { proxy_pass http://j:80/ci/; }", "http://j:80/ci/", "Jenkins is at /ci/"),
    ],
)
def test_paths_that_were_rewritten(tmp_path: Path, location: str, url: str, hint: str) -> None:
    made = imported(tmp_path, f"server {{ location {location} }}")
    assert made.document["controllers"]["j"]["url"] == url
    assert any(hint in note.reason for note in made.report.notes)


def test_parts_without_a_whole_expose_nothing_else(tmp_path: Path) -> None:
    made = document(
        tmp_path,
        "server { location /ci/github-webhook/ { proxy_pass http://j:8080; }"
        " location /ci/wsagents/ { proxy_pass http://j:8080; } }",
    )
    assert made["controllers"]["j"]["url"] == "http://j:8080/ci/"
    assert made["routes"][0]["expose"] == [{"paths": ["/wsagents", "/github-webhook"]}]


def test_upstreams(tmp_path: Path) -> None:
    made = imported(
        tmp_path,
        "upstream u { server b:1 backup; server a:2; server c:3 down; }"
        " server { location / { proxy_pass http://u; } }",
    )
    assert made.document["controllers"] == {
        "u": {"url": "http://a:2/", "addresses": ["a:2", "b:1"]}
    }
    assert not any("balanced" in note.reason for note in made.report.notes)


def test_the_upstream_of_a_stream_is_another(tmp_path: Path) -> None:
    made = document(
        tmp_path,
        "http { upstream u { server a:2; } server { location / { proxy_pass http://u; } } }"
        " stream { upstream u { server a:50000; } server { listen 50000; proxy_pass u; } }",
    )
    assert made["controllers"] == {"u": {"url": "http://a:2/"}}


def test_two_ways_for_one_host(tmp_path: Path) -> None:
    site = "server {{ listen {}; server_name x; location / {{ proxy_pass http://{}; }} }}"
    made = imported(tmp_path, site.format(80, "a") + site.format(81, "b"))
    assert [route["controller"] for route in made.document["routes"]] == ["a"]
    assert any("another way for host x" in note.reason for note in made.report.notes)
    assert list(made.document["controllers"]) == ["a"]


def test_of_a_block_that_lost_one_of_its_hosts_all_is_looked_at(tmp_path: Path) -> None:
    made = imported(
        tmp_path,
        "server { listen 80; server_name x; location / { proxy_pass http://a; } }"
        "server { listen 81; server_name x y; auth_basic z; location / { proxy_pass http://b; } }",
    )
    assert "auth_basic z" in left_out(made.report)


def test_a_part_whose_answers_begin_later(tmp_path: Path) -> None:
    text = "server {{ location / {{ proxy_pass http://j; proxy_read_timeout 100; }}"
    text += " location /a/ {{ proxy_pass http://j; proxy_read_timeout {}; }} }}"
    made = imported(tmp_path, text.format("1h"))
    assert made.document["routes"][0]["response_timeout"] == "100s"
    assert "proxy_read_timeout 1h" in left_out(made.report)
    assert "proxy_read_timeout 99" not in left_out(imported(tmp_path, text.format(99)).report)


def test_a_certificate_that_nobody_looked_at(tmp_path: Path) -> None:
    made = imported(tmp_path, "server { location / { proxy_pass https://j; } }")
    assert made.document["controllers"] == {"j": {"url": "https://j:443/"}}
    assert any("did not verify" in note.reason for note in made.report.notes)


@pytest.mark.parametrize(
    ("text", "names", "noted"),
    [
        ("location / { proxy_pass http://127.0.0.1:1; }", ["jenkins"], 0),
        (
            "location / { proxy_pass http://127.0.0.1:1; }"
            " location /jenkins/ { proxy_pass http://127.0.0.1:2; }"
            " location /wiki/ { proxy_pass http://127.0.0.1:3; }",
            ["root", "wiki", "jenkins"],
            2,
        ),
        (
            "server_name jenkins.example; location / { proxy_pass http://127.0.0.1:1; }"
            " location /wiki/ { proxy_pass http://w:3; }",
            ["jenkins", "w"],
            1,
        ),
    ],
)
def test_names_and_what_may_not_be_jenkins(
    tmp_path: Path, text: str, names: list[str], noted: int
) -> None:
    made = imported(tmp_path, f"server {{ listen 127.0.0.1:80; {text} }}")
    assert list(made.document["controllers"]) == names
    reasons = [note.reason for note in made.report.notes]
    assert sum("if it is not Jenkins" in each for each in reasons) == noted


def test_names_are_unique() -> None:
    assert unique("a", {"a", "a-2"}) == "a-3"
