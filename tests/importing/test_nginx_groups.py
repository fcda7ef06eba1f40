"""Where nginx gave Jenkins other paths than it was asked for: each of them is noted."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.importing.report import Fate
from tests.importing.trees import imported


def _rewritten(folder: Path, text: str) -> tuple[str, list[str]]:
    made = imported(folder, f"server {{ listen 127.0.0.1:80; {text} }}")
    reasons = [note.reason for note in made.report.of(Fate.LEFT_OUT)]
    (controller,) = made.document["controllers"].values()
    return controller["url"], [each for each in reasons if "not rewritten" in each]


@pytest.mark.parametrize(
    ("text", "url", "word"),
    [
        (
            "location / { proxy_pass http://j:1; } location /a/ { proxy_pass http://j:1/b/; }",
            "http://j:1/",
            "no more for /b/",
        ),
        (
            "location /ci/ { rewrite ^/ci/(.*)$ /$1 break; proxy_pass http://j:1; }",
            "http://j:1/ci/",
            "--prefix=/ci",
        ),
        ("location ~ ^/ci/(.*)$ { proxy_pass http://j:1/$1; }", "http://j:1/ci/", "--prefix=/ci"),
    ],
)
def test_paths_that_were_rewritten(tmp_path: Path, text: str, url: str, word: str) -> None:
    found, reasons = _rewritten(tmp_path, text)
    assert found == url
    assert len(reasons) == 1
    assert word in reasons[0]


@pytest.mark.parametrize(
    "text",
    [
        "location / { proxy_pass http://j:1; } location = /a { proxy_pass http://j:1/a/; }",
        "location /ci { proxy_pass http://j:1/ci; } location /ci/a/ { proxy_pass http://j:1; }",
        "location /ci/ { proxy_pass http://j:1$request_uri; }",
        "location ~ ^/ci/(.*)$ { proxy_pass http://j:1/ci/$1$is_args$args; }",
    ],
)
def test_paths_that_stay(tmp_path: Path, text: str) -> None:
    assert _rewritten(tmp_path, text)[1] == []


def test_a_hook_beside_the_prefix_makes_no_controller(tmp_path: Path) -> None:
    url, reasons = _rewritten(
        tmp_path,
        "location /ci/ { proxy_pass http://j:1/ci/; }"
        " location /github-webhook/ { proxy_pass http://j:1/ci/github-webhook/; }",
    )
    assert url == "http://j:1/ci/"
    assert len(reasons) == 1
    assert "ask for /ci/github-webhook/" in reasons[0]


def test_two_things_to_say_of_one_directive_are_both_said(tmp_path: Path) -> None:
    made = imported(tmp_path, "server { location /ci/ { proxy_pass https://j/; } }")
    reasons = [n.reason for n in made.report.of(Fate.LEFT_OUT) if n.text.startswith("proxy_pass")]
    assert any("--prefix=/ci" in each for each in reasons)
    assert any("did not verify" in each for each in reasons)


def test_ways_are_bounded(tmp_path: Path) -> None:
    names = " ".join(f"h{i}.example" for i in range(2001))
    with pytest.raises(ConfigError, match="more than 2000 routes"):
        imported(
            tmp_path, f"server {{ server_name {names}; location / {{ proxy_pass http://j; }} }}"
        )
