"""The sidecar as values for Jenkins' own chart: the same container, configuration and ingress as in
the example without Helm. The chart itself is another project's and not rendered here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from gateway.config.load import load
from tests.deploy.fronts import FOLDER
from tests.deploy.manifests import Manifest, container_of, kustomize, problems_of, the_only

VALUES: Final[dict[str, Any]] = yaml.safe_load(
    (FOLDER / "jenkins-chart/values.yaml").read_text("utf-8")
)
OBJECTS: Final[list[Manifest]] = VALUES["extraObjects"]
(CONTAINER,) = VALUES["controller"]["sidecars"]["additionalSidecarContainers"]


def test_the_container_is_the_sidecars() -> None:
    sidecar = container_of(kustomize(FOLDER / "sidecar"))
    own = {"ports", "volumeMounts"}
    # A port's name may be in a pod once, and the chart gives it to Jenkins' container.
    assert "ports" not in CONTAINER
    expected = {key: value for key, value in sidecar.items() if key not in own}
    expected["volumeMounts"] = [
        {**each, "name": f"gateway-{each['name']}"} for each in sidecar["volumeMounts"]
    ]
    assert expected == CONTAINER
    volumes = [each["name"] for each in VALUES["persistence"]["volumes"]]
    assert volumes == [each["name"] for each in CONTAINER["volumeMounts"]]


def test_the_configuration_is_the_sidecars(tmp_path: Path) -> None:
    text = the_only(OBJECTS, "ConfigMap")["data"]["gateway.yaml"]
    assert yaml.safe_load(text) == yaml.safe_load((FOLDER / "sidecar/gateway.yaml").read_text())
    (tmp_path / "gateway.yaml").write_text(text)
    assert load(tmp_path / "gateway.yaml").warnings == ()
    config = VALUES["persistence"]["volumes"][0]["configMap"]["name"]
    assert config == the_only(OBJECTS, "ConfigMap")["metadata"]["name"]


def test_the_ingress_leads_to_the_gateway(tmp_path: Path) -> None:
    sidecar = the_only(kustomize(FOLDER / "sidecar"), "Ingress")
    ingress = VALUES["controller"]["ingress"]
    assert ingress["annotations"] == sidecar["metadata"]["annotations"]
    assert ingress["tls"] == sidecar["spec"]["tls"]
    assert ingress["hostName"] == sidecar["spec"]["rules"][0]["host"]
    text = the_only(OBJECTS, "ConfigMap")["data"]["gateway.yaml"]
    (listener,) = yaml.safe_load(text)["listeners"]
    port = int(listener["address"].rpartition(":")[2])
    (path,) = ingress["paths"]
    assert path["backend"]["service"]["port"] == {"number": port}
    assert [each["port"] for each in VALUES["controller"]["extraPorts"]] == [port]
    assert VALUES["controller"]["terminationGracePeriodSeconds"] == 80


def test_nobody_but_the_ingress_gets_to_the_gateway() -> None:
    assert [problem for each in OBJECTS for problem in problems_of(each)] == []
    sidecar = the_only(kustomize(FOLDER / "sidecar"), "NetworkPolicy")["spec"]
    rules = the_only(OBJECTS, "NetworkPolicy")["spec"]["ingress"]
    (through,) = (rule for rule in rules if {"port": 8081} in rule["ports"])
    assert through == {"from": sidecar["ingress"][0]["from"], "ports": [{"port": 8081}]}
