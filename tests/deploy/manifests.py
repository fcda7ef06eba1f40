"""Kubernetes manifests: made, validated, and asked about.

Shapes come from Kubernetes' own OpenAPI (schemas/kubernetes.json), with unknown fields as errors.
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
_SCHEMAS: Final = Path(__file__).parent / "schemas" / "kubernetes.json"
# Kinds that are not Kubernetes' own; who has them installed validates them.
FOREIGN: Final = frozenset(
    {
        "cert-manager.io/v1/Certificate",
        "cloud.google.com/v1/BackendConfig",
        "gateway.networking.k8s.io/v1/HTTPRoute",
        "monitoring.coreos.com/v1/PrometheusRule",
        "monitoring.coreos.com/v1/ServiceMonitor",
        "route.openshift.io/v1/Route",
    }
)


@cache
def _schemas() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_SCHEMAS.read_text())
    return found


def problems_of(manifest: Manifest) -> list[str]:
    """Return what Kubernetes would not take; a kind that is not known is a problem, too."""
    kind = f"{manifest.get('apiVersion')}/{manifest.get('kind')}"
    if kind in FOREIGN:
        return []
    schemas = _schemas()
    if kind not in schemas["kinds"]:
        return [f"unknown kind {kind}"]
    schema = {"$ref": f"#/$defs/{schemas['kinds'][kind]}", "$defs": schemas["$defs"]}
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
