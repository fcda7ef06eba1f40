"""From a configuration file, or a command line, to a checked ``GatewayConfig``.

Owns: the way through reading, validation and checks, and the sentence for each thing that can be
wrong: ``file:line: key: found ...; allowed: ... remedy``. All problems are reported at once.

Must not know: what the configuration is used for.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from gateway.config.checks import check, suggest
from gateway.config.document import Document, Location, Problem, read_document
from gateway.config.models import (
    CertificateConfig,
    ControllerConfig,
    GatewayConfig,
    ListenerConfig,
    RouteConfig,
    TlsConfig,
)
from gateway.config.schema import config_schema
from gateway.config.values import Address, ControllerUrl, FileContext
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

_MAX_SHOWN: Final = 80  # characters of a found value
_CREDENTIALS: Final = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used, and what its author should know about it."""

    config: GatewayConfig
    warnings: tuple[str, ...]
    source: Path


def load(
    path: Path, *, environ: Mapping[str, str] = os.environ, named: set[Path] | None = None
) -> Loaded:
    """Read and check a configuration file.

    Raises ConfigError with one line per problem. Relative paths start from the folder of the name
    that the file was given, not of what a symbolic link there leads to: in Kubernetes that is
    another folder after each change. ``named`` gets the paths that the file names, also of a file
    that cannot be used.
    """
    document = read_document(path, environ=environ)
    context = FileContext(path.absolute().parent, set() if named is None else named)
    try:
        config = GatewayConfig.model_validate(document.data, context=context)
    except ValidationError as error:
        raise document.fail(_problems(error, document)) from None
    findings = check(config, now=datetime.now(UTC))
    if findings.errors:
        raise document.fail(findings.errors)
    return Loaded(config, tuple(map(document.report, findings.warnings)), path)


def for_single_controller(
    url: str, *, certificate: Path, key: Path, state_dir: Path, listen: str = "0.0.0.0:8443"
) -> GatewayConfig:
    """Make the configuration of ``run --controller URL``: one TLS listener, all else by default.

    Raises ConfigError when ``url`` or ``listen`` cannot be read.
    """
    pair = CertificateConfig(certificate=certificate, key=key)
    return GatewayConfig(
        state_dir=state_dir,
        listeners=(
            ListenerConfig(address=parse_listen(listen), tls=TlsConfig(certificates=(pair,))),
        ),
        controllers={"main": ControllerConfig(url=parse_controller(url))},
        routes=(RouteConfig(id="main", controller="main"),),
    )


def parse_controller(url: str) -> ControllerUrl:
    """Read the value of ``--controller``; ConfigError says what is allowed."""
    try:
        return ControllerUrl.parse(url)
    except ValueError as error:
        raise ConfigError(f"--controller: found {_show(url)}; {error}") from None


def parse_listen(address: str) -> Address:
    """Read the value of ``--listen``; ConfigError says what is allowed."""
    try:
        return Address.parse(address)
    except ValueError as error:
        raise ConfigError(f"--listen: found {_show(address)}; {error}") from None


def _problems(error: ValidationError, document: Document) -> Iterator[Problem]:
    for details in error.errors(include_url=False):
        # Tags of unions and "[key]" are pydantic's; what is left is a path through the file.
        location = tuple(step for step in details["loc"] if not str(step).startswith(("(", "[")))
        if details["type"] == "too_short" and document.value_at(location):
            continue  # the items are there, and wrong; each of them has its own problem
        yield Problem(location, _explain(details, location, document))


def _explain(details: ErrorDetails, location: Location, document: Document) -> str:
    kind = details["type"]
    context = details.get("ctx", {})
    if kind == "missing":
        return f"found nothing; required. {_schema_at(location)['description']}"
    if kind == "extra_forbidden":
        known = _keys_at(location[:-1])
        return f"unknown key; allowed: {', '.join(known)}." + suggest(str(location[-1]), known)
    is_key = details["loc"][-1:] == ("[key]",)
    found = f"found {_show(location[-1] if is_key else document.value_at(location))}"
    if kind == "value_error":
        return f"{found}; {context['error']}"
    if kind == "literal_error":
        words = re.findall("'([^']*)'", str(context["expected"]))
        allowed = " or ".join(f'"{word}"' for word in words)
        return f"{found}; allowed: {allowed}." + suggest(str(details["input"]), words)
    if kind == "model_type":
        return f"{found}; allowed: a mapping with {', '.join(_keys_at(location))}"
    return f"{found}; allowed: {_ALLOWED.get(kind, details['msg']).format(**context)}"


_ALLOWED: Final = {
    "bool_type": "true or false",
    "dict_type": "a mapping of name: value",
    "finite_number": "a finite number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge} or more",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than_equal": "{le} or less",
    "string_type": "text (in quotes, where it looks like something else)",
    "too_short": "at least one item",
    "tuple_type": "a list",
}


def _show(value: object) -> str:
    """Show a found value in JSON's spelling, cut to a line; a password in a URL is hidden."""
    if value is None:
        return "nothing"
    text = _CREDENTIALS.sub("//***@", json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _keys_at(location: Location) -> list[str]:
    """Return the keys that are allowed in the mapping at a location."""
    return list(_schema_at(location).get("properties", {}))


def _schema_at(location: Location) -> dict[str, Any]:
    """Walk the JSON schema along a location; nothing where the schema has none."""
    root = config_schema()

    def resolve(node: dict[str, Any]) -> dict[str, Any]:
        description = node.get("description")
        for union in ("anyOf", "oneOf"):
            # Only one member of each of our unions is a mapping; the others have nothing below.
            node = next((each for each in node.get(union, []) if "$ref" in each), node)
        if "$ref" in node:
            node = root["$defs"][node["$ref"].rpartition("/")[2]]
        return {**node, "description": description or node.get("description", "")}

    node = resolve(root)
    for step in location:
        if isinstance(step, int):
            below = node.get("items", {})
        else:
            (any_name,) = node.get("patternProperties", {"": {}}).values()
            below = node.get("properties", {}).get(step, any_name)
        node = resolve(below)
    return node
