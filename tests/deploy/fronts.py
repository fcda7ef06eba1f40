"""What stands before the sidecar, and whether it fits: names, ports, hosts, trust, admission.

The facts about each platform (where its proxies connect from, how long they keep a connection that
is idle) are from its documentation. They stand here and not in the examples, which are held against
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from gateway.config.models import GatewayConfig
from tests.deploy.manifests import Manifest, container_of, of_kind, pod_of, the_only

FOLDER: Final = Path(__file__).parents[2] / "deploy/kubernetes"
Labels = Mapping[str, str]
# What says where requests go.
KINDS: Final = ("Ingress", "HTTPRoute", "Route")


@dataclass(frozen=True, slots=True)
class Front:
    """A platform's proxies. ``networks``: where connections come from, as the pod sees it;
    ``namespaces``: labels of theirs, where they are pods; ``keeps_idle``: seconds.
    """

    folder: Path
    kind: str
    networks: tuple[str, ...]
    namespaces: tuple[Labels, ...] = ()
    keeps_idle: float = 60.0
    reads_health: bool = False


FRONTS: Final[Mapping[str, Front]] = {
    "ingress-nginx": Front(
        FOLDER / "sidecar",
        "Ingress",
        ("10.244.0.0/16",),  # the example's pod network
        ({"kubernetes.io/metadata.name": "ingress-nginx"},),
    ),
    "gateway-api": Front(
        FOLDER / "in-front/gateway-api",
        "HTTPRoute",
        ("10.244.0.0/16",),
        ({"kubernetes.io/metadata.name": "envoy-gateway-system"},),
        keeps_idle=3600.0,
    ),
    # https://docs.cloud.google.com/load-balancing/docs/https/request-distribution
    "gke": Front(
        FOLDER / "in-front/gke",
        "Ingress",
        ("35.191.0.0/16", "130.211.0.0/22"),
        keeps_idle=600.0,
        reads_health=True,
    ),
    # https://docs.okd.io/latest/networking/network_security/network_policy/about-network-policy.html
    "openshift": Front(
        FOLDER / "in-front/openshift",
        "Route",
        ("10.128.0.0/14",),
        (
            {"policy-group.network.openshift.io/ingress": ""},
            {"policy-group.network.openshift.io/host-network": ""},
        ),
    ),
}


def misfits(front: Front, manifests: list[Manifest], config: GatewayConfig) -> list[str]:
    """Return what would keep requests, or health checks, from getting to the gateway."""
    found = [kind for kind in KINDS if of_kind(manifests, kind)]
    problems = [] if found == [front.kind] else [f"{found} instead of {front.kind}"]
    problems += [
        "listeners without TLS lead here, too"
        for route in of_kind(manifests, "HTTPRoute")
        if {each.get("sectionName") for each in route["spec"]["parentRefs"]} != {"https"}
    ]
    problems += _wrong_backends(manifests, config)
    problems += _wrong_hosts(manifests, config)
    problems += _not_trusted(front, config)
    problems += _not_admitted(front, manifests, config)
    if front.reads_health:
        problems += _wrong_health(manifests, config)
    if config.limits.idle_timeout <= front.keeps_idle:
        problems.append(f"idle connections are kept for {front.keeps_idle:g} s")
    return problems


def _backends(manifests: list[Manifest]) -> Iterator[tuple[str, int | str]]:
    """Yield name and port of each Service that something sends requests to."""
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield service["name"], service["port"].get("name", service["port"].get("number"))
    for route in of_kind(manifests, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                yield backend["name"], backend["port"]
    for route in of_kind(manifests, "Route"):
        yield route["spec"]["to"]["name"], route["spec"]["port"]["targetPort"]


def _wrong_backends(manifests: list[Manifest], config: GatewayConfig) -> Iterator[str]:
    backends = list(_backends(manifests))
    if not backends:
        yield "nothing leads to a Service"
    ports = {each["name"]: each["containerPort"] for each in container_of(manifests)["ports"]}
    labels = pod_of(manifests)["metadata"]["labels"]
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(manifests, "Service")}
    for name, port in backends:
        if name not in services:
            yield f"no Service {name}"
            continue
        if not services[name]["selector"].items() <= labels.items():
            yield f"Service {name} selects other pods"
        targets = [
            each["targetPort"]
            for each in services[name]["ports"]
            if port in (each["name"], each["port"])
        ]
        if [ports.get(each) for each in targets] != [config.listeners[0].address.port]:
            yield f"port {port} of {name} is not the listener's"


def _wrong_hosts(manifests: list[Manifest], config: GatewayConfig) -> Iterator[str]:
    known = {route.host for route in config.routes}
    for each in (one for kind in KINDS for one in of_kind(manifests, kind)):
        spec = each["spec"]
        named = [spec.get("host"), *spec.get("hostnames", ())]
        for part in ("rules", "tls"):
            for entry in spec.get(part, ()) if isinstance(spec.get(part), list) else ():
                named += [entry.get("host"), *entry.get("hosts", ())]
        if {host for host in named if host} != known:
            yield f"{each['kind']} is for {named}, the configuration for {known}"


def _not_trusted(front: Front, config: GatewayConfig) -> Iterator[str]:
    trusted = [ip_network(str(each)) for each in config.trusted_proxies]
    for network in map(ip_network, front.networks):
        if not any(_within(network, each) for each in trusted):
            yield f"{network} is not trusted"
    for listener in config.listeners:
        if listener.tls is not None:
            yield "it speaks plain HTTP, the listener TLS"


def _not_admitted(front: Front, manifests: list[Manifest], config: GatewayConfig) -> Iterator[str]:
    policy = the_only(manifests, "NetworkPolicy")["spec"]
    selected = policy["podSelector"]["matchLabels"]
    if not selected.items() <= pod_of(manifests)["metadata"]["labels"].items():
        yield "the policy is for other pods"
    wanted = {config.listeners[0].address.port}
    if front.reads_health and config.admin.listen.address is not None:
        wanted.add(config.admin.listen.address.port)
    ports = container_of(manifests)["ports"]
    for name in (each["name"] for each in ports if each["containerPort"] in wanted):
        rules = [
            rule for rule in policy["ingress"] if name in {each["port"] for each in rule["ports"]}
        ]
        peers = [peer for rule in rules for peer in rule["from"]]
        for labels in front.namespaces:
            if {"namespaceSelector": {"matchLabels": dict(labels)}} not in peers:
                yield f"pods of {labels} do not get to {name}"
        blocks = [ip_network(each["ipBlock"]["cidr"]) for each in peers if "ipBlock" in each]
        # Pods are let in by their namespace: their network holds others, too.
        for network in () if front.namespaces else map(ip_network, front.networks):
            if not any(_within(network, each) for each in blocks):
                yield f"{network} does not get to {name}"


def _wrong_health(manifests: list[Manifest], config: GatewayConfig) -> Iterator[str]:
    backend = the_only(manifests, "BackendConfig")
    names = {name for name, _ in _backends(manifests)}
    annotations: dict[str, str] = {}
    for service in of_kind(manifests, "Service"):
        if service["metadata"]["name"] in names:
            annotations |= service["metadata"].get("annotations", {})
    named = json.loads(annotations.get("cloud.google.com/backend-config", "{}"))
    if named != {"default": backend["metadata"]["name"]}:
        yield "the Service does not name the BackendConfig"
    if json.loads(annotations.get("cloud.google.com/neg", "{}")) != {"ingress": True}:
        yield "nodes are asked, not pods"
    written = backend["spec"].get("customRequestHeaders", {}).get("headers", ())
    if set(written) != {f"X-Forwarded-Host:{config.routes[0].host}", "X-Forwarded-Port:443"}:
        yield "clients may invent their X-Forwarded-Host"
    check: dict[str, Any] = backend["spec"]["healthCheck"]
    listen = config.admin.listen.address
    opened = {each["containerPort"] for each in container_of(manifests)["ports"]}
    if listen is None or check["port"] != listen.port or listen.port not in opened:
        yield f"nothing answers at port {check['port']}"
    if check["requestPath"] != "/readyz":
        yield f"{check['requestPath']} says nothing about the gateway"


def _within(network: Any, other: Any) -> bool:
    return network.version == other.version and bool(network.subnet_of(other))
