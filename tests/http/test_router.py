"""Routes by host and path, and the promise that no spelling of a guarded path slips past."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.config.models import GatewayConfig
from gateway.errors import HostNotServed, RemoteProtocolError, RouteNotFound
from gateway.http.router import Endpoint, Router, normalise


def config(routes: list[dict[str, Any]], **controllers: str | None) -> GatewayConfig:
    return GatewayConfig.model_validate(
        {
            "state_dir": "/nowhere",
            "listeners": [{"address": "127.0.0.1:0"}],
            "controllers": {name: {"url": url} for name, url in controllers.items()},
            "routes": routes,
        }
    )


ROOT = Router(config([{"id": "r", "controller": "c"}], c="http://c/"))
PREFIXED = Router(config([{"id": "r", "path": "/", "controller": "c"}], c="http://c/jenkins/"))
MANY = Router(
    config(
        [
            {"id": "any", "controller": "main"},
            {"id": "a", "host": "ci.example.com", "controller": "a"},
            {"id": "ab", "host": "ci.example.com", "controller": "ab"},
            {"id": "v6", "host": "::1", "controller": "main"},
        ],
        main="http://main/",
        a="http://a/a",
        ab="http://ab/a/b",
    )
)


@pytest.mark.parametrize(
    ("host", "target", "route"),
    [
        (b"ci.example.com", b"/a", "a"),
        (b"CI.Example.COM", b"/a/", "a"),
        (b"ci.example.com:8443", b"/a/x?/a/b", "a"),
        (b"ci.example.com.", b"/a", "a"),
        (b"ci.example.com.:443", b"/a/b", "ab"),
        (b"ci.example.com", b"/a/b/c", "ab"),
        (b"ci.example.com", b"/a/bc", "a"),
        (b"ci.example.com", b"/a/%62/c", "ab"),
        (b"ci.example.com", b"/a/x/../b/c", "ab"),
        (b"ci.example.com", b"//a//b", "ab"),
        (b"ci.example.com", b"/a;v=1/b", "ab"),
        (b"other.example.com", b"/a/b", "any"),
        (b"other.example.com", b"*", "any"),
        (None, b"/", "any"),
        (b"[::1]", b"/", "v6"),
        (b"[::1]:8080", b"/", "v6"),
    ],
)
def test_the_best_host_and_then_the_longest_path_win(
    host: bytes | None, target: bytes, route: str
) -> None:
    match = MANY.match(host, target)
    assert match.route.id == route
    assert match.controller_id == match.route.controller


@pytest.mark.parametrize("target", [b"/", b"/ab", b"/b/a", b"/A", b"/a%2Fb/../..", b"*"])
def test_a_named_host_does_not_fall_back_to_any(target: bytes) -> None:
    with pytest.raises(RouteNotFound):
        MANY.match(b"ci.example.com", target)


WILD = Router(
    config(
        [
            {"id": "any", "controller": "c"},
            {"id": "wild", "host": "*.example.com", "controller": "c"},
            {"id": "longer", "host": "*.b.example.com", "controller": "c"},
            {"id": "exact", "host": "ci.example.com", "controller": "c"},
        ],
        c="http://c/",
    )
)


@pytest.mark.parametrize(
    ("host", "route"),
    [
        (b"ci.example.com", "exact"),
        (b"a.example.com", "wild"),
        (b"A.Example.com.:8443", "wild"),
        (b"a.ci.example.com", "wild"),
        (b"x.y.z.example.com", "wild"),
        (b"b.example.com", "wild"),
        (b"a.b.example.com", "longer"),
        (b"x.a.b.example.com", "longer"),
        (b"example.com", "any"),
        (b"xexample.com", "any"),
        (b".example.com", "any"),
        (b"a.example.com.evil", "any"),
        (b"*.example.com", "wild"),
        (b"*", "any"),
        (b"", "any"),
        (None, "any"),
    ],
)
def test_the_exact_name_then_the_longest_wildcard(host: bytes | None, route: str) -> None:
    assert WILD.match(host, b"/").route.id == route


def test_a_literal_star_is_no_way_around_a_missing_default() -> None:
    router = Router(config([{"id": "r", "host": "*.x", "controller": "c"}], c="http://c/"))
    for host in (b"*", b"x", b"y", None):
        with pytest.raises(HostNotServed):
            router.match(host, b"/")


@pytest.mark.parametrize("host", [b"other", b"ci.example.com.evil", b"example.com", None])
def test_a_host_that_nobody_serves(host: bytes | None) -> None:
    router = Router(
        config([{"id": "r", "host": "ci.example.com", "controller": "c"}], c="http://c/")
    )
    with pytest.raises(HostNotServed):
        router.match(host, b"/")


def test_the_prefix_is_the_controllers_also_under_a_wider_route() -> None:
    match = PREFIXED.match(None, b"/jenkins/wsagents/")
    assert match.prefix == "/jenkins"
    assert match.endpoint is Endpoint.AGENTS
    assert PREFIXED.match(None, b"/wsagents/").endpoint is Endpoint.OTHER
    assert PREFIXED.match(None, b"/jenkinsx/wsagents/").endpoint is Endpoint.OTHER


@pytest.mark.parametrize("prefix", ["", "/jenkins", "/a/b"])
@pytest.mark.parametrize(
    ("rest", "endpoint"),
    [
        ("/wsagents/", Endpoint.AGENTS),
        ("/wsagents", Endpoint.AGENTS),
        ("/wsagents/?x=/../y", Endpoint.AGENTS),
        ("/wsagents?", Endpoint.AGENTS),
        ("/login", Endpoint.LOGIN),
        ("/login?from=%2F", Endpoint.LOGIN),
        ("/login/", Endpoint.OTHER),
        ("/loginx", Endpoint.OTHER),
        ("/tcpSlaveAgentListener", Endpoint.TCP_DISCOVERY),
        ("/tcpSlaveAgentListener/", Endpoint.TCP_DISCOVERY),
        ("/tcpSlaveAgentListener/index", Endpoint.TCP_DISCOVERY),
        ("/", Endpoint.OTHER),
        ("/wsagent", Endpoint.OTHER),
        ("/wsagentss/", Endpoint.OTHER),
        ("/WSAGENTS/", Endpoint.OTHER),
        ("/cli", Endpoint.CLI),
        ("/cli/ws", Endpoint.CLI),
        ("/clix", Endpoint.OTHER),
        ("/jnlpJars/agent.jar", Endpoint.AGENT_JAR),
        ("/jnlpJars/jenkins-cli.jar", Endpoint.CLI),
        ("/computer/a%20b/jenkins-agent.jnlp", Endpoint.AGENT_JNLP),
        ("/computer/a/slave-agent.jnlp", Endpoint.AGENT_JNLP),
        ("/computer/a/other-agent.jnlp", Endpoint.OTHER),
        ("/job/wsagents/", Endpoint.OTHER),
        ("/job/a%20b/wsagents/", Endpoint.OTHER),
        ("/job/tcpSlaveAgentListener/1/", Endpoint.OTHER),
        ("/manage/job/wsagents/", Endpoint.OTHER),
        ("/view/wsagents/", Endpoint.OTHER),
        ("/view/all/job/wsagents/", Endpoint.OTHER),
        ("/manage/", Endpoint.OTHER),
        ("/manage/configureSecurity/", Endpoint.OTHER),
        ("/manage/login", Endpoint.OTHER),
        ("/static/0123/login", Endpoint.OTHER),
    ],
)
def test_endpoints(prefix: str, rest: str, endpoint: Endpoint) -> None:
    router = Router(config([{"id": "r", "controller": "c"}], c=f"http://c{prefix}/"))
    assert router.match(b"any", (prefix + rest).encode()).endpoint is endpoint


def test_a_prefix_alone_is_not_an_endpoint() -> None:
    assert PREFIXED.match(None, b"/jenkins").endpoint is Endpoint.OTHER
    assert ROOT.match(None, b"/").endpoint is Endpoint.OTHER


def test_nothing_is_below_the_agents_endpoint() -> None:
    with pytest.raises(RouteNotFound):
        ROOT.match(None, b"/wsagents/index")


@pytest.mark.parametrize(
    "path",
    [
        b"//wsagents/",
        b"/wsagents//",
        b"/%77sagents/",
        b"/wsagent%73",
        b"/%2577sagents/",
        b"/%252577sagents/",
        b"/x/../wsagents/",
        b"/./wsagents/",
        b"/wsagents/.",
        b"/wsagents/x/..",
        b"/%2e/wsagents/",
        b"/x/%2E%2e/wsagents/",
        b"/x/.%2e/wsagents/",
        b"/%2Fwsagents/",
        b"/%2fwsagents",
        b"/wsagents%2F",
        b"/x%2F..%2Fwsagents/",
        b"/wsagents;x/",
        b"/wsagents;jsessionid=1",
        b"/wsagents/;x",
        b"/;x/wsagents/",
        b"/..;/wsagents/",
        b"/x/..;/wsagents/",
        b"/wsagents%3Bx/",
        b"/\\wsagents/",
        b"/wsagents\\",
        b"/x\\..\\wsagents/",
        b"/%5Cwsagents/",
        b"/static/x/wsagents/",
        b"/static/x/wsagents",
        b"//static/x/wsagents/",
        b"/%73tatic/x/wsagents/",
        b"/static/../static/x/wsagents/",
        b"/tcpSlaveAgentListener//",
        b"//tcpSlaveAgentListener",
        b"/tcpSlaveAgentListene%72/",
        b"/static/x/tcpSlaveAgentListener/",
        b"/manage/wsagents/",
        b"/manage/tcpSlaveAgentListener/",
        b"/manage/manage/tcpSlaveAgentListener",
        b"/%6danage/wsagents/",
        b"/manag%65/wsagents/",
        b"/static/x/manage/wsagents/",
        b"/itemGroup/tcpSlaveAgentListener/",
        b"/owner/manage/wsagents/",
        b"/view/all/wsagents/",
        b"/view/job/wsagents/",
        b"/view/all/owner/tcpSlaveAgentListener/",
        b"/primaryView/wsagents/",
        b"/descriptor/d/resolver/r/provider/p/context/jenkins/wsagents/",
        b"/view/all/ownerItemGroup/wsagents/",
        b"/job/a%20b/parent/wsagents/",
        b"/job/x/1/builtOn/tcpSlaveAgentListener/",
        b"/computer/(built-in)/node/wsagents/",
        b"/me/my-views/view/all/wsagents/",
        b"//login",
        b"/l%6Fgin",
        b"/x/../login",
        b"/login;x",
        b"/./login",
    ],
)
@pytest.mark.parametrize("prefix", [b"", b"/jenkins"])
def test_another_spelling_of_a_guarded_path_is_refused(path: bytes, prefix: bytes) -> None:
    router = PREFIXED if prefix else ROOT
    with pytest.raises(RemoteProtocolError) as raised:
        router.match(None, prefix + path)
    assert raised.value.status_hint == 400


@pytest.mark.parametrize(
    "path",
    [
        b"/jenk%69ns/wsagents/",
        b"/jenkins//../wsagents/",  # Jetty keeps the empty segment, Stapler cuts 8 characters off
        b"//jenkins/wsagents/",
        b"/x/../jenkins/wsagents/",
        b"/jenkins;x/wsagents/",
    ],
)
def test_another_spelling_of_the_prefix_is_refused_too(path: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        PREFIXED.match(None, path)


@pytest.mark.parametrize(
    "path",
    [
        b"/..",
        b"/../x",
        b"/x/../../y",
        b"/%2e%2e/x",
        b"/x/..%2F..%2Fy",
        b"/x//../y",
        b"/%",
        b"/%4",
        b"/%zz",
        b"/%4x",
        b"/x%",
        b"/%00",
        b"/x%00y",
        b"/\0",
        b"",
        b"x",
        b"?x",
    ],
)
def test_paths_that_mean_nothing_certain_are_refused(path: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ROOT.match(None, path)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", b"/"),
        (b"//", b"/"),
        (b"/a/b/", b"/a/b/"),
        (b"/a//b", b"/a/b"),
        (b"/a/./b", b"/a/b"),
        (b"/a/.", b"/a/"),
        (b"/a/b/..", b"/a/"),
        (b"/a/..", b"/"),
        (b"/a/../b", b"/b"),
        (b"/a;x/b;y=z", b"/a/b"),
        (b"/a%20b", b"/a b"),
        (b"/a%2Fb", b"/a/b"),
        (b"/a%252Fb", b"/a%2Fb"),
        (b"/a%C3%BC", b"/a\xc3\xbc"),
        (b"/...", b"/..."),
        (b"/.a/..b/c.", b"/.a/..b/c."),
        (b"/a\\b", b"/a\\b"),
    ],
)
def test_paths_are_normalised_as_jetty_does(raw: bytes, path: bytes) -> None:
    assert normalise(raw) == path


def test_the_target_of_jenkins_own_proxy_test_is_an_ordinary_one() -> None:
    """PROTOCOLS I.2: an encoded URL inside the path."""
    target = (
        b"/administrativeMonitor/hudson.diagnosis.ReverseProxySetupMonitor"
        b"/testForReverseProxySetup/https%3A%2F%2Fci.example.com%2Fmanage%2F/"
    )
    assert ROOT.match(None, target).endpoint is Endpoint.OTHER


# -- no spelling slips past ------------------------------------------------------------------------


def _unhex(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


def _decode(text: str) -> str:
    return re.sub("%([0-9A-Fa-f]{2})", _unhex, text)


def jetty(raw: str) -> list[str]:
    """Tokens of ``raw``: parameters off, dots resolved with empty segments kept, then decoded."""
    kept: list[str] = []
    for segment in raw.split("/")[1:]:
        name = _decode(segment.split(";")[0])
        if name == "..":
            kept = kept[:-1]
        elif name != ".":
            kept.append(name)
    return [token for token in "/".join(kept).split("/") if token]


def stapler(raw: str, prefix: str, *, decoded_first: bool) -> list[str]:
    """Tokens as Stapler makes them of the request URI, in old releases of the servlet path."""
    path = raw[len(prefix) :]
    if decoded_first:
        path = _decode(path)
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in {"", "."}:
            kept.append(segment)
    if kept[:1] == ["static"] and len(kept) > 2:
        kept = kept[2:]
    return [_decode(token) for segment in kept for token in segment.split("\\") if token]


# What Jenkins finds from an object by one name; a star stands for any name behind it.
OBJECTS: dict[str, dict[str, str]] = {
    "root": {
        "manage": "root",
        "itemGroup": "root",
        "owner": "root",
        "ownerItemGroup": "root",
        "view *": "view",
        "primaryView": "view",
        "job *": "job",
        "descriptor *": "helper",
        "computer *": "computer",
        "user *": "user",
        "me": "user",
    },
    "view": {"owner": "root", "ownerItemGroup": "root", "job *": "job", "view *": "view"},
    "job": {
        "parent": "root",
        "lastBuiltOn": "root",
        "1": "build",
        "job *": "job",
        "view *": "view",
    },
    "build": {"parent": "job", "builtOn": "root"},
    "computer": {"node": "root"},
    "helper": {"resolver *": "helper", "provider *": "helper", "context jenkins": "root"},
    "user": {"my-views": "views"},
    "views": {"view *": "view", "itemGroup": "root"},
}


def jenkins(tokens: list[str]) -> list[list[str]]:
    """Return what is left of ``tokens`` whenever Jenkins is at its root, or at a view's actions."""
    found = [tokens]
    at, rest = "root", tokens
    while rest:
        known = OBJECTS[at]
        if rest[0] in known:
            at, rest = known[rest[0]], rest[1:]
        elif len(rest) > 1 and f"{rest[0]} *" in known:
            at, rest = known[f"{rest[0]} *"], rest[2:]
        elif len(rest) > 1 and f"{rest[0]} {rest[1]}" in known:
            at, rest = known[f"{rest[0]} {rest[1]}"], rest[2:]
        else:
            break
        if at in {"root", "view"}:
            found.append(rest)
    return found


