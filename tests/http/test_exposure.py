"""What a route lets through, for whom, and that no spelling gets anybody in.

The oracles of ``test_router`` stand for Jetty and Stapler: whatever is let in must be exposed in
every reading of its path.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.config.models import GatewayConfig
from gateway.errors import GatewayError, NotAuthorized, RemoteProtocolError, RouteNotFound
from gateway.http.exposure import check_exposure, is_agent_probe, is_agents
from gateway.http.router import Endpoint, RouteMatch, Router
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Field, Headers
from tests.http.test_router import ALIASES, PARTS, jenkins, jetty, stapler

JAVA: Field = (b"User-Agent", b"Java/17.0.9")
FIREFOX: Field = (b"User-Agent", b"Mozilla/5.0")
CLIENT = "192.0.2.7"


def router(*expose: Any, prefix: str = "", **route: Any) -> Router:
    return Router(
        GatewayConfig.model_validate(
            {
                "state_dir": "/nowhere",
                "listeners": [{"address": "127.0.0.1:1"}],
                "controllers": {"main": {"url": f"http://jenkins.test{prefix}/"}},
                "routes": [
                    {"id": "r", "controller": "main", "expose": expose or ("all",), **route}
                ],
            }
        )
    )


def admit(
    by: Router,
    target: str,
    *fields: Field,
    method: str = "GET",
    client: str = CLIENT,
) -> RouteMatch:
    request = RequestHead(method.encode(), target.encode(), b"1.1", Headers(fields or (FIREFOX,)))
    match = by.match(b"any", request.target)
    check_exposure(match, request, client)
    return match


def status(by: Router, target: str, *fields: Field, **more: Any) -> int:
    try:
        admit(by, target, *fields, **more)
    except RemoteProtocolError as error:
        return error.status_hint
    except RouteNotFound:
        return 404
    except NotAuthorized:
        return 403
    return 200


AGENTS = [
    "/wsagents/",
    "/wsagents",
    "/tcpSlaveAgentListener/",
    "/tcpSlaveAgentListener",
    "/jnlpJars/agent.jar",
    "/jnlpJars/slave.jar",
    "/jnlpJars/remoting.jar",
    "/jnlpJars/other.jar",
]
CLI = ["/cli", "/cli/", "/cli/ws", "/cli?remoting=false", "/jnlpJars/jenkins-cli.jar"]
UI = [
    "/",
    "/login",
    "/login/",
    "/job/a%20b/job/feature%2Fx/",
    "/job/cli/",
    "/script",
    "/clix",
    "/computer/n/",
    "/computer/n/jenkins-agent.jnlp",
    "/static/0123abcd/css/a.css",
    "/static/0123abcd/css/a%20b.css",
    "/administrativeMonitor/m/test/https%3A%2F%2Fci.example.com%2Fmanage%2F/",
]


@pytest.mark.parametrize("prefix", ["", "/jenkins"])
@pytest.mark.parametrize(
    ("expose", "allowed"),
    [
        (["all"], {"agents", "cli", "ui"}),
        (["agents", "cli"], {"agents", "cli"}),
        (["cli"], {"cli"}),
        (["ui"], {"ui"}),
        (["ui", "agents"], {"ui", "agents"}),
        (["agents", "cli", "ui"], {"agents", "cli", "ui"}),
    ],
)
def test_sets(prefix: str, expose: list[str], allowed: set[str]) -> None:
    by = router(*expose, prefix=prefix)
    for name, targets in (("agents", AGENTS), ("cli", CLI), ("ui", UI)):
        for target in targets:
            expected = 200 if name in allowed else 404
            assert status(by, prefix + target) == expected, target


def test_login_belongs_to_whoever_asks() -> None:
    assert status(router("agents", "cli"), "/login", JAVA) == 200
    assert status(router("agents", "cli"), "/login", FIREFOX) == 404
    assert status(router("ui"), "/login", FIREFOX) == 200
    assert status(router("ui"), "/login", JAVA) == 404
    assert status(router("ui"), "/login", JAVA, (b"Cookie", b"a=b")) == 200
    # Stapler serves the page there too, but no agent asks so.
    assert status(router("agents", "cli"), "/static/x/login", JAVA) == 404


def test_jnlp_files_are_a_switch() -> None:
    target = "/computer/node%201/jenkins-agent.jnlp"
    assert status(router("agents", "cli"), target) == 404
    assert status(router({"set": "agents", "jnlp_files": True}, "cli"), target) == 200
    limited = {"set": "agents", "jnlp_files": True, "allow_from": ["10.0.0.0/8"]}
    assert status(router("ui", limited), target) == 403


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/github-webhook", 200),
        ("/github-webhook/", 200),
        ("/github-webhook/x%20y?z", 200),
        ("/github-webhookx", 404),
        ("/", 404),
        ("/x", 404),
        ("/github-webhook/../script", 400),
        ("/github-webhook/%2e%2e/script", 400),
        ("/github-webhook%2F..%2Fscript", 400),
        ("/script/..%2Fgithub-webhook/", 400),
        ("/script/..;/github-webhook/", 400),
        ("/script;/github-webhook", 400),
        ("/static/x/script", 404),
        ("/static/x/github-webhook/", 200),
        ("/static//script/github-webhook", 400),
        ("//static/x/github-webhook", 400),
        ("/%73tatic/x/github-webhook", 400),
    ],
)
def test_paths(target: str, expected: int) -> None:
    assert status(router({"paths": ["/github-webhook"]}), target) == expected


def test_all_paths() -> None:
    by = router({"paths": ["/"]}, prefix="/ci", path="/")
    assert status(by, "/ci") == 200
    assert status(by, "/ci/script") == 200
    assert status(by, "/other") == 404


NEAR: dict[str, Any] = {"allow_from": ["192.0.2.0/24"]}
FAR: dict[str, Any] = {"allow_from": ["10.0.0.0/8", "2001:db8::/32"]}


@pytest.mark.parametrize(
    ("expose", "target", "expected"),
    [
        (["all", {"set": "cli", **FAR}], "/cli", 403),
        (["all", {"set": "cli", **FAR}], "/job/x/", 200),
        (["all", {"set": "cli", **NEAR}], "/cli", 200),
        (["ui", {"set": "agents", **FAR}], "/wsagents/", 403),
        (["ui", {"set": "agents", **FAR}], "/cli", 404),
        (["all", {"paths": ["/job/secret"], **FAR}], "/job/secret/1/", 403),
        (["all", {"paths": ["/job/secret"], **FAR}], "/job/secrets/", 200),
        ([{"set": "ui", **FAR}, {"paths": ["/hook"]}], "/hook/x", 200),
        ([{"set": "ui", **FAR}, {"paths": ["/hook"]}], "/", 403),
        ([{"paths": ["/a"], **FAR}, {"paths": ["/a/b"]}], "/a/b/c", 200),
        ([{"paths": ["/a/b"]}, {"paths": ["/a"], **FAR}], "/a/c", 403),
        ([{"set": "all", **FAR}], "/", 403),
    ],
)
def test_the_most_specific_part_decides(expose: list[Any], target: str, expected: int) -> None:
    assert status(router(*expose), target) == expected


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("10.1.2.3", 200),
        ("2001:db8::5", 200),
        ("192.0.2.7", 403),
        ("::1", 403),
        ("unknown", 403),
        ("unix", 403),
    ],
)
def test_networks_of_a_route(client: str, expected: int) -> None:
    assert status(router(**FAR), "/", client=client) == expected


def test_a_networks_refusal_says_nothing_to_strangers() -> None:
    with pytest.raises(NotAuthorized) as raised:
        admit(router("all", {"set": "cli", **FAR}), "/cli")
    assert raised.value.public == "not authorized"
    assert raised.value.detail == "not in allow_from of cli in route r"


# -- the edge --------------------------------------------------------------------------------------

EDGE = router({"set": "agents", "jnlp_files": True}, path="/team")


@pytest.mark.parametrize(
    ("target", "endpoint", "inside"),
    [
        ("/team/login", Endpoint.LOGIN, "/ci/login"),
        ("/team/login?from=x", Endpoint.LOGIN, "/ci/login?from=x"),
        ("/team/wsagents/", Endpoint.AGENTS, "/ci/wsagents/"),
        ("/team/wsagents", Endpoint.AGENTS, "/ci/wsagents"),
        ("/team/jnlpJars/agent.jar", Endpoint.AGENT_JAR, "/ci/jnlpJars/agent.jar"),
        ("/team/jnlpJars/slave.jar?x=/team", Endpoint.AGENT_JAR, "/ci/jnlpJars/slave.jar?x=/team"),
        ("/team/jnlpJars/remoting.jar", Endpoint.AGENT_JAR, "/ci/jnlpJars/remoting.jar"),
        (
            "/team/computer/a%20b/slave-agent.jnlp",
            Endpoint.AGENT_JNLP,
            "/ci/computer/a%20b/slave-agent.jnlp",
        ),
    ],
)
def test_what_an_edge_route_serves(target: str, endpoint: Endpoint, inside: str) -> None:
    by = router({"set": "agents", "jnlp_files": True}, prefix="/ci", path="/team")
    match = admit(by, target)
    assert match.endpoint is endpoint
    assert match.inside(target.encode()) == inside.encode()
    root = router({"set": "agents", "jnlp_files": True}, path="/team")
    assert admit(root, target).inside(target.encode()) == inside.removeprefix("/ci").encode()


def test_paths_are_not_rewritten_elsewhere() -> None:
    wide = router("all", prefix="/ci", path="/")
    assert admit(wide, "/ci/x").inside(b"/ci/x") == b"/ci/x"
    assert admit(router("agents", prefix="/ci"), "/ci/login").inside(b"/ci/login") == b"/ci/login"


@pytest.mark.parametrize(
    "target",
    [
        "/team",
        "/team/",
        "/team/login/",
        "/team/loginx",
        "/team/tcpSlaveAgentListener/",
        "/team/tcpSlaveAgentListener",
        "/team/cli",
        "/team/cli/ws",
        "/team/script",
        "/team/jnlpJars/",
        "/team/jnlpJars/jenkins-cli.jar",
        "/team/jnlpJars/agent.jar/",
        "/team/jnlpJars/x/agent.jar",
        "/team/jnlpJars//agent.jar",
        "/team//jnlpJars/agent.jar",
        "/team/%6anlpJars/agent.jar",
        "/team/jnlpJars/agent%2Ejar",
        "/team/jnlpJars/x/../agent.jar",
        "/team/./jnlpJars/agent.jar",
        "/team/jnlpJars/agent.jar;x",
        "/team;x/jnlpJars/agent.jar",
        "/team/static/x/jnlpJars/agent.jar",
        "//team/jnlpJars/agent.jar",
        "/%74eam/jnlpJars/agent.jar",
        "/x/../team/jnlpJars/agent.jar",
        "/team/computer/a/config.xml",
        "/team/computer/a/b/jenkins-agent.jnlp",
        "/team/computer/a%2Fb/jenkins-agent.jnlp",
        "/team/computer/%2e%2e/jenkins-agent.jnlp",
        "/team/computer/%252e%252e/jenkins-agent.jnlp",
        "/team/computer/..;/jenkins-agent.jnlp",
        "/team/computer/a%5Cb/jenkins-agent.jnlp",
        "/team/computer//jenkins-agent.jnlp",
        "/team/computer/a/other-agent.jnlp",
        "/login",
        "/wsagents/",
    ],
)
def test_what_an_edge_route_does_not_serve(target: str) -> None:
    assert status(EDGE, target) in {404, 400}


def test_an_edge_route_serves_jnlp_files_only_if_told_so() -> None:
    by = router("agents", path="/team")
    assert status(by, "/team/computer/a/jenkins-agent.jnlp") == 404
    assert status(by, "/team/jnlpJars/agent.jar") == 200


@pytest.mark.parametrize("target", ["/team/login", "/team/jnlpJars/agent.jar"])
def test_an_edge_route_is_read_only(target: str) -> None:
    assert status(EDGE, target, method="HEAD") == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"):
        assert status(EDGE, target, method=method) == 404


def test_login_at_the_edge_is_an_agents_whoever_asks() -> None:
    request = RequestHead(b"GET", b"/team/login", b"1.1", Headers([FIREFOX]))
    assert is_agents(admit(EDGE, "/team/login"), request)
    assert not is_agents(admit(router("ui"), "/login"), request)


def test_an_edge_route_may_be_for_some_networks_only() -> None:
    by = router({"set": "agents", **FAR}, path="/team")
    assert status(by, "/team/wsagents/") == 403
    assert status(by, "/team/wsagents/", client="10.0.0.1") == 200
    assert status(by, "/team/script") == 404


@pytest.mark.parametrize(
    ("method", "fields", "expected"),
    [
        (b"GET", [JAVA], True),
        (b"HEAD", [JAVA], False),
        (b"GET", [FIREFOX], False),
        (b"GET", [], False),
        (b"GET", [JAVA, (b"Cookie", b"a=b")], False),
        (b"GET", [JAVA, (b"Authorization", b"Basic x")], False),
    ],
)
def test_agents_probes(method: bytes, fields: list[Field], *, expected: bool) -> None:
    request = RequestHead(method, b"/login", b"1.1", Headers(fields))
    assert is_agent_probe(request) is expected


# -- spellings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wsagents/", "cli", "cli/ws", "jnlpJars/agent.jar"])
@pytest.mark.parametrize("prefix", ["", "/jenkins"])
@pytest.mark.parametrize(
    "spelling",
    [
        "//{name}",
        "/./{name}",
        "/x/../{name}",
        "/x/..;/{name}",
        "/;x/{name}",
        "/x//../{name}",
        "/\\{name}",
        "/x\\..\\{name}",
        "/%2F{name}",
        "/%5C{name}",
        "/%2e/{name}",
        "/x/%2e%2e/{name}",
        "/x%2F..%2F{name}",
        "/%2577{name}/../{name}",
        "/static/x/{name}",
        "/static//x/{name}",
        "//static/x/{name}",
        "/%73tatic/x/{name}",
    ],
)
def test_no_spelling_of_another_set_is_the_uis(name: str, prefix: str, spelling: str) -> None:
    target = prefix + spelling.format(name=name)
    assert status(router("ui", prefix=prefix), target) in {400, 404}


@pytest.mark.parametrize(
    "target",
    ["/%63li", "/cl%69", "/%2563li", "/cli;x", "/cli%3Bx", "/%6anlpJars/agent.jar"],
)
def test_no_encoding_of_another_set_is_the_uis(target: str) -> None:
    assert status(router("ui"), target) in {400, 404}


@pytest.mark.parametrize(
    "target", ["/%6aenkins/job", "/jenkins;x/job", "//jenkins/job", "/x/../jenkins/job"]
)
def test_the_prefix_is_written_plainly(target: str) -> None:
    assert status(router({"paths": ["/job"]}, prefix="/jenkins"), target) == 400


# -- aliases ---------------------------------------------------------------------------------------

ALIAS = [
    "/manage",
    "/manage/manage",
    "/static/x/manage",
    "/itemGroup",
    "/owner",
    "/ownerItemGroup",
    "/view/all",
    "/view/job",
    "/view/manage",
    "/view/view",
    "/view/all/owner",
    "/primaryView",
    "/descriptor/d/resolver/r/provider/p/context/jenkins",
    "/job/x/parent",
    "/job/artifact/parent",
    "/job/x/lastBuiltOn",
    "/job/x/1/builtOn",
    "/job/x/1/parent/parent",
    "/computer/(built-in)/node",
    "/computer/%28built-in%29/node",
    "/me/my-views/view/all",
    "/manage/view/all/owner/manage",
]


@pytest.mark.parametrize("prefix", ["", "/jenkins"])
@pytest.mark.parametrize("alias", ALIAS)
def test_the_cli_is_the_cli_from_wherever_jenkins_finds_it(alias: str, prefix: str) -> None:
    near_only = router("all", {"set": "cli", **FAR}, prefix=prefix)
    for name in ("/cli", "/cli/", "/cli/ws", "/cli?remoting=false", "/jnlpJars/jenkins-cli.jar"):
        target = prefix + alias + name
        assert status(router("ui", prefix=prefix), target) == 404, target
        assert status(router("ui", "agents", prefix=prefix), target, method="POST") == 404, target
        assert status(near_only, target) == 403, target
        assert status(near_only, target, client="10.0.0.1") == 200, target
        assert status(router("all", allow_from=["192.0.2.0/24"], prefix=prefix), target) == 200


@pytest.mark.parametrize("alias", [each for each in ALIAS if "view" not in each.lower()])
def test_paths_are_the_same_from_wherever_jenkins_finds_them(alias: str) -> None:
    closed = router("all", {"paths": ["/script", "/job/secret"], **FAR})
    for name in ("/script", "/script/", "/scriptText/../script", "/job/secret/1/"):
        assert status(closed, alias + name) in {403, 400}, name
    assert status(closed, alias + "/scripts") == 200
    assert status(closed, alias + "/script", client="10.0.0.1") == 200
    assert status(router({"paths": ["/manage", "/job", "/view"]}), alias + "/script") == 404


def test_a_job_is_the_same_in_a_view() -> None:
    closed = router("all", {"paths": ["/job/secret"], **FAR})
    for view in ("/view/all", "/view/a%20b/view/c", "/user/x/my-views/view/all", "/me/my-views"):
        assert status(closed, f"{view}/job/secret/1/") == 403
        assert status(closed, f"{view}/job/other/1/") == 200
    public = router({"paths": ["/view/public"]})
    assert status(public, "/view/public/job/x/") == 200
    assert status(public, "/view/public/api/json") == 200
    assert status(public, "/view/public/owner/job/x/") == 404
    assert status(public, "/view/public/cli") == 404


def test_manage_itself_is_a_page_of_the_ui() -> None:
    for target in ("/manage", "/manage/", "/manage/configureSecurity/", "/manage/computer/new"):
        assert status(router("ui"), target) == 200
        assert status(router("agents", "cli"), target) == 404
    assert status(router({"paths": ["/manage"]}), "/manage/") == 200
    # It is all of Jenkins below another name, so it takes a route that exposes that.
    assert status(router({"paths": ["/manage"]}), "/manage/configure") == 404
    limited = router("ui", {"paths": ["/manage"], **FAR})
    assert status(limited, "/manage/configure") == 403
    assert status(limited, "/manage/configure", client="10.0.0.1") == 200
    jnlp = router("ui", {"set": "agents", "jnlp_files": True, **FAR})
    assert status(jnlp, "/manage/computer/n/jenkins-agent.jnlp") == 403


@pytest.mark.parametrize(
    "target",
    [
        "/job/public/ws/src/parent/cli/main.c",
        "/job/public/1/artifact/node/owner/cli/a.jar",
        "/job/public/job/x/lastSuccessfulBuild/artifact/manage/cli",
        "/job/public/1/execution/node/3/log/",
        "/job/public/manage/1/",
    ],
)
def test_files_and_steps_are_no_aliases(target: str) -> None:
    assert status(router({"paths": ["/job/public"]}), target) == 200
    assert status(router("ui"), target) == 200


@pytest.mark.parametrize(
    "target", ["/job/ws/parent/cli", "/job/artifact/parent/cli", "/job/x/parent/artifact/owner/cli"]
)
def test_what_is_called_like_files_hides_nothing(target: str) -> None:
    assert status(router("ui"), target) == 404


@pytest.mark.parametrize(
    "alias", ["/%6danage", "/manage;x", "//manage", "/x/../manage", "/%256danage"]
)
def test_a_disguised_alias_is_refused(alias: str) -> None:
    for name in ("/cli", "/cli/ws", "/jnlpJars/jenkins-cli.jar"):
        assert status(router("all", {"set": "cli", **FAR}), alias + name) == 400


@pytest.mark.parametrize(
    "path",
    ["/%5Cscript", "/script%5Cx", "/script%3Bx", "/%2573cript", "/%2Fscript", "/manage%5Cscript"],
)
def test_what_was_encoded_may_divide(path: str) -> None:
    closed = router("all", {"paths": ["/script"], **FAR})
    assert status(closed, path) == 403
    assert status(closed, path, client="10.0.0.1") == 200
    assert status(router("ui"), path) == 200


def test_nobody_goes_back_and_forth_for_ever() -> None:
    assert status(router("ui"), "/manage" * 7 + "/x") == 200
    assert status(router("ui"), "/manage" * 20 + "/x") == 400


HALF: tuple[Field, ...] = ((b"Session", b"b7a7e8e2"), (b"Side", b"download"))


def test_what_looks_like_the_cli_is_taken_for_it() -> None:
    """PROTOCOLS E.3: a path of a plugin's that leads to the root is known to nobody."""
    target = "/plugin-of-ours/jenkins/cli"
    ui = router("ui")
    assert status(ui, target, *HALF, method="POST") == 404
    assert status(ui, target, HALF[0], method="POST") == 200
    assert status(ui, target, *HALF) == 200
    assert status(router("ui", "cli"), target, *HALF, method="POST") == 200
    closed = router("all", {"set": "cli", **FAR})
    assert status(closed, target, *HALF, method="POST") == 403
    assert status(closed, target, *HALF, method="POST", client="10.0.0.1") == 200
    assert status(router({"paths": ["/cli"]}), "/cli", *HALF, method="POST") == 200
    assert status(router("all"), target, *HALF, method="POST") == 200


