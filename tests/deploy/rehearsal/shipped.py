"""What the examples ship, for a rehearsal on loopback: taken from their files, nothing retyped.

Owns: which words of them are a place's own (addresses, names of files) and are replaced, each of
which must be there exactly once; and how the pods of the edge's Deployment are run.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.config.models import CertificateConfig
from tests.deploy.manifests import container_of, parse, pod_of

_DEPLOY: Final = Path(__file__).parents[3] / "deploy"
_FOLDER: Final = _DEPLOY / "kubernetes"
HOST: Final = "jenkins.example.com"


@dataclass(frozen=True)
class Pod:
    """How Kubernetes runs the gateway: ``args`` and ``probe`` without the program's name."""

    replicas: int
    args: tuple[str, ...]
    probe: tuple[str, ...]
    grace: float
    strategy: Mapping[str, int]


def pod() -> Pod:
    """Return what deploy/kubernetes/edge/deployment.yaml says."""
    manifests = parse((_FOLDER / "edge/deployment.yaml").read_text("utf-8"))
    (deployment,) = (each for each in manifests if each["kind"] == "Deployment")
    container = container_of([deployment])
    program, *probe = container["readinessProbe"]["exec"]["command"]
    assert program == "remoting-gateway"
    return Pod(
        replicas=deployment["spec"]["replicas"],
        args=tuple(container["args"]),
        probe=tuple(probe),
        grace=pod_of([deployment])["spec"]["terminationGracePeriodSeconds"],
        strategy=deployment["spec"]["strategy"]["rollingUpdate"],
    )


def nginx_server(listen: str, upstreams: Sequence[str], pair: CertificateConfig) -> str:
    """Return deploy/systemd/in-front/nginx.conf in front of ``upstreams``."""
    text = (_DEPLOY / "systemd/in-front/nginx.conf").read_text("utf-8")
    places = {
        "listen 443 ssl;": f"listen {listen} ssl;",
        "server 127.0.0.1:8081;": " ".join(f"server {each};" for each in upstreams),
        "/etc/nginx/tls.crt": str(pair.certificate),
        "/etc/nginx/tls.key": str(pair.key),
    }
    for old, new in places.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def gateway_config(
    address: str, ingress: str, controllers: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    """Return deploy/kubernetes/sidecar/gateway.yaml, the one for behind an ingress, listening on
    ``address`` and trusting ``ingress``.

    ``controllers``: url and agent port by name. The example has one; each is a copy of it, below
    a path of its own.
    """
    config = yaml.safe_load((_FOLDER / "sidecar/gateway.yaml").read_text("utf-8"))
    edge = yaml.safe_load((_FOLDER / "edge/gateway.yaml").read_text("utf-8"))
    assert config["shutdown"] == edge["shutdown"], "the pods are the edge's"
    (listener,), (example,), (route,) = (
        config["listeners"],
        config["controllers"].values(),
        config["routes"],
    )
    assert (listener["address"], route["host"]) == ("0.0.0.0:8081", HOST)
    listener["address"] = address
    config["trusted_proxies"] = [ingress]
    config["controllers"], config["routes"] = {}, []
    for name, (url, agent_port) in controllers.items():
        made = copy.deepcopy(example)
        made |= {"url": url, "jenkins_url": f"https://{HOST}/{name}/"}
        made["agents"]["address"] = agent_port
        config["controllers"][name] = made
        config["routes"].append({**route, "id": name, "path": f"/{name}", "controller": name})
    return dict(config)
