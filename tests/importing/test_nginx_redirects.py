"""Which redirects are of everything that a server block gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.importing.nginx_redirects import answers_itself, find_redirect
from tests.importing.trees import server

_TO = "https://$host$request_uri"


@pytest.mark.parametrize(
    ("text", "around", "by_field"),
    [
        (f"return 301 {_TO};", None, False),
        (f"rewrite ^/(.*)$ {_TO} permanent;", None, False),
        (f"location / {{ return 301 {_TO}; }}", "location / {...}", False),
        (f"if ($scheme = http) {{ return 301 {_TO}; }}", "if ($scheme = http) {...}", False),
        (
            f"if ($http_x_forwarded_proto != https) {{ return 301 {_TO}; }}",
            "if ($http_x_forwarded_proto != https) {...}",
            True,
        ),
    ],
)
def test_ways_to_say_it(tmp_path: Path, text: str, around: str | None, by_field: bool) -> None:
    found = find_redirect(server(tmp_path, text))
    assert found is not None
    assert (found.redirect.port, found.by_field) == (443, by_field)
    assert (None if found.around is None else str(found.around)) == around


@pytest.mark.parametrize(
    "text",
    [
        "return 404;",
        f"rewrite ^/$ {_TO} permanent;",
        f"rewrite ^/old {_TO} permanent;",
        f"location /old {{ return 301 {_TO}; }}",
        f"if ($request_uri = /old) {{ return 301 {_TO}; }}",
        f"if ($host != a) {{ return 301 {_TO}; }}",
    ],
)
def test_what_is_none(tmp_path: Path, text: str) -> None:
    assert find_redirect(server(tmp_path, text)) is None


def test_what_no_location_is_reached_behind(tmp_path: Path) -> None:
    assert answers_itself(server(tmp_path, "return 444;"))
    assert answers_itself(server(tmp_path, "rewrite ^ http://a$request_uri;"))
    assert not answers_itself(server(tmp_path, "rewrite ^/$ /ci/ redirect;"))
    assert not answers_itself(server(tmp_path, "rewrite ^(.*)$ /ci$1;"))
    assert not answers_itself(server(tmp_path, f"if ($scheme = http) {{ return 301 {_TO}; }}"))
