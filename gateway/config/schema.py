"""The JSON schema of the configuration file.

Owns: writing defaults as the file would have them (``20s``, not 20.0). Must not know: who reads it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from gateway.config.models import GatewayConfig
from gateway.config.values import SIZE_PATTERN, TextValue, format_duration, format_size


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        """Write a default as the file would; every float of the configuration is a duration."""
        if isinstance(dft, TextValue):
            return str(dft)
        return format_duration(dft) if isinstance(dft, float) else super().encode_default(dft)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Write a default; a whole number is a size where the key is one."""
        made = super().default_schema(schema)
        if made.get("pattern") == SIZE_PATTERN and isinstance(made.get("default"), int):
            return {**made, "default": format_size(made["default"])}
        return made


@cache
def config_schema() -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12); not to be changed, it is made once."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    found = GatewayConfig.model_json_schema(schema_generator=_Generator)
    return {"$schema": dialect, **found, "title": "gateway.yaml"}