WORDS = ["cli", "jnlpJars", "agent.jar", "c", "li", "hook", "job", "script", "ws"]
SPELLED = PARTS | st.sampled_from(
    [*ALIASES, *WORDS, "/cli", "/hook", "/static/x", "%63li", "%2568ook"]
)
SETS: dict[str, tuple[Any, ...]] = {
    "ui": ("ui",),
    "cli": ("cli",),
    "agents": ("agents", "cli"),
    "paths": ({"paths": ["/hook", "/job"]},),
    "closed": ("all", {"set": "cli", **FAR}, {"paths": ["/script"], **FAR}),
}


def allowed(kind: str, tokens: list[str]) -> bool:
    """Say whether what Jenkins serves for these tokens is exposed under ``SETS[kind]``."""
    first = tokens[0] if tokens else ""
    if kind == "ui":
        return first not in {"cli", "jnlpJars", "wsagents", "tcpSlaveAgentListener"}
    if kind == "paths":
        return first in {"hook", "job"}
    if kind == "closed":
        return first not in {"cli", "script"} and tokens[:2] != ["jnlpJars", "jenkins-cli.jar"]
    known = {"cli", "jnlpJars"}
    return first in (known if kind == "cli" else known | {"wsagents", "tcpSlaveAgentListener"})


