"""Other people's programs in our documentation: what has to be right about a call of each.

Options come from the programs' manuals and are those that are used, with whether they want a value;
an unknown one is a mistake, or has to be looked up and added. What a call names of ours (files,
images, units, Secrets) has to be there and to fit the examples. Raises AssertionError.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from gateway.config.processes import ShutdownConfig
from tests.deploy.dockerfile import read_stages
from tests.docs.ours import check
from tests.docs.pages import ROOT

VALUE, FLAG = True, False
Options = Mapping[str, bool]
_DEPLOY: Final = ROOT / "deploy"


def take(
    words: list[str], known: Options, *, mixed: bool = True
) -> tuple[dict[str, str], list[str]]:
    """Return options with their values, and what else there is.

    ``mixed``: options may come behind arguments, too. ``-sI`` is ``-s -I``.
    """
    options: dict[str, str] = {}
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word == "-":
            rest.append(word)
            if not mixed:
                return options, rest + left
            continue
        name, equals, value = word.partition("=")
        if name not in known and re.fullmatch(r"-[A-Za-z]{2,}", name):
            left[:0] = [f"-{letter}" for letter in name[1:]]
            continue
        assert name in known, f"unknown option {name}"
        if known[name] is VALUE and not equals:
            assert left, f"{name} wants a value"
            value = left.pop(0)
        options[name] = value
    return options, rest


def _file(name: str) -> Path:
    path = ROOT / name
    assert path.exists(), f"there is no {name}"
    return path


# -- docker ----------------------------------------------------------------------------------------

_DOCKER: Final[Mapping[str, Options]] = {
    "build": {"-f": VALUE, "-t": VALUE, "--build-arg": VALUE},
    "run": {
        **dict.fromkeys(("-d", "--read-only"), FLAG),
        **dict.fromkeys(("-p", "-v", "--name", "--tmpfs", "--cap-drop"), VALUE),
        **dict.fromkeys(("--security-opt", "--stop-timeout", "--hostname"), VALUE),
    },
    "exec": {},
    "stop": {"-t": VALUE},
}
_COMPOSE: Final[Mapping[str, Options]] = {"up": {"--build": FLAG, "-d": FLAG}, "exec": {}}


@cache
def _compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((_DEPLOY / "compose/compose.yaml").read_text("utf-8"))
    return found


def _our_image() -> str:
    return str(_compose()["services"]["gateway"]["image"])


def _base_image() -> str:
    found = re.search(
        r"^ARG PYTHON_IMAGE=(\S+)$", (_DEPLOY / "Dockerfile").read_text("utf-8"), re.M
    )
    assert found is not None
    return found[1]


def docker(words: list[str], *, whole: bool) -> None:
    """Check files, image, folders of the image, the time to stop, and the command inside."""
    command, *rest = words
    if command == "compose":
        _docker_compose(rest)
        return
    if command in {"tag", "push"}:
        # What the examples take, with their registry.
        assert rest[:-1] == ([_our_image()] if command == "tag" else [])
        name, _, tag = rest[-1].rpartition(":")
        for path in (_DEPLOY / "kubernetes").glob("*/kustomization.yaml"):
            for image in yaml.safe_load(path.read_text("utf-8")).get("images", ()):
                assert (image["newName"], image["newTag"]) == (name, tag)
        return
    if command == "buildx":
        assert rest == ["imagetools", "inspect", _base_image()], rest
        return
    assert command in _DOCKER, f"docker {command}"
    if not whole and (not rest or rest == ["-t"]):
        return
    options, arguments = take(rest, _DOCKER[command], mixed=command == "build")
    if command == "build":
        assert [_file(each).is_dir() for each in arguments] == [True]
        assert _file(options["-f"]).name == "Dockerfile"
        assert options["-t"] == _our_image()
        if "--build-arg" in options:
            assert options["--build-arg"] == f"PYTHON_IMAGE={_base_image()}@sha256:DIGEST"
    elif command == "run":
        image, *inside = arguments
        assert image == _our_image(), image
        _fits_the_image(rest)
        if inside:
            check(inside, whole=True)
        if "--stop-timeout" in options:
            shutdown = ShutdownConfig()
            needed = shutdown.pre_stop + shutdown.drain_timeout + 10
            assert int(options["--stop-timeout"]) >= needed
    elif command == "exec":
        name, program, *inside = arguments
        assert (name, program) == ("gateway", "remoting-gateway")
        check(inside, whole=True)


def _fits_the_image(words: list[str]) -> None:
    image = read_stages(_DEPLOY / "Dockerfile")[-1]
    ports = [port for each in image if each.name == "EXPOSE" for port in each.words]
    folders = {"/etc/remoting-gateway", "/var/lib/remoting-gateway"}
    for option, value in pairwise(words):
        if option == "-p":
            assert value.split(":")[-1] in ports, value
        elif option == "-v":
            # Whole folders: in a single file that is mounted no change arrives.
            assert value.split(":")[1] in folders, value


def _docker_compose(words: list[str]) -> None:
    options, (command, *rest) = take(words, {"-f": VALUE}, mixed=False)
    assert _file(options["-f"]) == _DEPLOY / "compose/compose.yaml"
    _, arguments = take(rest, _COMPOSE[command], mixed=command != "exec")
    if arguments:
        assert arguments[0] in _compose()["services"], arguments[0]


# -- Kubernetes ------------------------------------------------------------------------------------


def kubectl(words: list[str], *, whole: bool) -> None:
    """Check that what is applied can be built, and that a Secret is one that an example mounts."""
    if words == ["apply", "-k"] and not whole:
        return
    if words[:2] == ["apply", "-k"]:
        (folder,) = words[2:]
        # What is in it: tests/deploy/test_kubernetes.py
        assert _file(f"{folder}/kustomization.yaml").is_file()
        return
    assert words[:2] == ["create", "secret"], f"kubectl {words}"
    known: dict[str, Options] = {
        "tls": {"--cert": VALUE, "--key": VALUE},
        "generic": {"--from-literal": VALUE},
    }
    options, (name,) = take(words[3:], {**known[words[2]], "--namespace": VALUE})
    assert options.keys() - {"--namespace"} == known[words[2]].keys()
    # The admin listener's: the one key that an example mounts.
    assert options.get("--from-literal", "token=").startswith("token=")
    mounted = [
        path
        for path in (_DEPLOY / "kubernetes").rglob("*.yaml")
        if re.search(rf"secretName: {re.escape(name)}(?![\w-])", path.read_text("utf-8"))
    ]
    assert mounted, f"no example mounts {name}"


def oc(words: list[str], *, whole: bool) -> None:
    """Check what is applied as of kubectl; in prose the question for the cluster network."""
    if words != ["get", "network.config", "cluster"]:
        kubectl(words, whole=whole)


def gcloud(words: list[str], *, whole: bool) -> None:
    """Check that the address which is made is the one that the Ingress asks for."""
    assert words[:3] == ["compute", "addresses", "create"]
    options, (name,) = take(words[3:], {"--global": FLAG})
    assert options
    ingress = (_DEPLOY / "kubernetes/in-front/gke/ingress.yaml").read_text("utf-8")
    assert f"ingress.global-static-ip-name: {name}\n" in ingress


def helm(words: list[str], *, whole: bool) -> None:
    """In prose the name of a command; whole ones are executed (test_executed)."""
    assert not whole
    assert words in (["install"], ["template"])


# -- Java ------------------------------------------------------------------------------------------

# hudson.remoting.Launcher; those that belong to -webSocket among them.
_AGENT: Final[Options] = {
    **dict.fromkeys(("-url", "-name", "-secret", "-workDir", "-cert", "-webSocketHeader"), VALUE),
    **dict.fromkeys(("-webSocket", "-noCertificateCheck"), FLAG),
}
_JSSE: Final = {
    f"javax.net.ssl.{store}Store{what}"
    for store in ("key", "trust")
    for what in ("", "Type", "Password")
}


def java(words: list[str], *, whole: bool) -> None:
    """Check system properties, and the options of agent.jar: the ones it has, and all it needs."""
    left = list(words)
    while left and left[0].startswith("-D"):
        name, equals, _ = left.pop(0)[2:].partition("=")
        assert equals
        assert name in _JSSE, name
    assert left[:2] == ["-jar", "agent.jar"], left
    options, rest = take(left[2:], _AGENT)
    if "..." in rest:
        assert rest == ["..."]
        return
    assert rest == []
    assert options.keys() >= {"-url", "-webSocket", "-name", "-secret"}
    url = urlsplit(options["-url"])
    assert url.scheme == "https"
    assert url.path.endswith("/"), "Jenkins' root URL"


def keytool(words: list[str], *, whole: bool) -> None:
    """Check the command that the prose names."""
    assert words == ["-list", "-cacerts"]


# -- systemd ---------------------------------------------------------------------------------------


def _unit(name: str) -> None:
    file = name if name.endswith((".service", ".socket")) else f"{name}.service"
    _file(f"deploy/systemd/{file}")


def systemctl(words: list[str], *, whole: bool) -> None:
    """Check verbs, options and that the units are ours."""
    verb, *rest = words
    known: dict[str, Options] = {
        "daemon-reload": {},
        "enable": {"--now": FLAG},
        "reload": {},
        "restart": {},
        "edit": {},
        "kill": {"--kill-whom": VALUE, "-s": VALUE},
    }
    assert verb in known, verb
    options, units = take(rest, known[verb])
    assert bool(units) == (verb != "daemon-reload")
    for each in units:
        if (verb, each) != ("edit", "jenkins"):  # Debian's package has that one
            _unit(each)
    if verb == "kill":
        assert options == {"--kill-whom": "main", "-s": "USR1"}, "logs are reopened by it"


def setsebool(words: list[str], *, whole: bool) -> None:
    """Check the one switch of SELinux that a proxy on the machine needs."""
    assert words == ["-P", "httpd_can_network_connect", "on"]


def journalctl(words: list[str], *, whole: bool) -> None:
    """Check the unit."""
    options, rest = take(words, {"-u": VALUE})
    assert rest == []
    _unit(options["-u"])


def systemd_analyze(words: list[str], *, whole: bool) -> None:
    """Check the unit."""
    verb, unit = words
    assert verb == "security"
    _unit(unit)


def install(words: list[str], *, whole: bool) -> None:
    """Check that sources of ours are there, and that a group is one that sysusers makes."""
    options, names = take(words, {"-d": FLAG, "-m": VALUE, "-g": VALUE})
    assert re.fullmatch(r"0[0-7]{3}", options.get("-m", "0755"))
    if "-g" in options:
        made = (_DEPLOY / "systemd/remoting-gateway.sysusers").read_text("utf-8")
        assert f"g {options['-g']} " in made
    assert names[-1].startswith("/")
    for source in names[: None if "-d" in options else -1]:
        if not source.startswith("/") and source not in ("tls.crt", "tls.key"):
            _file(source)


def _installed(program: str) -> Path:
    """Return the folder of programs that the service starts."""
    service = (_DEPLOY / "systemd/remoting-gateway.service").read_text("utf-8")
    found = re.search(r"^ExecStart=(\S+)/remoting-gateway ", service, re.M)
    assert found is not None
    return Path(found[1], program)


def python3(words: list[str], *, whole: bool) -> None:
    """Check that the environment is the one whose program the unit starts."""
    module, name, folder = words
    assert (module, name) == ("-m", "venv")
    assert Path(folder) / "bin/pip" == _installed("pip")


def pip(words: list[str], *, whole: bool) -> None:
    """Check the lock file, and that hashes are asked for with it."""
    verb, *rest = words
    assert verb == "install"
    flags = {"--require-hashes": FLAG, "--no-deps": FLAG, "--only-binary": VALUE, "-r": VALUE}
    options, packages = take(rest, flags)
    if "-r" in options:
        assert "--hash=sha256:" in _file(options["-r"]).read_text("utf-8")
        assert "--require-hashes" in options
    else:
        assert packages == ["."]


# -- others ----------------------------------------------------------------------------------------


def ssh(words: list[str], *, whole: bool) -> None:
    """Check that what is forwarded is the admin socket, where the units and images have it."""
    options, host = take(words, {"-L": VALUE})
    assert host == ["HOST"]
    port, _, path = options["-L"].partition(":")
    assert port.isdecimal()
    assert path == "/var/lib/remoting-gateway/admin.sock"


def promtool(words: list[str], *, whole: bool) -> None:
    """In prose; tests/deploy/test_alerts.py runs it."""
    assert words == ["check", "rules"]


def dev(words: list[str], *, whole: bool) -> None:
    """Check the command; and files, which tests are given as."""
    usage = (ROOT / "dev").read_text("utf-8")
    command, *rest = words
    assert re.search(rf"^  {command} ", usage, re.M), command
    for each in rest:
        if "/" in each:
            _file(each)


def fresh_machine(words: list[str], *, whole: bool) -> None:
    """Have the script itself parse all but its tests, which have to be there."""
    options = {"--demo": FLAG, "--suite": VALUE, "--mirror": VALUE, "-q": FLAG}
    _, tests = take(words, options)
    _in_the_usage(".ci/fresh-machine", words)
    for each in tests:
        _file(each)


def container_image(words: list[str], *, whole: bool) -> None:
    """Check the options, and that a base image is the one that the Dockerfile names."""
    options, rest = take(words, {"--suite": VALUE, "--mirror": VALUE, "--base": VALUE})
    assert rest == []
    _in_the_usage(".ci/container-image", words)
    assert options.get("--base", _base_image()) == _base_image()


def _in_the_usage(script: str, words: list[str]) -> None:
    usage = subprocess.run(
        [str(ROOT / script), "--help"], capture_output=True, text=True, timeout=10
    )
    assert usage.returncode == 0
    for each in words:
        assert not each.startswith("--") or each in usage.stdout, each


Check = Callable[..., None]
PROGRAMS: Final[Mapping[str, Check]] = {
    "./dev": dev,
    ".ci/container-image": container_image,
    ".ci/fresh-machine": fresh_machine,
    "/opt/remoting-gateway/bin/pip": pip,
    "docker": docker,
    "gcloud": gcloud,
    "helm": helm,
    "install": install,
    "java": java,
    "journalctl": journalctl,
    "keytool": keytool,
    "kubectl": kubectl,
    "oc": oc,
    "promtool": promtool,
    "python3": python3,
    "setsebool": setsebool,
    "ssh": ssh,
    "systemctl": systemctl,
    "systemd-analyze": systemd_analyze,
}
# Nothing about these can be wrong but what is said of them, or they are parts of lines that are
# executed: program -> why nobody looks.
UNCHECKED: Final[Mapping[str, str]] = {
    "kill": "-9, named as the signal that it is",
    "systemd-sysusers": "has no argument here; what it reads is installed one line before",
}
# Lines with these have to be in test_executed.LINES.
EXECUTED: Final = frozenset({"cd", "curl", "helm", "mv", "sed"})