SEPARATORS = ["/", "/", "//", "\\", ".", "..", ";", ";x", "%2F", "%2f", "%5C", "%3B"]
ENCODED = ["%", "%2e", "%2E%2e", "%25", "%252F", "%77", "%2577", "%6a", "%00"]
WORDS = [
    "wsagents",
    "wsagent",
    "sagents",
    "s",
    "login",
    "jenkins",
    "jenkin",
    "static",
    "x",
    "index",
]
ALIASES = [
    "/manage",
    "/manage/",
    "itemGroup",
    "owner",
    "view/x",
    "/job/x",
    "1",
    "parent",
    "/builtOn/",
    "computer/x/node",
    "me/my-views/view/all",
    "primaryView",
    "descriptor/x/context/jenkins",
]
PARTS = st.sampled_from([*SEPARATORS, *ENCODED, *WORDS, *ALIASES, "tcpSlaveAgentListener"])


@given(parts=st.lists(PARTS, max_size=9), prefix=st.sampled_from(["", "/jenkins"]))
@example(parts=["manage", "/", "wsagents"], prefix="/jenkins")
@example(parts=["view/x", "/", "wsagents"], prefix="")
def test_whatever_reaches_a_guarded_endpoint_is_seen_as_one(parts: list[str], prefix: str) -> None:
    raw = "/" + "".join(parts)
    for start in ("", prefix):
        path = start + raw
        try:
            match = (PREFIXED if prefix else ROOT).match(None, path.encode())
        except (RemoteProtocolError, RouteNotFound):
            continue
        if match.endpoint in {Endpoint.AGENTS, Endpoint.TCP_DISCOVERY}:
            continue
        seen = jetty(path)
        if prefix and seen[:1] != [prefix[1:]]:
            continue  # Jetty finds no such web application
        for tokens in (
            seen[1:] if prefix else seen,
            stapler(path, prefix, decoded_first=False),
            stapler(path, prefix, decoded_first=True),
        ):
            for rest in jenkins(tokens):
                assert rest[:1] not in (["wsagents"], ["tcpSlaveAgentListener"]), path


