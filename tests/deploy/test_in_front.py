"""What stands in front of the gateway: as it is, it fits the example it stands before, lets nobody
else in, and its timers are longer than the gateway's.
"""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from gateway.config.load import Loaded, load
from gateway.config.models import GatewayConfig, KeepaliveConfig
from gateway.http.forwarding import ProxyTrust
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Headers
from tests.certificates import write
from tests.deploy.fronts import FOLDER, FRONTS, Front, misfits
from tests.deploy.manifests import Manifest, kustomize, of_kind, pod_of, problems_of, the_only
from tests.tools import require_tool

MACHINE: Final = Path(__file__).parents[2] / "deploy/systemd"
every_front = pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)


def load_front(front: Front, folder: Path) -> Loaded:
    """Load its configuration with the token that it mounts."""
    (folder / "token").write_text("made up: 0123456789abcdef".replace(" ", ""))
    (folder / "token").chmod(0o600)
    text = (front.folder / "gateway.yaml").read_text("utf-8")
    text = text.replace("/etc/remoting-gateway-admin/", f"{folder}/")
    (folder / "gateway.yaml").write_text(text)
    return load(folder / "gateway.yaml")


def test_every_example_is_looked_at() -> None:
    found = {path.parent for path in (FOLDER / "in-front").rglob("kustomization.yaml")}
    assert found | {FOLDER / "sidecar"} == {front.folder for front in FRONTS.values()}
    # Nothing lies there that no kustomization holds.
    for folder in found:
        named = (folder / "kustomization.yaml").read_text("utf-8")
        assert all(path.name in named for path in folder.iterdir() if path.name[0] != "k")
    assert not [path for path in (FOLDER / "in-front").iterdir() if path.is_file()]


@every_front
def test_kubernetes_takes_it(front: Front) -> None:
    manifests = kustomize(front.folder)
    assert [problem for each in manifests for problem in problems_of(each)] == []


@every_front
def test_it_fits(front: Front, tmp_path: Path) -> None:
    loaded = load_front(front, tmp_path)
    # The admin listener's token crosses the network on its way; there is nothing else to warn of.
    assert [each for each in loaded.warnings if "admin.listen" not in each] == []
    manifests = kustomize(front.folder)
    assert misfits(front, manifests, loaded.config) == []
    (used,) = (each for each in of_kind(manifests, "ConfigMap"))
    assert used["data"]["gateway.yaml"] == (front.folder / "gateway.yaml").read_text("utf-8")


@every_front
def test_the_gateway_is_the_sidecars(front: Front, tmp_path: Path) -> None:
    """Beyond trust, idle time and the admin listener the configurations are one."""
    config, sidecar = (
        yaml.safe_load((folder / "gateway.yaml").read_text("utf-8"))
        for folder in (front.folder, FOLDER / "sidecar")
    )
    for own in ("trusted_proxies", "limits", "admin"):
        config.pop(own, None)
        sidecar.pop(own, None)
    assert config == sidecar


@every_front
def test_secrets_that_it_needs_are_made_or_named(front: Front) -> None:
    manifests = kustomize(front.folder)
    needed = {
        entry["secretName"]
        for ingress in of_kind(manifests, "Ingress")
        for entry in ingress["spec"]["tls"]
    }
    needed |= {
        each["secret"]["secretName"]
        for each in pod_of(manifests)["spec"]["volumes"]
        if "secret" in each
    }
    head = (front.folder / "kustomization.yaml").read_text("utf-8").partition("apiVersion")[0]
    assert set(re.findall(r"create secret (?:tls|generic) (\S+)", head)) == needed


def _change(manifests: list[Manifest], kind: str) -> dict[str, Any]:
    spec: dict[str, Any] = the_only(manifests, kind)["spec"]
    return spec


def _other_service(manifests: list[Manifest]) -> None:
    the_only(manifests, "Service")["metadata"]["name"] = "remoting-gateway"


def _other_pods(manifests: list[Manifest]) -> None:
    _change(manifests, "Service")["selector"]["app.kubernetes.io/component"] = "gateway"


def _other_target(manifests: list[Manifest]) -> None:
    _change(manifests, "Service")["ports"][0]["targetPort"] = "https"


def _other_port(manifests: list[Manifest]) -> None:
    _change(manifests, "Service")["ports"][0] |= {"port": 8080, "name": "web"}


def _other_policy(manifests: list[Manifest]) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "traefik"}}}
    for rule in _change(manifests, "NetworkPolicy")["ingress"]:
        rule["from"] = [peer, {"ipBlock": {"cidr": "192.0.2.0/24"}}]


