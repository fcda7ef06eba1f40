"""The chart over its value sets: lint, manifests, configuration, and what each value does."""

from __future__ import annotations

import base64
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.deploy.fronts import FRONTS, misfits
from tests.deploy.manifests import container_of, of_kind, parse, pod_of, problems_of, the_only
from tests.helm.charts import (
    CHART,
    KUBERNETES,
    VALUE_SETS,
    config_of,
    helm,
    load_config,
    render,
    template,
    values_of,
)
from tests.tools import require_tool

INGRESS, CERT_MANAGER, EDGE, FILES, GKE, HTTP_ROUTE = VALUE_SETS[:6]
MONITORING, OPENSHIFT, REPLICAS, STORE, TRANSLATOR = VALUE_SETS[6:]
every_set = pytest.mark.parametrize("values", VALUE_SETS, ids=lambda path: path.stem)


def test_there_are_eight_value_sets() -> None:
    assert len(VALUE_SETS) >= 8


@every_set
def test_lint(values: Path) -> None:
    done = helm("lint", "--strict", str(CHART), "--kube-version", KUBERNETES, "-f", str(values))
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@every_set
def test_kubernetes_takes_it(values: Path) -> None:
    assert [problem for each in render(values) for problem in problems_of(each)] == []


@every_set
def test_the_gateway_takes_its_configuration(values: Path, tmp_path: Path) -> None:
    loaded = load_config(render(values), tmp_path)
    # The admin listener's token crosses the cluster's network; there is nothing else to warn of.
    assert [each for each in loaded.warnings if "admin.listen" not in each] == []


@every_set
def test_the_parts_fit(values: Path, tmp_path: Path) -> None:
    manifests = render(values)
    config = load_config(manifests, tmp_path).config
    pod = pod_of(manifests)["spec"]
    container = container_of(manifests)
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    (listener,) = config.listeners
    assert ports["http" if listener.tls is None else "https"] == listener.address.port
    assert ports.get("admin") == (config.admin.listen.address or listener.address).port or (
        "admin" not in ports
    )
    for service in of_kind(manifests, "Service"):
        assert (
            service["spec"]["selector"].items() <= pod_of(manifests)["metadata"]["labels"].items()
        )
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports.keys()
    shutdown = config.shutdown
    needed = shutdown.pre_stop + shutdown.drain_timeout + 10
    assert pod["terminationGracePeriodSeconds"] == needed
    mounted = {each["name"] for each in container["volumeMounts"]}
    assert mounted == {each["name"] for each in pod["volumes"]}
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(set(names)) == len(names)


