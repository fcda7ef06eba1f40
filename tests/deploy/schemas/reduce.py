"""Make kubernetes.json: python -m tests.deploy.schemas.reduce FOLDER VERSION.

FOLDER is api/openapi-spec/v3 of the Go module k8s.io/kubernetes at VERSION (`go mod download`),
which is under the Apache License 2.0. What is kept are the shapes of the kinds below, without
descriptions.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

KINDS: Final = {
    "v1": (
        "api__v1",
        "io.k8s.api.core.v1",
        ("ConfigMap", "PersistentVolumeClaim", "Secret", "Service", "ServiceAccount"),
    ),
    "apps/v1": ("apis__apps__v1", "io.k8s.api.apps.v1", ("Deployment", "StatefulSet")),
    "autoscaling/v2": (
        "apis__autoscaling__v2",
        "io.k8s.api.autoscaling.v2",
        ("HorizontalPodAutoscaler",),
    ),
    "networking.k8s.io/v1": (
        "apis__networking.k8s.io__v1",
        "io.k8s.api.networking.v1",
        ("Ingress", "NetworkPolicy"),
    ),
    "policy/v1": ("apis__policy__v1", "io.k8s.api.policy.v1", ("PodDisruptionBudget",)),
}
_PREFIX: Final = "#/components/schemas/"


def reduce(folder: Path, version: str) -> dict[str, Any]:
    """Return one JSON schema with all definitions that the kinds need."""
    definitions: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    for api, (file, package, names) in KINDS.items():
        document = json.loads((folder / f"{file}_openapi.json").read_text())
        schemas = document["components"]["schemas"]
        for name in names:
            kinds[f"{api}/{name}"] = f"{package}.{name}"
            _collect(f"{package}.{name}", schemas, definitions)
    return {
        "$comment": f"k8s.io/kubernetes {version}, api/openapi-spec/v3; Apache License 2.0",
        "kinds": kinds,
        "$defs": dict(sorted(definitions.items())),
    }


def _collect(name: str, schemas: dict[str, Any], found: dict[str, Any]) -> None:
    if name in found:
        return
    found[name] = {}
    found[name] = _shape(schemas[name], schemas, found)
    # Unknown fields are what people get wrong, and what servers drop without a word.
    if "properties" in found[name]:
        found[name]["additionalProperties"] = False


def _shape(node: Any, schemas: dict[str, Any], found: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_shape(each, schemas, found) for each in node]
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            made[key] = {name: _shape(each, schemas, found) for name, each in value.items()}
        elif key == "$ref":
            name = value.removeprefix(_PREFIX)
            _collect(name, schemas, found)
            made[key] = f"#/$defs/{name}"
        elif key in ("type", "items", "required", "additionalProperties", "enum", "allOf", "oneOf"):
            made[key] = _shape(value, schemas, found)
    if node.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    return made


if __name__ == "__main__":
    target = Path(__file__).with_name("kubernetes.json")
    text = json.dumps(reduce(Path(sys.argv[1]), sys.argv[2]), separators=(",", ":"), sort_keys=True)
    target.write_text(text.replace('"io.k8s', '\n"io.k8s') + "\n")
