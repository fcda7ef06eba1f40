"""The one table of what the admin listener serves.

Owns: finding a route by method and path, and reading its parameters. The OpenAPI document is made
from the same table, so what it says and what is served cannot differ.

Must not know: what the routes do, who may use them.

Paths are compared segment by segment and decoded afterwards, so that a node called ``a/b`` is
``a%2Fb`` in a path. A parameter that a route does not have is refused: it would be a typing error
without a trace.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, ValidationError

from gateway.server.admin.messages import JSON, AdminRequest, Answer, Problem

_LONGEST: Final = 1024  # characters of a value
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MOST_PARAMETERS: Final = 32

# None: the handler has answered by itself.
RouteHandler = Callable[[AdminRequest], Awaitable[Answer | None]]


class Access(Enum):
    """Who may use a route."""

    PUBLIC = "public"  # health: balancers and probes have no token
    PROTECTED = "protected"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter; ``schema`` has ``type`` (string, integer or boolean) and perhaps its bounds."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    in_path: bool = False

    def read(self, text: str) -> Any:
        """Return the value of ``text``. Raises Problem (400)."""
        kind = self.schema["type"]
        if kind == "boolean":
            if text not in ("true", "false"):
                raise self._refusal('"true" or "false"')
            return text == "true"
        if kind == "integer":
            return self._read_integer(text)
        allowed = self.schema.get("enum")
        if allowed is not None and text not in allowed:
            raise self._refusal(" or ".join(f'"{each}"' for each in allowed))
        if len(text) > _LONGEST:
            raise self._refusal(f"at most {_LONGEST} characters")
        return text

    def _read_integer(self, text: str) -> int:
        low, high = self.schema["minimum"], self.schema["maximum"]
        if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
            raise self._refusal(f"a whole number from {low} to {high}")
        return int(text)

    def _refusal(self, allowed: str) -> Problem:
        return Problem(400, "bad-parameter", f"{self.name}: allowed: {allowed}")


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. ``answer`` names a schema of the API, or is None outside of its document.

    ``content_types``: of a request's body, where there is one; the first is what is documented.
    ``problems``: the statuses that it answers besides those that every route may.
    """

    method: str
    path: str  # "/api/v1/nodes/{node}"
    operation: str
    summary: str
    handle: RouteHandler
    answer: str | None = None
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    access: Access = Access.PROTECTED
    status: int = 200
    tag: str = ""
    problems: tuple[int, ...] = ()
    content_types: tuple[str, ...] = (JSON,)
    streams: bool = False  # it goes on for as long as the client listens

    @property
    def changes_something(self) -> bool:
        """Say whether it does more than tell."""
        return self.method not in ("GET", "HEAD")

    def read_query(self, query: str) -> dict[str, Any]:
        """Return the query's values. Raises Problem (400)."""
        known = {each.name: each for each in self.parameters if not each.in_path}
        found: dict[str, Any] = {}
        pairs = [pair for pair in query.split("&") if pair]
        if len(pairs) > _MOST_PARAMETERS:
            raise Problem(400, "bad-parameter", f"at most {_MOST_PARAMETERS} parameters")
        for pair in pairs:
            raw, _, value = pair.partition("=")
            name = decode(raw.replace("+", " "))
            if name not in known:
                allowed = ", ".join(known) or "none"
                raise Problem(400, "bad-parameter", f"unknown parameter; allowed: {allowed}")
            if name in found:
                raise Problem(400, "bad-parameter", f"{name}: allowed: once")
            found[name] = known[name].read(decode(value.replace("+", " ")))
        return found

    def read_path(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return the values in the path. Raises Problem (400)."""
        known = {each.name: each for each in self.parameters if each.in_path}
        return {name: known[name].read(text) for name, text in values.items()}

    def read_body(self, data: bytes) -> BaseModel | None:
        """Return the body as the route's model. Raises Problem (400)."""
        if self.body is None:
            return None
        try:
            return self.body.model_validate_json(data or b"{}")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            # Names of keys are the caller's, too.
            where = ".".join(str(step)[:40] for step in first["loc"]) or "body"
            raise Problem(400, "bad-body", f"{where}: {first['msg']}") from None


class Routes:
    """All routes, by path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[tuple[str, ...], dict[str, Route]] = {}
        self.all: tuple[Route, ...] = ()
        self.add(routes)

    def add(self, routes: Iterable[Route]) -> None:
        """Add routes; ValueError for one that is there already."""
        for route in routes:
            methods = self._routes.setdefault(tuple(route.path.split("/")), {})
            if route.method in methods:
                raise ValueError(f"{route.method} {route.path} is there already")
            methods[route.method] = route
            self.all += (route,)

    def find(self, path: str) -> tuple[dict[str, Route], dict[str, str]] | None:
        """Return the methods of a raw path with what its variables are; None for an unknown path.

        Raises Problem (400) for a path that cannot be decoded.
        """
        segments = tuple(path.split("/"))
        exact = self._routes.get(segments)
        if exact is not None:
            return exact, {}
        for template, methods in self._routes.items():
            if len(template) == len(segments):
                values = _match(template, segments)
                if values is not None:
                    return methods, {name: decode(raw) for name, raw in values.items()}
        return None


def _match(template: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    values: dict[str, str] = {}
    for wanted, found in zip(template, segments, strict=True):
        if wanted.startswith("{") and found:
            values[wanted[1:-1]] = found
        elif wanted != found:
            return None
    return values


def decode(text: str) -> str:
    """Return a percent-decoded UTF-8 text. Raises Problem (400)."""
    if _BAD_ESCAPE.search(text):
        raise Problem(400, "bad-target", "a percent sign without two hexadecimal digits")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Problem(400, "bad-target", "the target is not UTF-8 behind its escapes") from None
