"""That the validator sees what is wrong."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.manifests import parse, problems_of, the_only

SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "a"},
    "spec": {"ports": [{"port": 80, "targetPort": "http"}]},
}


def test_a_good_one() -> None:
    assert problems_of(SERVICE) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"spec": {"prots": []}}, "'prots' was unexpected"),
        ({"spec": {"ports": [{"port": "80"}]}}, "'80' is not of type 'integer'"),
        ({"spec": {"ports": [{}]}}, "'port' is a required property"),
        ({"kind": "Sevice"}, "unknown kind v1/Sevice"),
    ],
)
def test_what_is_wrong(change: dict[str, Any], expected: str) -> None:
    (problem,) = problems_of({**SERVICE, **change})
    assert expected in problem


def in_front(file: str, kind: str) -> dict[str, Any]:
    """Return a manifest of deploy/kubernetes/in-front."""
    path = Path(__file__).parents[2] / "deploy/kubernetes/in-front" / file
    return the_only(parse(path.read_text("utf-8")), kind)


def change(manifest: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return a copy with a value in another place, or another value; ``path``: between commas."""
    made = copy.deepcopy(manifest)
    node: Any = made
    *way, last = (int(key) if key.isdecimal() else key for key in path.split(","))
    for key in way:
        node = node[key]
    node[last] = value
    return made


GKE: Final = ("gke/ingress.yaml", "BackendConfig")
OPENSHIFT: Final = ("openshift/route.yaml", "Route")
ENVOY: Final = ("gateway-api/envoy-gateway.yaml", "ClientTrafficPolicy")
HTTP_ROUTE: Final = ("gateway-api/httproute.yaml", "HTTPRoute")


@pytest.mark.parametrize("which", [GKE, OPENSHIFT, ENVOY, HTTP_ROUTE])
def test_others_kinds(which: tuple[str, str]) -> None:
    assert problems_of(in_front(*which)) == []


@pytest.mark.parametrize(
    ("which", "path", "value", "expected"),
    [
        (GKE, "spec,timeoutSecs", 1, "'timeoutSecs' was unexpected"),
        (GKE, "spec,timeoutSec", "86400", "'86400' is not of type 'integer'"),
        (GKE, "spec,healthCheck,path", "/x", "'path' was unexpected"),
        (GKE, "spec,healthCheck,requestPath", "readyz", "'readyz' does not match"),
        (GKE, "spec,healthCheck,type", "TCP", "'TCP' is not one of"),
        (GKE, "metadata,anotations", {}, "'anotations' was unexpected"),
        (GKE, "status", {}, "'status' was unexpected"),
        (OPENSHIFT, "spec,tls,termination", "terminate", "'terminate' is not one of"),
        (OPENSHIFT, "spec,tls,insecure", "Redirect", "'insecure' was unexpected"),
        (OPENSHIFT, "spec,to,kind", "Pod", "'Service' was expected"),
        (OPENSHIFT, "spec,port", {"port": 80}, "'targetPort' is a required property"),
        (
            OPENSHIFT,
            "metadata,annotations,haproxy.router.openshift.io/timeout",
            "120",
            "'120' does not match",
        ),
        (
            OPENSHIFT,
            "metadata,annotations,haproxy.router.openshift.io/timeout_tunnel",
            "5m",
            "_tunnel' was unexpected",
        ),
        (ENVOY, "spec,path,escapedSlashes", "KeepUnchanged", "'escapedSlashes' was unexpected"),
        (ENVOY, "spec,path,escapedSlashesAction", "Keep", "'Keep' is not one of"),
        (HTTP_ROUTE, "spec,rules,0,timeouts,request", "1d", "'1d' does not match"),
        (HTTP_ROUTE, "spec,rules,0,timeout", "0s", "'timeout' was unexpected"),
        (HTTP_ROUTE, "spec,rules,0,backendRefs,0,port", "http", "'http' is not of type"),
    ],
)
def test_what_is_wrong_with_others_kinds(
    which: tuple[str, str], path: str, value: object, expected: str
) -> None:
    problems = problems_of(change(in_front(*which), path, value))
    assert any(expected in each for each in problems), problems
