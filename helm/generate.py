"""What the chart has from elsewhere: python -m helm.generate writes it anew, a test compares.

Owns: values.schema.json, made of the configuration's own schema and of the chart's keys below,
VALUES.md (``values_page``), and the copies of alert rules and dashboard, since a chart can only
read its own folder.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Final

from gateway.config.schema import config_schema
from helm.values_page import values_page

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "helm" / "remoting-gateway"
COPIES: Final = {
    ROOT / "deploy/prometheus/alerts.yml": CHART / "files/alerts.yml",
    ROOT / "deploy/grafana/remoting-gateway.json": CHART / "files/dashboard.json",
}
# What the chart writes into gateway.yaml itself.
OWN: Final = ("listeners", "admin", "state_dir")

Schema = dict[str, Any]
_TEXT: Final[Schema] = {"type": "string"}
_SWITCH: Final[Schema] = {"type": "boolean"}
_ANY_OBJECT: Final[Schema] = {"type": "object"}
_OBJECTS: Final[Schema] = {"type": "array", "items": _ANY_OBJECT}
_TEXTS: Final[Schema] = {"type": "array", "items": _TEXT}
_WORDS: Final[Schema] = {"type": "object", "additionalProperties": _TEXT}
_PORT: Final[Schema] = {"type": "integer", "minimum": 1024, "maximum": 65535}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 1}
_AMOUNT: Final[Schema] = {"type": ["integer", "string", "null"]}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _monitor() -> Schema:
    return _object(enabled=_SWITCH, interval=_TEXT, scrapeTimeout=_TEXT, labels=_WORDS)


def _values(config: Schema, listener: Schema) -> Schema:
    return _object(
        config=config,
        listener=_object(
            host={"type": "string", "pattern": r"^[0-9A-Fa-f.:]+$"}, port=_PORT, settings=listener
        ),
        tls=_object(
            enabled=_SWITCH,
            existingSecret=_TEXT,
            certManager=_object(
                enabled=_SWITCH,
                issuerRef=_ANY_OBJECT,
                dnsNames=_TEXTS,
                duration=_TEXT,
                renewBefore=_TEXT,
            ),
        ),
        image=_object(
            registry=_TEXT,
            repository={"type": "string", "minLength": 1},
            tag=_TEXT,
            digest={"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
            pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
        ),
        imagePullSecrets=_OBJECTS,
        nameOverride=_TEXT,
        fullnameOverride=_TEXT,
        replicaCount={"type": "integer", "minimum": 0},
        rollOnConfigChange=_SWITCH,
        service=_object(
            type={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
            port={"type": ["integer", "null"], "minimum": 1, "maximum": 65535},
            nodePort={"type": ["integer", "null"], "minimum": 1, "maximum": 65535},
            annotations=_WORDS,
            externalTrafficPolicy={"enum": ["", "Cluster", "Local"]},
            ipFamilyPolicy={"enum": ["", "SingleStack", "PreferDualStack", "RequireDualStack"]},
            ipFamilies={"type": "array", "items": {"enum": ["IPv4", "IPv6"]}},
            loadBalancerClass=_TEXT,
            loadBalancerSourceRanges=_TEXTS,
        ),
        admin=_object(enabled=_SWITCH, port=_PORT, existingSecret=_TEXT),
        serviceAccount=_object(create=_SWITCH, name=_TEXT, annotations=_WORDS, automount=_SWITCH),
        persistence=_object(
            enabled=_SWITCH,
            existingClaim=_TEXT,
            storageClass=_TEXT,
            size=_TEXT,
            accessModes=_TEXTS,
            annotations=_WORDS,
        ),
        ingress=_object(
            enabled=_SWITCH,
            className=_TEXT,
            annotations=_WORDS,
            hosts={
                "type": "array",
                "items": {**_object(host=_TEXT, paths=_TEXTS), "required": ["host"]},
            },
            tls=_OBJECTS,
        ),
        httpRoute=_object(
            enabled=_SWITCH, annotations=_WORDS, parentRefs=_OBJECTS, hostnames=_TEXTS
        ),
        podDisruptionBudget=_object(enabled=_SWITCH, minAvailable=_AMOUNT, maxUnavailable=_AMOUNT),
        autoscaling=_object(
            enabled=_SWITCH,
            minReplicas=_COUNT,
            maxReplicas=_COUNT,
            targetCPUUtilizationPercentage={"type": ["integer", "null"]},
            targetMemoryUtilizationPercentage={"type": ["integer", "null"]},
        ),
        networkPolicy=_object(enabled=_SWITCH, **{"from": _OBJECTS}, adminFrom=_OBJECTS),
        metrics=_object(
            serviceMonitor=_monitor(),
            podMonitor=_monitor(),
            prometheusRule=_object(enabled=_SWITCH, labels=_WORDS),
            dashboard=_object(enabled=_SWITCH, labels=_WORDS, annotations=_WORDS),
        ),
        resources=_ANY_OBJECT,
        podAnnotations=_WORDS,
        podLabels=_WORDS,
        podSecurityContext=_ANY_OBJECT,
        securityContext=_ANY_OBJECT,
        nodeSelector=_WORDS,
        tolerations=_OBJECTS,
        affinity=_ANY_OBJECT,
        priorityClassName=_TEXT,
        topologySpreadConstraints=_OBJECTS,
        extraEnvs=_OBJECTS,
        extraEnvFrom=_OBJECTS,
        extraVolumes=_OBJECTS,
        extraVolumeMounts=_OBJECTS,
        extraObjects=_OBJECTS,
        # What Helm adds where the chart is another one's part.
        **{"global": _ANY_OBJECT, "enabled": _SWITCH},
    )


def values_schema() -> Schema:
    """Return the schema of values.yaml. Draft 7, which every Helm 3 reads."""
    config = copy.deepcopy(config_schema())
    definitions = config.pop("$defs")
    for key in ("$schema", "title"):
        config.pop(key)
    for name in OWN:
        del config["properties"][name]
    # The chart says by itself, and better, that there are none.
    config["required"] = [name for name in config["required"] if name not in (*OWN, "controllers")]
    config["properties"]["controllers"].pop("minProperties", None)
    listener = copy.deepcopy(definitions["ListenerConfig"])
    del listener["properties"]["address"]
    listener["required"] = [name for name in listener["required"] if name != "address"]
    tls = copy.deepcopy(definitions["TlsConfig"])
    del tls["properties"]["certificates"]
    tls["required"] = [name for name in tls["required"] if name != "certificates"]
    listener["properties"]["tls"] = tls
    del definitions["ListenerConfig"]
    made = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart remoting-gateway",
        **_values(config, listener),
        "$defs": definitions,
    }
    return {**made, "$defs": _reachable(made)}


def _reachable(schema: Schema) -> Schema:
    """Return the definitions that are used."""
    found: Schema = {}
    left = [{key: value for key, value in schema.items() if key != "$defs"}]
    while left:
        for name in _references(left.pop()):
            if name not in found:
                found[name] = schema["$defs"][name]
                left.append(found[name])
    return dict(sorted(found.items()))


def _references(node: object) -> set[str]:
    if isinstance(node, dict):
        here = {str(node["$ref"]).rpartition("/")[2]} if "$ref" in node else set()
        return here.union(*(_references(each) for each in node.values()))
    if isinstance(node, list):
        return set[str]().union(*(_references(each) for each in node))
    return set()


def generated() -> dict[Path, str]:
    """Return what the files have to hold; copies only where there is an original."""
    schema = json.dumps(values_schema(), indent=2, ensure_ascii=False) + "\n"
    copies = {
        target: source.read_text("utf-8") for source, target in COPIES.items() if source.exists()
    }
    page = values_page((CHART / "values.yaml").read_text("utf-8"))
    return {CHART / "values.schema.json": schema, CHART / "VALUES.md": page, **copies}


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, "utf-8")