def _all_listeners(manifests: list[Manifest]) -> None:
    for each in of_kind(manifests, "HTTPRoute"):
        del each["spec"]["parentRefs"][0]["sectionName"]


def _closed_port(manifests: list[Manifest]) -> None:
    for rule in _change(manifests, "NetworkPolicy")["ingress"]:
        rule["ports"] = [{"port": "agents"}]


def _other_health(manifests: list[Manifest]) -> None:
    for each in of_kind(manifests, "BackendConfig"):
        each["spec"]["healthCheck"] = {"type": "HTTP", "port": 9181, "requestPath": "/login"}
        del each["spec"]["customRequestHeaders"]


CHANGES: Final = (
    (_other_service, "no Service jenkins"),
    (_other_pods, "selects other pods"),
    (_other_target, "is not the listener's"),
    (_other_port, "is not the listener's"),
    (_other_policy, "to http"),
    (_closed_port, "to http"),
)


@every_front
@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_what_does_not_fit_is_seen(
    front: Front, change: Callable[[list[Manifest]], None], expected: str, tmp_path: Path
) -> None:
    manifests = copy.deepcopy(kustomize(front.folder))
    change(manifests)
    problems = misfits(front, manifests, load_front(front, tmp_path).config)
    assert any(expected in each for each in problems), problems


@every_front
def test_another_configuration_does_not_fit(front: Front, tmp_path: Path) -> None:
    config = load_front(front, tmp_path).config
    changed = config.model_copy(
        update={
            "trusted_proxies": (),
            "limits": config.limits.model_copy(update={"idle_timeout": 60.0}),
            "routes": (config.routes[0].model_copy(update={"host": "ci.example.com"}),),
        }
    )
    said = " ".join(misfits(front, kustomize(front.folder), changed))
    for expected in ("is not trusted", "idle connections", "ci.example.com"):
        assert expected in said


def test_other_health_checks_do_not_fit(tmp_path: Path) -> None:
    front = FRONTS["gke"]
    manifests = copy.deepcopy(kustomize(front.folder))
    _other_health(manifests)
    problems = misfits(front, manifests, load_front(front, tmp_path).config)
    assert problems == [
        "clients may invent their X-Forwarded-Host",
        "nothing answers at port 9181",
        "/login says nothing about the gateway",
    ]


def test_a_route_of_listeners_without_tls_does_not_fit(tmp_path: Path) -> None:
    front = FRONTS["gateway-api"]
    manifests = copy.deepcopy(kustomize(front.folder))
    _all_listeners(manifests)
    problems = misfits(front, manifests, load_front(front, tmp_path).config)
    assert problems == ["listeners without TLS lead here, too"]


def _trusting() -> list[Path]:
    """Return the examples and value sets that trust somebody beyond their machine."""
    root = MACHINE.parents[1]
    found = [*root.glob("deploy/**/*.yaml"), *root.glob("helm/*/ci/*.yaml"), root / "docs/uses.md"]
    return [
        path
        for path in sorted(found)
        if "trusted_proxies: [" in (text := path.read_text("utf-8"))
        and "trusted_proxies: [127.0.0.1]" not in text
    ]


def test_whom_the_examples_trust_is_looked_at() -> None:
    assert len(_trusting()) == 10


