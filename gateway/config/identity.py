"""Which key a controller must prove to own, as the file names it.

Owns: the spellings of ``controllers.*.agents.identity``: ``discover``, a public key, a file of one,
or what ``jenkins-secrets extract`` wrote.

Must not know: how a key is discovered or compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from gateway.config.base import resolve
from gateway.config.extracted import Extracted
from gateway.config.keys import PublicKey


def _read_identity(value: object, info: ValidationInfo) -> object:
    if value == "discover" or isinstance(value, PublicKey):
        return value
    if not isinstance(value, dict):
        return PublicKey.validate(value)
    kind = next(iter(value), None)
    if len(value) != 1 or kind not in {"file", "jenkins_secrets"} or type(value[kind]) is not str:
        raise ValueError("allowed: {file: PATH} or {jenkins_secrets: PATH} with nothing else in it")
    path = resolve(Path(value[kind]), info)
    if kind == "file":
        return PublicKey.read(path)
    identity = Extracted.read(path).identity
    if identity is None:
        raise ValueError(
            f"allowed: a file with an identity in it; {path} has none, because"
            " `remoting-gateway jenkins-secrets extract` found none"
        )
    return identity


def _one_key(name: str) -> dict[str, object]:
    return {
        "type": "object",
        "properties": {name: {"type": "string"}},
        "required": [name],
        "additionalProperties": False,
    }


Identity = Annotated[
    Literal["discover"] | PublicKey,
    BeforeValidator(_read_identity),
    WithJsonSchema(
        {
            "oneOf": [
                {"const": "discover"},
                PublicKey.json_schema,
                _one_key("file"),
                _one_key("jenkins_secrets"),
            ]
        }
    ),
]
