"""The chart, rendered: manifests, the configuration in them, and that configuration loaded."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gateway.config.load import Loaded, load
from tests.certificates import authority, write
from tests.deploy.manifests import Manifest, of_kind, parse
from tests.tools import require_tool

CHART = Path(__file__).parents[2] / "helm" / "remoting-gateway"
VALUE_SETS = sorted((CHART / "ci").glob("*-values.yaml"))
# helm that is built from its module does not know which Kubernetes it is of.
KUBERNETES = "1.34.0"
TOKEN = "made up: 0123456789abcdef".replace(" ", "")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm."""
    command = [require_tool("helm"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@cache
def render(values: Path, *settings: str) -> list[Manifest]:
    """Return the manifests for a value set and ``--set`` arguments."""
    done = template(values, *settings)
    assert done.returncode == 0, done.stderr
    return parse(done.stdout)


def template(values: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    """Run helm template."""
    options = [word for each in settings for word in ("--set", each)]
    where = ["--namespace", "ci", "--kube-version", KUBERNETES, "-f", str(values)]
    return helm("template", "rg", str(CHART), *where, *options)


def config_of(manifests: list[Manifest]) -> str:
    """Return gateway.yaml."""
    (text,) = (
        each["data"]["gateway.yaml"]
        for each in of_kind(manifests, "ConfigMap")
        if "gateway.yaml" in each["data"]
    )
    assert isinstance(text, str)
    return text


def load_config(manifests: list[Manifest], folder: Path) -> Loaded:
    """Load gateway.yaml with files in the places where the pod has them."""
    pair = write(folder, "*.example.com")
    pair.certificate.rename(folder / "tls.crt")
    pair.key.rename(folder / "tls.key")
    authority().cert_pem.write_to_path(folder / "ca.crt")
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    text = config_of(manifests)
    for place in ("/etc/remoting-gateway-tls", "/etc/remoting-gateway-admin", "/etc/authorities"):
        text = text.replace(f"{place}/", f"{folder}/")
    text = text.replace("/var/lib/remoting-gateway", str(folder / "state"))
    (folder / "gateway.yaml").write_text(text)
    return load(folder / "gateway.yaml")


def values_of(path: Path) -> dict[str, Any]:
    """Return a value set as a dictionary."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found