@given(st.lists(PARTS | st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12))
def test_normalising_is_stable_and_raises_one_error_only(parts: list[str]) -> None:
    raw = ("/" + "".join(parts)).encode()
    try:
        path = normalise(raw)
    except RemoteProtocolError:
        return
    assert path.startswith(b"/")
    assert b"//" not in path
    assert not re.search(rb"/\.\.?(/|\Z)", path)


def test_what_is_remembered_stays_bounded_and_tells_hosts_apart() -> None:
    config = _two_hosts()
    router = Router(config)
    for number in range(3000):
        target = b"/job/%d/?x" % number
        assert router.match(b"a.example.com", target).controller_id == "a"
        assert router.match(b"b.example.com", target).controller_id == "b"
        assert len(router._known) <= 2048
    assert router.match(b"a.example.com", b"/job/1/").controller_id == "a"
    before = len(router._known)
    assert router.match(b"a.example.com", b"/" + b"x" * 300).controller_id == "a"
    with pytest.raises(HostNotServed):
        router.match(b"c.example.com", b"/job/1/")
    assert len(router._known) == before


def _two_hosts() -> GatewayConfig:
    return GatewayConfig.model_validate(
        {
            "state_dir": "/tmp",
            "listeners": [{"address": "127.0.0.1:1"}],
            "controllers": {name: {"url": f"http://{name}/"} for name in "ab"},
            "routes": [
                {"id": name, "host": f"{name}.example.com", "controller": name} for name in "ab"
            ],
        }
    )
