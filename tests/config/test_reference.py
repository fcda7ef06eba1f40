"""The reference of the configuration has every key of the schema, once, and links that lead."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.config.reference import configuration_page
from gateway.config.schema import config_schema

_ROW = re.compile(
    r"^\| `(?P<key>[^`]+)` \| (?P<value>.+?) \| (?P<default>.+?) \| (?P<meaning>.+) \|$"
)


def _sections() -> dict[str, dict[str, re.Match[str]]]:
    """Return heading -> key -> row, as written on the page."""
    found: dict[str, dict[str, re.Match[str]]] = {}
    rows: dict[str, re.Match[str]] = {}
    for line in configuration_page().splitlines():
        if line.startswith("## "):
            rows = found.setdefault(line.removeprefix("## ").strip("`"), {})
        elif (row := _ROW.match(line)) is not None:
            assert row["key"] not in rows
            rows[row["key"]] = row
    return found


def _kinds() -> dict[str, dict[str, Any]]:
    schema = config_schema()
    return {"GatewayConfig": schema, **schema["$defs"]}


def test_every_kind_of_mapping_has_a_section_with_its_keys_in_order() -> None:
    written = [list(rows) for rows in _sections().values()]
    assert sorted(written) == sorted(list(kind["properties"]) for kind in _kinds().values())


def test_every_links_target_is_a_heading_of_its_own() -> None:
    page = configuration_page()
    anchors = [
        re.sub(r"[^a-z0-9_-]", "", heading.lower().replace(" ", "-"))
        for heading in re.findall("^## (.+)$", page, re.MULTILINE)
    ]
    assert len(anchors) == len(set(anchors))
    links = re.findall(r"\]\(#([^)]+)\)", page)
    assert len(links) > 20
    assert set(links) <= set(anchors)


@pytest.mark.parametrize(
    ("section", "key", "value", "default"),
    [
        ("Top level", "workers", "`auto` or 1 to 64", "`1`"),
        ("Top level", "controllers", "names with [`controllers.NAME`](#controllersname) each", ""),
        ("listeners[]", "address", "text", "required"),
        ("listeners[].tls.hsts", "max_age", "duration", "`365d`"),
        ("limits", "head", "size", "`32KiB`"),
        ("limits", "connections", "1 or more", "`16384`"),
        ("limits", "linger_time", "duration", "`30s`"),
        ("shutdown", "pre_stop", "duration", "`0s`"),
        ("routes[]", "expose", "", "`[all]`"),
        ("routes[]", "allow_from", "list of text, as `10.0.0.0/8`, `fd00::/8`", "-"),
        ("routes[]", "websockets", "`true`, `false`", "`true`"),
        ("admin", "tls", "[`listeners[].tls`](#listenerstls)", "-"),
        ("admin", "listen", "", "`unix`"),
        ("controllers.NAME.agents", "transport", "`auto`, `jnlp4`, `websocket`", "`auto`"),
        (
            "controllers.NAME.agents",
            "identity",
            "`discover` or base64 or `{file: ...}` or `{jenkins_secrets: ...}`",
            "`discover`",
        ),
    ],
)
def test_values_and_defaults_are_as_in_the_file(
    section: str, key: str, value: str, default: str
) -> None:
    row = _sections()[section][key]
    assert row["value"] == value or not value
    assert row["default"] == default or not default


def test_angle_brackets_and_stars_are_not_markdown() -> None:
    meaning = _sections()["controllers.NAME.health_check"]["path"]["meaning"]
    assert r"\<prefix>/login" in meaning
    assert r"X-Forwarded-\* headers" in _sections()["Top level"]["trusted_proxies"]["meaning"]
