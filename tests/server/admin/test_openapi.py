"""The document is valid, and says what is served: every path of it exists, and the reverse."""

from __future__ import annotations

import json
from typing import Any, cast

from openapi_spec_validator import validate

from gateway.server.admin.composition import admin_routes
from gateway.server.admin.openapi import PATH, document
from gateway.server.admin.routes import Access
from gateway.server.admin.schemas import SCHEMAS
from gateway.server.operations import Operations
from tests.server.admin.asking import serving

NOBODY = cast("Operations", None)


def made() -> dict[str, Any]:
    return document(admin_routes(NOBODY).all)


def test_it_is_valid() -> None:
    validate(made())


def test_every_route_is_in_it_and_nothing_else() -> None:
    routes = {
        (route.method.lower(), route.path)
        for route in admin_routes(NOBODY).all
        if route.answer is not None
    }
    found = {(method, path) for path, methods in made()["paths"].items() for method in methods}
    assert found == routes
    assert ("get", "/api/v1/sessions") in routes


def test_every_path_of_it_is_served() -> None:
    routes = admin_routes(NOBODY)
    for path, methods in made()["paths"].items():
        found = routes.find(path.replace("{", "").replace("}", ""))
        assert found is not None, path
        assert {each.lower() for each in found[0]} == set(methods)


def test_every_schema_is_used_and_every_operation_has_a_name_of_its_own() -> None:
    text = json.dumps(made())
    for name in SCHEMAS:
        assert f'"#/components/schemas/{name}"' in text, name
    operations = [route.operation for route in admin_routes(NOBODY).all]
    assert len(set(operations)) == len(operations)


def test_only_health_is_for_everybody() -> None:
    public = {r.path for r in admin_routes(NOBODY).all if r.access is Access.PUBLIC}
    assert public == {"/healthz", "/readyz"}


def test_parameters_of_paths_are_described() -> None:
    for route in admin_routes(NOBODY).all:
        named = {part[1:-1] for part in route.path.split("/") if part.startswith("{")}
        assert named == {each.name for each in route.parameters if each.in_path}


async def test_it_is_served() -> None:
    async with serving(routes=admin_routes(NOBODY).all) as admin:
        found = await admin.ask(target=PATH)
    assert found.status == 200
    assert found.json == json.loads(json.dumps(made()))
