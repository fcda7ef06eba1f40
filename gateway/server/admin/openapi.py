"""The OpenAPI 3.1 document, made from the table of routes.

Owns: the document, and its route. What is not in the table is not in the document, and the reverse
but for routes that are for people (they have no ``answer``).

Must not know: what routes do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

from gateway import __version__
from gateway.server.admin.messages import JSON, PROBLEM, AdminRequest, Answer
from gateway.server.admin.routes import Access, Parameter, Route, Routes
from gateway.server.admin.schemas import SCHEMAS

PATH: Final = "/api/v1/openapi.json"
_REFS: Final = "#/components/schemas/{model}"
# What every protected route may answer, and every one that changes something.
_ALWAYS: Final = (400, 401, 421)
_CHANGES: Final = (403, 413, 415)
_REASONS: Final = {
    400: "The request is wrong.",
    401: "A token is needed.",
    403: "A page of another site asks.",
    404: "There is no such thing.",
    409: "It cannot be done as things are.",
    413: "The body is too big.",
    415: "The body is not JSON.",
    421: "It is asked for by a name that is not served.",
    503: "Not now.",
}


def openapi_route(routes: Routes) -> Route:
    """Return the route of the document, which is made when it is asked for."""

    async def handle(request: AdminRequest) -> Answer:
        return Answer.json(document(routes.all))

    summary = "This document"
    return Route("GET", PATH, "getOpenApi", summary, handle, "OpenApi", tag="gateway")


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the document of all routes that have an answer."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {**SCHEMAS, "OpenApi": {"type": "object"}}
    for route in routes:
        if route.answer is not None:
            made = _operation(route, schemas)
            paths.setdefault(route.path, {})[route.method.lower()] = made
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Remoting Gateway",
            "version": __version__,
            "summary": "Health and operation of a gateway for Jenkins",
            "description": (
                "Fields may be added within v1; none is taken away or changes its meaning. Times"
                " are ISO 8601 in UTC, durations seconds, sizes bytes."
            ),
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"password": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "Any user, the token as password: for browsers.",
                },
            },
        },
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [route.tag],
        "responses": _responses(route),
    }
    if route.description:
        made["description"] = route.description
    if route.access is Access.PUBLIC:
        made["security"] = [{}]
    if route.parameters:
        made["parameters"] = [_parameter(each) for each in route.parameters]
    if route.body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": _body(route.body, schemas)}},
        }
    return made


def _body(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_REFS)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    return {"$ref": _REFS.format(model=model.__name__)}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "path" if parameter.in_path else "query",
        "required": parameter.in_path,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _responses(route: Route) -> dict[str, Any]:
    answer = {JSON: {"schema": {"$ref": _REFS.format(model=route.answer)}}}
    found: dict[str, Any] = {str(route.status): {"description": "Done.", "content": answer}}
    protected = route.access is Access.PROTECTED
    statuses = {*route.problems, *(_ALWAYS if protected else (400, 421))}
    statuses |= set(_CHANGES if route.changes_something else ())
    for status in sorted(statuses):
        content = {PROBLEM: {"schema": {"$ref": _REFS.format(model="Problem")}}}
        if status == 503 and not protected:  # readiness says why in its own form
            content = answer
        found[str(status)] = {"description": _REASONS[status], "content": content}
    return found