@given(
    parts=st.lists(SPELLED, max_size=8),
    kind=st.sampled_from(sorted(SETS)),
    prefix=st.sampled_from(["", "/jenkins", "/a/script"]),
)
@example(parts=["script", "/..%2Fhook/"], kind="paths", prefix="")
@example(parts=["static", "//", "script/hook"], kind="paths", prefix="")
@example(parts=["static/x/cli"], kind="ui", prefix="/jenkins")
@example(parts=["manage/cli"], kind="ui", prefix="")
@example(parts=["manage", "/", "script"], kind="closed", prefix="/jenkins")
@example(parts=["view/x", "/cli"], kind="closed", prefix="")
@example(parts=["%5C", "script"], kind="closed", prefix="")
def test_what_is_let_in_is_exposed_in_every_reading(
    parts: list[str], kind: str, prefix: str
) -> None:
    target = prefix + "/" + "".join(parts)
    by = router(*SETS[kind], prefix=prefix)
    try:
        admit(by, target, JAVA)
    except GatewayError:
        return
    seen = jetty(target)
    depth = prefix.count("/")
    if prefix and seen[:depth] != prefix.split("/")[1:]:
        return  # Jetty finds no such web application
    if "?" in target:
        return
    for tokens in (
        seen[depth:],
        stapler(target, prefix, decoded_first=False),
        stapler(target, prefix, decoded_first=True),
    ):
        if tokens[:1] == ["static"]:
            continue  # nothing is there; what Stapler makes of it is another reading
        for place, rest in enumerate(jenkins(tokens)):
            if place and not rest:
                continue  # an alias' own page
            if rest[:1] != ["login"] and not allowed(kind, rest):
                # A name that holds a separator is one token to Stapler; no such thing exists.
                assert any(c in (rest or [""])[0] for c in "/\\;"), (target, tokens)