@every_set
def test_the_container_may_do_as_little_as_possible(values: Path) -> None:
    manifests = render(values)
    security = container_of(manifests)["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    pod = pod_of(manifests)["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    ids = {pod["securityContext"].get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")}
    # OpenShift gives each namespace ids of its own, and refuses others.
    assert ids == ({None} if values == OPENSHIFT else {65532})
    assert pod["automountServiceAccountToken"] is False


def test_behind_an_ingress() -> None:
    manifests = render(INGRESS)
    service = the_only(manifests, "Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]
    assert service["service"] == {"name": "rg-remoting-gateway", "port": {"name": "http"}}
    rules = the_only(manifests, "NetworkPolicy")["spec"]["ingress"]
    assert [each["ports"][0]["port"] for each in rules] == ["http", "admin"]
    assert all("from" in each for each in rules)
    # Nobody reaches the admin port unless somebody is named.
    closed = render(INGRESS, "networkPolicy.adminFrom=null")
    assert len(the_only(closed, "NetworkPolicy")["spec"]["ingress"]) == 1


@pytest.mark.parametrize(
    ("values", "front"),
    [
        (INGRESS, "ingress-nginx"),
        (GKE, "gke"),
        (HTTP_ROUTE, "gateway-api"),
        (OPENSHIFT, "openshift"),
    ],
)
def test_it_fits_what_stands_in_front(values: Path, front: str, tmp_path: Path) -> None:
    config = load_config(render(values), tmp_path).config
    assert misfits(FRONTS[front], render(values), config) == []


@pytest.mark.parametrize(
    "settings",
    [
        (r"ingress.annotations.nginx\.ingress\.kubernetes\.io/backend-protocol=HTTPS",),
        (r"ingress.annotations.nginx\.org/ssl-services=rg-remoting-gateway",),
        (r"service.annotations.traefik\.ingress\.kubernetes\.io/service\.serversscheme=https",),
        (r"ingress.annotations.haproxy\.org/server-ssl=yes",),
    ],
)
def test_an_ingress_that_speaks_tls(settings: tuple[str, ...]) -> None:
    manifests = render(EDGE, "ingress.enabled=true", "ingress.hosts[0].host=a", *settings)
    (rule,) = the_only(manifests, "Ingress")["spec"]["rules"]
    service = rule["http"]["paths"][0]["backend"]["service"]
    assert service == {"name": "rg-remoting-gateway", "port": {"name": "https"}}


def test_a_gateway_that_speaks_tls() -> None:
    manifests = template(
        EDGE,
        "httpRoute.enabled=true",
        "httpRoute.parentRefs[0].name=a",
        "extraObjects[0].kind=BackendTLSPolicy",
    )
    assert manifests.returncode == 0, manifests.stderr
    route = the_only(parse(manifests.stdout), "HTTPRoute")["spec"]
    assert route["rules"][0]["backendRefs"] == [{"name": "rg-remoting-gateway", "port": 443}]


def test_a_load_balancer_keeps_addresses() -> None:
    service = next(
        s for s in of_kind(render(EDGE), "Service") if "admin" not in s["metadata"]["name"]
    )
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    assert service["spec"]["ports"][0]["port"] == 443
    assert pod_of(render(EDGE))["spec"]["terminationGracePeriodSeconds"] == 15 + 600 + 10


@pytest.mark.parametrize(
    ("drain", "seconds"), [("500ms", 21), ("90s", 110), ("1.5m", 110), ("2h", 7220), ("1d", 86420)]
)
def test_the_grace_period_is_computed(drain: str, seconds: int) -> None:
    pod = pod_of(render(MONITORING, f"config.shutdown.drain_timeout={drain}"))
    assert pod["spec"]["terminationGracePeriodSeconds"] == seconds


def test_images() -> None:
    assert container_of(render(TRANSLATOR))["image"].startswith(
        "registry.example.com/ci/remoting-gateway@sha256:0123"
    )
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert container_of(render(EDGE))["image"] == f"remoting-gateway:{version}"
    assert container_of(render(EDGE, "image.tag=x"))["image"] == "remoting-gateway:x"


def test_a_changed_configuration_rolls_pods_or_is_reloaded() -> None:
    before = pod_of(render(EDGE))["metadata"]["annotations"]
    after = pod_of(render(EDGE, "config.workers=2"))["metadata"]["annotations"]
    assert before["checksum/config"] != after["checksum/config"]
    assert not pod_of(render(CERT_MANAGER))["metadata"].get("annotations")


def test_cert_manager() -> None:
    manifests = render(CERT_MANAGER)
    certificate = the_only(manifests, "Certificate")["spec"]
    volumes = {each["name"]: each for each in pod_of(manifests)["spec"]["volumes"]}
    assert certificate["secretName"] == volumes["tls"]["secret"]["secretName"]
    assert 'minimum_version: "1.3"' in config_of(manifests)


def test_http_route() -> None:
    route = the_only(render(HTTP_ROUTE), "HTTPRoute")["spec"]
    assert [each["sectionName"] for each in route["parentRefs"]] == ["https"]
    assert route["rules"][0]["backendRefs"] == [{"name": "rg-remoting-gateway", "port": 80}]
    assert route["rules"][0]["timeouts"] == {"request": "0s"}
    # What the Gateway is believed it has to write itself.
    (change,) = route["rules"][0]["filters"]
    removed = change["requestHeaderModifier"]["remove"]
    assert removed == ["X-Forwarded-Host", "X-Forwarded-Port"]


def test_the_ingress_has_the_annotations_of_the_example() -> None:
    example = yaml.safe_load((FRONTS["ingress-nginx"].folder / "ingress.yaml").read_text("utf-8"))
    ingress = the_only(render(INGRESS), "Ingress")
    assert ingress["metadata"]["annotations"] == example["metadata"]["annotations"]


def test_google_has_noticed_before_the_gateway_stops_accepting(tmp_path: Path) -> None:
    manifests = render(GKE)
    health = the_only(manifests, "BackendConfig")["spec"]["healthCheck"]
    needed = 2 * health["checkIntervalSec"] + 30
    assert load_config(manifests, tmp_path).config.shutdown.pre_stop >= needed


@pytest.mark.parametrize(
    ("host", "listen"), [("0.0.0.0", "0.0.0.0"), ("::", "[::]"), ("10.1.2.3", "10.1.2.3")]
)
def test_the_address_of_both_listeners(host: str, listen: str, tmp_path: Path) -> None:
    config = load_config(render(EDGE, f"listener.host={host}"), tmp_path).config
    assert str(config.listeners[0].address) == f"{listen}:8443"
    assert str(config.admin.listen) == f"{listen}:9180"


def test_address_families_of_both_services() -> None:
    settings = ("service.ipFamilyPolicy=PreferDualStack", "service.ipFamilies={IPv6,IPv4}")
    manifests = render(EDGE, *settings)
    assert [problem for each in manifests for problem in problems_of(each)] == []
    services = [each["spec"] for each in of_kind(manifests, "Service")]
    assert [(each["ipFamilyPolicy"], each["ipFamilies"]) for each in services] == [
        ("PreferDualStack", ["IPv6", "IPv4"])
    ] * 2
    for service in of_kind(render(EDGE), "Service"):
        assert not {"ipFamilyPolicy", "ipFamilies"} & service["spec"].keys()
    assert template(EDGE, "service.ipFamilies={IPv5}").returncode != 0
    assert template(EDGE, "listener.host=gateway:1").returncode != 0


def test_monitoring(tmp_path: Path) -> None:
    manifests = render(MONITORING)
    monitor = the_only(manifests, "ServiceMonitor")["spec"]
    (endpoint,) = monitor["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "gateway-admin", "key": "token"}
    (admin,) = (
        each
        for each in of_kind(manifests, "Service")
        if monitor["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    )
    assert admin["spec"]["ports"][0]["name"] == endpoint["port"]
    # Where each pod is scraped, its own port is asked, by the same proof.
    pods = the_only(render(OPENSHIFT), "PodMonitor")["spec"]
    (scraped,) = pods["podMetricsEndpoints"]
    assert scraped["authorization"]["credentials"]["name"] == "rg-remoting-gateway-admin"
    assert {k: v for k, v in scraped.items() if k in ("port", "path")} == {
        "port": "admin",
        "path": "/metrics",
    }
    labels = pod_of(render(OPENSHIFT))["metadata"]["labels"]
    assert pods["selector"]["matchLabels"].items() <= labels.items()
    # Alert rules and dashboard arrive as they are.
    rules = the_only(manifests, "PrometheusRule")["spec"]
    assert rules == yaml.safe_load((CHART / "files/alerts.yml").read_text())
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    command = [require_tool("promtool"), "check", "rules", str(tmp_path / "rules.yml")]
    assert subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    (dashboard,) = (
        each for each in of_kind(manifests, "ConfigMap") if "remoting-gateway.json" in each["data"]
    )
    text = (CHART / "files/dashboard.json").read_text()
    assert dashboard["data"]["remoting-gateway.json"].strip() == text.strip()


def test_the_admin_token_is_made_where_none_is_named() -> None:
    (secret,) = of_kind(render(EDGE), "Secret")
    assert len(base64.b64decode(secret["data"]["token"])) == 48
    volumes = {each["name"]: each for each in pod_of(render(EDGE))["spec"]["volumes"]}
    assert volumes["admin"]["secret"]["secretName"] == secret["metadata"]["name"]
    assert of_kind(render(MONITORING), "Secret") == []


def test_probes_ask_nobody_but_the_gateway() -> None:
    container = container_of(render(EDGE))
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "admin"}
    without = container_of(render(FILES))
    assert without["readinessProbe"]["exec"]["command"] == ["remoting-gateway", "healthcheck"]
    assert "livenessProbe" not in without


def test_several_replicas() -> None:
    manifests = render(REPLICAS)
    deployment = the_only(manifests, "Deployment")["spec"]
    assert "replicas" not in deployment  # the autoscaler's
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    scaler = the_only(manifests, "HorizontalPodAutoscaler")["spec"]
    # What a pod holds when idle would be load, and more pods would not change it.
    assert [each["resource"]["name"] for each in scaler["metrics"]] == ["cpu"]
    assert "workers:" not in config_of(manifests)
    both = render(REPLICAS, "autoscaling.targetMemoryUtilizationPercentage=80")
    scaler = the_only(both, "HorizontalPodAutoscaler")["spec"]
    assert [each["resource"]["name"] for each in scaler["metrics"]] == ["cpu", "memory"]
    assert the_only(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    pod = pod_of(manifests)["spec"]
    assert pod["topologySpreadConstraints"][0]["topologyKey"] == "topology.kubernetes.io/zone"


def test_a_state_that_stays() -> None:
    manifests = render(STORE)
    assert the_only(manifests, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    claim = the_only(manifests, "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    volumes = {each["name"]: each for each in pod_of(manifests)["spec"]["volumes"]}
    named = volumes["state"]["persistentVolumeClaim"]["claimName"]
    assert named == claim["metadata"]["name"]
    other = render(STORE, "persistence.existingClaim=mine")
    assert of_kind(other, "PersistentVolumeClaim") == []


def test_objects_of_ones_own_are_templates_and_found() -> None:
    rendered = render(FILES)
    (own,) = (
        each
        for each in of_kind(rendered, "ConfigMap")
        if each["metadata"]["labels"] == {"app.kubernetes.io/instance": "rg"}
    )
    (deployment,) = of_kind(rendered, "Deployment")
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    wanted = [each["configMap"]["name"] for each in volumes if each["name"] == "authorities"]
    assert wanted == [own["metadata"]["name"]]


@pytest.mark.parametrize(
    ("values", "settings", "expected"),
    [
        (EDGE, ("config.controllers=null",), "config.controllers: name at least one"),
        (EDGE, ("tls.existingSecret=",), "tls: name a Secret in tls.existingSecret"),
        (STORE, ("replicaCount=2",), "persistence.enabled: one state belongs to one gateway"),
        (STORE, ("autoscaling.enabled=true",), "persistence.enabled: one state belongs"),
        (MONITORING, ("admin.enabled=false",), "metrics.serviceMonitor.enabled: metrics are on"),
        (OPENSHIFT, ("admin.enabled=false",), "metrics.podMonitor.enabled: metrics are on"),
        (MONITORING, ("metrics.podMonitor.enabled=true",), "everything would be counted twice"),
        (OPENSHIFT, ("networkPolicy.adminFrom=null",), "networkPolicy.adminFrom: name Prometheus'"),
        (STORE, ("persistence.enabled=false",), "issued secrets would be gone with the pod"),
        (
            EDGE,
            ("ingress.enabled=true", "ingress.hosts[0].host=a"),
            "ingress.enabled: an ingress speaks plain HTTP to its backend",
        ),
        (
            EDGE,
            (
                "ingress.enabled=true",
                "ingress.hosts[0].host=a",
                r"ingress.annotations.nginx\.ingress\.kubernetes\.io/backend-protocol=HTTP",
            ),
            "ingress.enabled: an ingress speaks plain HTTP to its backend",
        ),
        (
            EDGE,
            ("httpRoute.enabled=true", "httpRoute.parentRefs[0].name=a"),
            "httpRoute.enabled: a Gateway speaks plain HTTP to its backend",
        ),
        (
            EDGE,
            ("replicaCount=2", "config.controllers.main.credentials.modes={nodes}"),
            "issued secrets are each pod's own",
        ),
        (EDGE, ("admin.port=8443",), "admin.port: the listener has the same port"),
        (EDGE, ("config.limitz=1",), "limitz"),
        (INGRESS, ("ingress.hosts=null",), "ingress.hosts: name at least one"),
        (HTTP_ROUTE, ("httpRoute.parentRefs=null",), "httpRoute.parentRefs: name the Gateway"),
        (CERT_MANAGER, ("tls.certManager.dnsNames=null",), "tls.certManager.dnsNames"),
    ],
)
def test_what_cannot_be_is_refused(values: Path, settings: tuple[str, ...], expected: str) -> None:
    done = template(values, *settings)
    assert done.returncode != 0
    assert expected in done.stderr


@pytest.mark.parametrize("values", [INGRESS, HTTP_ROUTE])
def test_who_ends_tls_has_to_be_named(values: Path, tmp_path: Path) -> None:
    """Else every agent would get 400, "use https"."""
    settings = values_of(values)
    del settings["config"]["trusted_proxies"]
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(settings))
    assert "config.trusted_proxies: name the network" in template(tmp_path / "values.yaml").stderr
    settings["listener"]["settings"] = {"plain_agents": True}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(settings))
    assert template(tmp_path / "values.yaml").returncode == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (INGRESS, "-url https://jenkins.example.com/ \\"),
        (EDGE, "-url https://agents.example.com/ \\"),
        (TRANSLATOR, "-url https://agents.example.com/team-a/ \\"),
        (HTTP_ROUTE, "-url https://a.example.com/ \\"),
        (GKE, "-url https://jenkins.example.com/ \\"),
        (OPENSHIFT, "-url https://jenkins.example.com/ \\"),
        (STORE, "-url https://jenkins.example.com:30443/ \\"),
        (MONITORING, "-url https://HOST/ \\"),
        (REPLICAS, "-url https://jenkins.example.com/ \\"),
    ],
)
def test_the_notes_have_the_agents_command_line(
    values: Path, expected: str, tmp_path: Path
) -> None:
    text = notes(values, tmp_path)
    assert expected in text
    assert "-name NODE -secret SECRET" in text
    assert ("several replicas" in text.lower()) == (values == REPLICAS)
    assert ("its state goes with the pod" in text.lower()) == (values != STORE)


@pytest.mark.parametrize(
    "expose",
    [
        "[agents]",
        "[{set: agents, allow_from: [192.0.2.0/24]}]",
        "[{paths: [/x]}, {set: all}]",
    ],
)
def test_the_notes_name_a_route_that_agents_may_use(expose: str, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(f"""
config:
  controllers: {{main: {{url: "http://jenkins.jenkins.svc:8080/"}}}}
  routes:
    - {{id: ui, host: jenkins.example.com, controller: main, expose: [ui]}}
    - id: more
      host: more.example.com
      controller: main
      expose: [{{set: cli}}, {{paths: [/x]}}]
    - {{id: agents, host: agents.example.com, controller: main, expose: {expose}}}
tls: {{existingSecret: gateway-tls}}
""")
    assert "-url https://agents.example.com/ \\" in notes(values, tmp_path)


@pytest.mark.parametrize(
    ("plain_agents", "expected"),
    [
        (False, "agents are let in from config.trusted_proxies only"),
        (True, "agents are let in from everywhere all the same (plain_agents)"),
    ],
)
def test_the_notes_say_who_comes_without_tls(
    expected: str, tmp_path: Path, *, plain_agents: bool
) -> None:
    settings = values_of(INGRESS)
    settings["listener"]["settings"] = {"plain_agents": plain_agents}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(settings))
    assert expected in notes(tmp_path / "values.yaml", tmp_path)


def notes(values: Path, folder: Path) -> str:
    """Return what an installation says."""
    # `helm template` shows no notes, so they are put into a manifest of a copy.
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    source = chart / "templates" / "NOTES.txt"
    head = "kind: Notes\nnotes: |\n"
    manifest = head + textwrap.indent(source.read_text(), "  ")
    (chart / "templates" / "notes.yaml").write_text(manifest)
    source.unlink()
    options = ["--kube-version", KUBERNETES, "-f", str(values), "-s", "templates/notes.yaml"]
    done = helm("template", "rg", str(chart), "--namespace", "ci", *options)
    assert done.returncode == 0, done.stderr
    text: str = parse(done.stdout)[0]["notes"]
    return text
