"""The reference says all that the document says."""

from __future__ import annotations

import re
from typing import cast

from gateway.server.admin.composition import admin_routes
from gateway.server.admin.reference import api_reference
from gateway.server.admin.schemas import SCHEMAS
from gateway.server.operations import Operations


def test_every_route_and_field_is_there_and_no_other_route() -> None:
    text = api_reference()
    routes = {
        f"{route.method} {route.path}"
        for route in admin_routes(cast("Operations", None)).all
        if route.answer is not None
    }
    assert set(re.findall(r"^## `(.+)`$", text, re.M)) == routes
    for name, schema in SCHEMAS.items():
        assert f"### {name}\n" in text
        for field in schema["properties"]:
            assert f"`{field}`" in text, (name, field)


def test_every_link_leads_somewhere() -> None:
    text = api_reference()
    titles = {title.lower() for title in re.findall(r"^### (.+)$", text, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= titles


def test_tables_are_tables() -> None:
    for line in api_reference().splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 4, line
