"""The kustomize examples: Kubernetes takes them, the gateway takes their configuration, the parts
fit.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.config.load import Loaded, load
from tests.certificates import write
from tests.deploy.manifests import (
    container_of,
    kustomize,
    of_kind,
    pod_of,
    problems_of,
    the_only,
)
from tests.peers.scripted_controller import own_identity

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
EXAMPLES = ("sidecar", "edge", "translator")


def load_example(name: str, folder: Path, *, identities: bool = True) -> Loaded:
    """Load an example's configuration with files in the places that it mounts."""
    text = (FOLDER / name / "gateway.yaml").read_text()
    pair = write(folder, "agents.example.com")
    pair.certificate.rename(folder / "tls.crt")
    pair.key.rename(folder / "tls.key")
    shutil.copytree(FOLDER / "translator/identities", folder / "identities")
    if identities:
        for path in (folder / "identities").iterdir():
            path.write_text(own_identity().header)
    text = text.replace("/etc/tls/", f"{folder}/").replace(
        "/etc/identities/", f"{folder}/identities/"
    )
    (folder / "gateway.yaml").write_text(text)
    return load(folder / "gateway.yaml")


@pytest.mark.parametrize("name", EXAMPLES)
def test_kubernetes_takes_it(name: str) -> None:
    manifests = kustomize(FOLDER / name)
    assert [problem for each in manifests for problem in problems_of(each)] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_gateway_takes_its_configuration(name: str, tmp_path: Path) -> None:
    assert load_example(name, tmp_path).warnings == ()


def test_identities_have_to_be_put_in(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"controllers\.team-a\.agents\.identity"):
        load_example("translator", tmp_path, identities=False)


@pytest.mark.parametrize("name", EXAMPLES)
def test_pod_and_configuration_fit(name: str, tmp_path: Path) -> None:
    manifests = kustomize(FOLDER / name)
    config = load_example(name, tmp_path).config
    container = container_of(manifests)
    pod = pod_of(manifests)["spec"]
    (listener,) = config.listeners
    assert [each["containerPort"] for each in container["ports"]] == [listener.address.port]
    shutdown = config.shutdown
    needed = shutdown.pre_stop + shutdown.drain_timeout + 10
    assert pod["terminationGracePeriodSeconds"] >= needed
    (generated,) = (
        each for each in of_kind(manifests, "ConfigMap") if "gateway.yaml" in each["data"]
    )
    config_volume = next(each for each in pod["volumes"] if each["name"] == "config")
    assert config_volume["configMap"]["name"] == generated["metadata"]["name"]
    service = the_only(manifests, "Service")
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    labels = pod_of(manifests)["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_container_may_do_as_little_as_possible(name: str) -> None:
    manifests = kustomize(FOLDER / name)
    container = container_of(manifests)
    security = {**pod_of(manifests)["spec"]["securityContext"], **container["securityContext"]}
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"]) == (65532, 65532)
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod_of(manifests)["spec"]["automountServiceAccountToken"] is False
    assert container["args"] == ["run", "-c", "/etc/remoting-gateway/gateway.yaml"]


@pytest.mark.parametrize("name", [*EXAMPLES, "in-front/gke"])
def test_secrets_are_not_everybodys_in_the_container(name: str) -> None:
    for volume in pod_of(kustomize(FOLDER / name))["spec"]["volumes"]:
        assert volume.get("secret", {"defaultMode": 0o440})["defaultMode"] == 0o440


def test_nobody_goes_past_the_sidecar() -> None:
    manifests = kustomize(FOLDER / "sidecar")
    jenkins = container_of(manifests, "jenkins")
    assert "ports" not in jenkins
    assert {"name": "JENKINS_OPTS", "value": "--httpListenAddress=127.0.0.1"} in jenkins["env"]
    (policy,) = of_kind(manifests, "NetworkPolicy")
    assert [rule["ports"] for rule in policy["spec"]["ingress"]] == [[{"port": "http"}]]


def test_the_edge_exposes_agents_alone(tmp_path: Path) -> None:
    (route,) = load_example("edge", tmp_path).config.routes
    assert route.edge


@pytest.mark.parametrize("name", EXAMPLES)
def test_openshift_chooses_the_user(name: str, tmp_path: Path) -> None:
    """With the component nothing names an id, which restricted-v2 would refuse; all else stays."""
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    (tmp_path / "kubernetes/it").mkdir()
    (tmp_path / "kubernetes/it/kustomization.yaml").write_text(
        f"resources: [../{name}]\ncomponents: [../openshift]\n"
    )
    manifests = kustomize(tmp_path / "kubernetes/it")
    assert [problem for each in manifests for problem in problems_of(each)] == []
    pod = pod_of(manifests)["spec"]
    for security in (pod["securityContext"], *(c["securityContext"] for c in pod["containers"])):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & security.keys()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in pod["containers"]:
        assert each["securityContext"]["allowPrivilegeEscalation"] is False
        assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container_of(manifests)["securityContext"]["readOnlyRootFilesystem"] is True
