"""Kubernetes manifests: made, validated, and asked about.

Shapes come from Kubernetes' own OpenAPI (schemas/kubernetes.json), those of others' kinds from
their documentation (schemas/others.yaml), with unknown fields as errors.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator

from tests.tools import require_tool

Manifest = dict[str, Any]
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_SCHEMAS: Final = Path(__file__).parent / "schemas" / "kubernetes.json"
# Kinds that are not Kubernetes' own.
_OTHERS: Final = Path(__file__).parent / "schemas" / "others.yaml"


@cache
def _schemas() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_SCHEMAS.read_text())
    return found


@cache
def _others() -> dict[str, Any]:
    """Return the schemas of others' kinds, closed, with the parts that all kinds have."""
    found: dict[str, Any] = {}
    for kind, schema in yaml.safe_load(_OTHERS.read_text("utf-8")).items():
        common = {
            "apiVersion": {"const": kind.rpartition("/")[0]},
            "kind": {"const": kind.rpartition("/")[2]},
            "metadata": {"$ref": f"#/$defs/{_META}"},
        }
        properties = {
            key: {"allOf": [common[key], value]} if key in common else value
            for key, value in _closed(schema)["properties"].items()
        }
        found[kind] = {
            "type": "object",
            "required": ["apiVersion", "kind", "metadata", *schema["required"]],
            "properties": {**common, **properties},
            "additionalProperties": False,
        }
    return found


def _closed(node: Any, *, where: str = "") -> Any:
    """Return a schema in which objects hold their properties and nothing else. In ``metadata``
    that is for annotations alone: the rest of it is Kubernetes'.
    """
    if isinstance(node, list):
        return [_closed(each, where=where) for each in node]
    if not isinstance(node, dict):
        return node
    made = {key: _closed(value, where=key) for key, value in node.items()}
    if "properties" in made and where != "metadata":
        made = {"type": "object", "additionalProperties": False, **made}
    return made


def problems_of(manifest: Manifest) -> list[str]:
    """Return what Kubernetes would not take; a kind that is not known is a problem, too."""
    kind = f"{manifest.get('apiVersion')}/{manifest.get('kind')}"
    schemas = _schemas()
    if kind in _others():
        schema = {**_others()[kind], "$defs": schemas["$defs"]}
    elif kind in schemas["kinds"]:
        schema = {"$ref": f"#/$defs/{schemas['kinds'][kind]}", "$defs": schemas["$defs"]}
    else:
        return [f"unknown kind {kind}"]
    errors = Draft202012Validator(schema).iter_errors(manifest)
    return [f"{kind}: {each.json_path}: {each.message[:200]}" for each in errors]


def kustomize(folder: Path) -> list[Manifest]:
    """Return what a folder comes to."""
    if shutil.which("kubectl") and not shutil.which("kustomize"):
        command = ["kubectl", "kustomize", str(folder)]
    else:
        command = [require_tool("kustomize"), "build", str(folder)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""  # what is deprecated
    return parse(done.stdout.decode())


def parse(text: str) -> list[Manifest]:
    """Return the manifests of a stream."""
    return [each for each in yaml.safe_load_all(text) if each is not None]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Return those of one kind."""
    return [each for each in manifests if each["kind"] == kind]


def the_only(manifests: list[Manifest], kind: str) -> Manifest:
    """Return the one of this kind."""
    (found,) = of_kind(manifests, kind)
    return found


def pod_of(manifests: list[Manifest]) -> Manifest:
    """Return the pod template of the Deployment or StatefulSet."""
    (workload,) = of_kind(manifests, "Deployment") + of_kind(manifests, "StatefulSet")
    template: Manifest = workload["spec"]["template"]
    return template


def container_of(manifests: list[Manifest], name: str = "gateway") -> Manifest:
    """Return a container of the pod."""
    (found,) = (each for each in pod_of(manifests)["spec"]["containers"] if each["name"] == name)
    assert isinstance(found, dict)
    return found
