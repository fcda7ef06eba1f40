"""What every part of the configuration is made of: strict model, names, paths, certificate pairs.

Owns: that models are frozen and know no other keys, and what relative paths are relative to.

Must not know: which keys there are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
)

from gateway.config.values import FileContext

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)


def resolve(path: Path, info: ValidationInfo) -> Path:
    """Take relative paths from the configuration file's folder, wherever the gateway is started."""
    if not isinstance(info.context, FileContext):
        return path
    found = info.context.base / path
    info.context.named.add(found)
    return found


def _check_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            "allowed: up to 63 letters, digits and _ . - beginning with a letter or digit"
        )
    return text


FilePath = Annotated[Path, AfterValidator(resolve)]
Name = Annotated[
    str,
    AfterValidator(_check_name),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"}),
]


class Model(BaseModel):
    """A frozen part of the configuration; keys that it does not know are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CertificateConfig(Model):
    """One certificate with its key; both are PEM files."""

    certificate: FilePath = Field(
        description=(
            "The server's certificate, then its intermediates. Relative to the configuration file."
        )
    )
    key: FilePath = Field(description="Its private key, without passphrase.")