@pytest.mark.parametrize("path", _trusting(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nobody_trusts_more_than_a_cluster(path: Path) -> None:
    """Clients in a network that is trusted may say which address they have."""
    text = path.read_text("utf-8")
    (networks,) = re.findall(r"trusted_proxies: \[(.+?)\]", text)
    # OpenShift's default for all pods of a cluster.
    assert all(ip_network(each).prefixlen >= 14 for each in networks.split(", "))
    if "10.244.0.0/16" in networks:
        assert re.search(r"put your\s(#\s)?(cluster's )?pod network", text)


def test_google_says_its_own_address_last(tmp_path: Path) -> None:
    """X-Forwarded-For ends with the load balancer's: it must not be taken for the client's."""
    front = FRONTS["gke"]
    config = load_front(front, tmp_path).config
    assert client_of(config, "35.191.3.4", "198.51.100.7, 203.0.113.10") == "198.51.100.7"


# -- on a machine, without Kubernetes --------------------------------------------------------------


def test_the_machines_gateway_is_behind_its_proxy() -> None:
    config = load(MACHINE / "in-front/gateway.yaml").config
    (listener,) = config.listeners
    assert listener.tls is None
    assert str(listener.address) == "127.0.0.1:8081"
    assert client_of(config, "127.0.0.1", "198.51.100.7") == "198.51.100.7"
    nginx = (MACHINE / "in-front/nginx.conf").read_text("utf-8")
    assert f"server {listener.address};" in nginx
    apache = (MACHINE / "in-front/apache.conf").read_text("utf-8")
    assert f"ProxyPass / http://{listener.address}/ " in apache
    (route,) = config.routes
    assert f"server_name {route.host};" in nginx
    assert f"ServerName {route.host}\n" in apache


def test_the_machines_socket_is_that_of_its_gateway() -> None:
    """What is set for the unit is taken back first: systemd adds to lists."""
    (listener,) = load(MACHINE / "in-front/gateway.yaml").config.listeners
    lines = (MACHINE / "in-front/socket.conf").read_text("utf-8").splitlines()
    assert [each for each in lines if each[:1] not in ("#", "")] == [
        "[Socket]",
        "ListenStream=",
        f"ListenStream={listener.address}",
    ]


def test_nginx_takes_its_example(tmp_path: Path) -> None:
    text = (MACHINE / "in-front/nginx.conf").read_text()
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
    text = (MACHINE / "in-front/apache.conf").read_text()
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


def test_proxies_write_what_is_believed_of_them() -> None:
    """Whatever X-Forwarded field a trusted proxy does not write is the client's to invent."""
    nginx = (MACHINE / "in-front/nginx.conf").read_text("utf-8")
    assert sorted(re.findall(r"^ *proxy_set_header X-Forwarded-(\w+) (.+);$", nginx, re.M)) == [
        ("For", "$remote_addr"),
        ("Host", "$http_host"),
        ("Port", "$server_port"),
        ("Proto", "$scheme"),
    ]
    apache = (MACHINE / "in-front/apache.conf").read_text("utf-8")
    # mod_proxy_http appends -For and -Host by itself to what is left of them by then.
    assert sorted(re.findall(r"^ *RequestHeader (\w+) X-Forwarded-(\w+) (.+)$", apache, re.M)) == [
        ("set", "Port", "443"),
        ("set", "Proto", "https"),
        ("unset", "For", "early"),
        ("unset", "Host", "early"),
    ]
    assert "\n    ProxyPreserveHost On\n" in apache
    (route,) = of_kind(kustomize(FRONTS["gateway-api"].folder), "HTTPRoute")
    (rule,) = route["spec"]["rules"]
    (change,) = rule["filters"]
    assert set(change["requestHeaderModifier"]["remove"]) == {
        "X-Forwarded-Host",
        "X-Forwarded-Port",
    }
    (route,) = of_kind(kustomize(FRONTS["openshift"].folder), "Route")
    annotations = route["metadata"]["annotations"]
    assert annotations["haproxy.router.openshift.io/set-forwarded-headers"] == "replace"


def test_timers_in_front_are_longer_than_ours(tmp_path: Path) -> None:
    """The hop in front cuts nothing between two pings, and does not answer before the gateway."""
    config = load_front(FRONTS["ingress-nginx"], tmp_path).config
    ping = KeepaliveConfig().interval
    answer = config.routes[0].response_timeout
    ingress = yaml.safe_load((FOLDER / "sidecar/ingress.yaml").read_text())
    annotations = ingress["metadata"]["annotations"]
    reading = int(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"])
    assert reading > answer > ping
    nginx = (MACHINE / "in-front/nginx.conf").read_text()
    assert f"proxy_read_timeout {reading}s;" in nginx
    assert "keepalive_timeout 60s;" in nginx
    on_machine = load(MACHINE / "in-front/gateway.yaml").config
    assert on_machine.limits.idle_timeout > 60
    assert f"timeout={reading} ttl=60" in (MACHINE / "in-front/apache.conf").read_text()
    route = yaml.safe_load((FOLDER / "in-front/openshift/route.yaml").read_text())
    assert route["metadata"]["annotations"]["haproxy.router.openshift.io/timeout"] == f"{reading}s"
    backend = the_only(kustomize(FOLDER / "in-front/gke"), "BackendConfig")
    assert backend["spec"]["timeoutSec"] == 24 * 60 * 60


def client_of(config: GatewayConfig, peer: str, forwarded_for: str) -> str:
    """Return whom the gateway takes for the client of a request."""
    trust = ProxyTrust(config.trusted_proxies, peer, scheme="http", port=8081)
    fields = [(b"Host", b"x"), (b"X-Forwarded-For", forwarded_for.encode())]
    return trust.provenance(RequestHead(b"GET", b"/", b"1.1", Headers(fields))).client
