"""The API for people: Markdown made from the table of routes.

Owns: how the reference looks. What it says is in ``openapi``'s document, so it cannot say anything
else. Must not know: where it is written to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

from gateway.server.admin.composition import admin_routes
from gateway.server.admin.openapi import PATH, document
from gateway.server.operations import Operations

_HEAD: Final = f"""# Admin API

Served by the admin listener (`admin.listen`), and described for programs at `{PATH}` (OpenAPI 3.1).
Questions are `GET`. What changes something is `POST` with `Content-Type: application/json`, from
no other site's page. With a token every request but health needs `Authorization: Bearer TOKEN`, or
Basic with the token as password. Problems are `application/problem+json` (RFC 9457).
"""
_WITHOUT_FIELDS: Final = {"OpenApi": "the document", "Nothing": "an empty object, or none"}


def api_reference() -> str:
    """Return the reference of all routes that the document has, in Markdown."""
    # Routes are only looked at: nobody is asked for anything.
    made = document(admin_routes(cast("Operations", None)).all)
    lines = [_HEAD]
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            lines += _operation(f"{method.upper()} {path}", operation)
    lines.append("## Forms\n")
    for name, schema in sorted(made["components"]["schemas"].items()):
        if schema.get("properties"):
            lines += _form(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def _operation(title: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"## `{title}`\n"
    yield " ".join([f"{operation['summary']}.", operation.get("description", "")]).rstrip() + "\n"
    if "parameters" in operation:
        yield "| parameter | in | what |\n|---|---|---|"
        for each in operation["parameters"]:
            yield _row(f"`{each['name']}`", each["in"], _with_bounds(each))
        yield ""
    if "requestBody" in operation:
        yield f"Body: {_named(operation['requestBody']['content'])}.\n"
    answers = [
        f"{status} {_named(answer['content'])}" for status, answer in operation["responses"].items()
    ]
    yield f"Answers: {', '.join(answers)}.\n"


def _with_bounds(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    text = str(parameter["description"])
    if "enum" in schema:
        text += f" One of {', '.join(schema['enum'])}."
    if "minimum" in schema:
        text += f" From {schema['minimum']} to {schema['maximum']}."
    return text


def _named(content: dict[str, Any]) -> str:
    (form,) = content.values()
    name = form["schema"]["$ref"].rpartition("/")[2]
    return _WITHOUT_FIELDS.get(name) or f"[{name}](#{name.lower()})"


def _form(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"{' '.join(schema.get('description', '').split())}\n"
    yield "| field | type | what |\n|---|---|---|"
    yield from _fields("", schema)
    yield ""


def _fields(above: str, schema: dict[str, Any]) -> Iterator[str]:
    for name, each in schema.get("properties", {}).items():
        yield _row(f"`{above}{name}`", _type(each), each.get("description", ""))
        inner = each.get("items", each)
        yield from _fields(f"{above}{name}{'[]' if 'items' in each else ''}.", inner)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return _named({"": {"schema": schema}})
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "const" in schema:
        return str(schema["const"]).lower()
    if "enum" in schema:
        return " or ".join(schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
