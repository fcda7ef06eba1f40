"""The kustomize examples: Kubernetes takes them, the gateway takes their configuration, the parts
fit.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from gateway.config.load import Loaded, load
from gateway.config.models import KeepaliveConfig
from tests.certificates import write
from tests.deploy.manifests import (
    container_of,
    kustomize,
    of_kind,
    parse,
    pod_of,
    problems_of,
    the_only,
)
from tests.peers.scripted_controller import own_identity
from tests.tools import require_tool

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
EXAMPLES = ("sidecar", "edge", "translator")
IN_FRONT = sorted((FOLDER / "in-front").iterdir())


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


@pytest.mark.parametrize("path", IN_FRONT, ids=lambda path: path.name)
def test_what_stands_in_front(path: Path) -> None:
    if path.suffix == ".yaml":
        manifests = parse(path.read_text())
        assert [problem for each in manifests for problem in problems_of(each)] == []
        assert all({"apiVersion", "kind", "metadata"} <= each.keys() for each in manifests)


def test_gke_finds_its_backend_config() -> None:
    manifests = parse((FOLDER / "in-front/gke.yaml").read_text())
    config, service = the_only(manifests, "BackendConfig"), the_only(manifests, "Service")
    named = json.loads(service["metadata"]["annotations"]["cloud.google.com/backend-config"])
    assert named == {"default": config["metadata"]["name"]}
    assert json.loads(service["metadata"]["annotations"]["cloud.google.com/neg"]) == {
        "ingress": True
    }


def test_nginx_takes_its_example(tmp_path: Path) -> None:
    text = (FOLDER / "in-front/nginx.conf").read_text()
    pair = write(tmp_path, "jenkins.example.com")
    text = text.replace("/etc/nginx/tls.crt", str(pair.certificate))
    text = text.replace("/etc/nginx/tls.key", str(pair.key))
    whole = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {text} }}"
    (tmp_path / "nginx.conf").write_text(whole)
    command = [require_tool("nginx"), "-t", "-q", "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()


def test_httpd_takes_its_example(tmp_path: Path) -> None:
    program = require_tool("apache2")
    text = (FOLDER / "in-front/apache.conf").read_text()
    pair = write(tmp_path, "jenkins.example.com")
    text = text.replace("/etc/httpd/tls.crt", str(pair.certificate))
    text = text.replace("/etc/httpd/tls.key", str(pair.key))
    names = ["mpm_event", "ssl", "socache_shmcb", "proxy", "proxy_http", "headers", "authz_core"]
    modules = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in names
    )
    head = f"ServerRoot {tmp_path}\nPidFile pid\nErrorLog error\nDefaultRuntimeDir {tmp_path}\n"
    (tmp_path / "httpd.conf").write_text(f"{head}ServerName x\n{modules}{text}")
    done = subprocess.run(
        [program, "-t", "-f", str(tmp_path / "httpd.conf")], capture_output=True, timeout=30
    )
    assert b"Syntax OK" in done.stderr, done.stderr.decode()


def test_timers_in_front_are_longer_than_ours(tmp_path: Path) -> None:
    """The hop in front cuts nothing between two pings, and does not answer before the gateway."""
    config = load_example("sidecar", tmp_path).config
    ping = KeepaliveConfig().interval
    answer = config.routes[0].response_timeout
    ingress = yaml.safe_load((FOLDER / "sidecar/ingress.yaml").read_text())
    annotations = ingress["metadata"]["annotations"]
    reading = int(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"])
    assert reading > answer > ping
    nginx = (FOLDER / "in-front/nginx.conf").read_text()
    assert f"proxy_read_timeout {reading}s;" in nginx
    assert "keepalive_timeout 60s;" in nginx
    assert config.limits.idle_timeout > 60
    assert f"timeout={reading} ttl=60" in (FOLDER / "in-front/apache.conf").read_text()
    route = yaml.safe_load((FOLDER / "in-front/openshift-route.yaml").read_text())
    assert route["metadata"]["annotations"]["haproxy.router.openshift.io/timeout"] == f"{reading}s"
