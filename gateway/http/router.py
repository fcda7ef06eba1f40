"""Which controller a request is for, and which of the gateway's own endpoints it means.

Owns: choosing a route by host and path, and seeing to it that no spelling of an endpoint slips
past. Host: the exact name, else the longest wildcard, else ``*``; then the longest path prefix
among that host's routes (a host that is found does not fall back to a wider one: nginx does the
same). ``*.example.com`` is every host below example.com, with one label more or several, as in
nginx. Paths are compared as Jetty and Stapler will read them: percent-decoded once, slashes merged,
dots resolved, ``;...`` removed. What is forwarded stays the raw target.

Must not know: fields other than Host, what an endpoint does, who may use it (``exposure``).

Why a second spelling is refused, instead of being understood. Jetty and Stapler do not agree with
each other, nor with RFC 3986 (Stapler ``Stapler.getServletPath``, ``canonicalPath`` and
``TokenList``): Jetty keeps empty segments that Stapler merges, Stapler cuts off as many characters
as the context path is long, drops a leading ``/static/<anything>``, splits at ``\\`` too and
decodes leniently. ``//wsagents/``, ``/%77sagents/``, ``/x/../wsagents/``, ``/wsagents;x/``,
``/static/x/wsagents/``, ``/\\wsagents/`` and ``/jenkins//../wsagents/`` all reach the agents'
endpoint of some controller. So a path that spells anything unusually and has a guarded name
anywhere in it gets 400; no browser, agent or link writes one. The same goes for a guarded name
behind an object that leads back to Jenkins' root (``/manage/wsagents/``, see ``aliases``).

A route that restricts anything is read more strictly still, since there every path decides about
being let in: the prefix is written plainly, nothing decodes to a dot segment, ``cli`` and
``jnlpJars`` are guarded too, and ``/static/<anything>/x`` is read as ``/x``, as Stapler does. Paths
that lead back to the root are read in every way that Jenkins might, and each has to be exposed.
What an edge route serves is a short list, compared byte by byte.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from typing import Final

from gateway.config.models import ControllerConfig, GatewayConfig, RouteConfig
from gateway.config.routing import ExposeConfig
from gateway.errors import HostNotServed, RemoteProtocolError, RouteNotFound
from gateway.http.aliases import NAMES as ALIASES
from gateway.http.aliases import aliases_of, leads_to

# Nothing in such a path has a second reading: no escape, parameter, backslash, empty or dot
# segment.
_PLAIN: Final = re.compile(rb"(?:/(?!\.{0,2}(?:/|\Z))[^/%;\\\0]+)*/?")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SEPARATORS: Final = re.compile(rb"[/\\;]")
_DIVIDERS: Final = re.compile(rb"[/\\]+")
_PARAMETER: Final = re.compile(rb";[^/]*")
# A name is decoded this often in search of a guarded one; nothing between us and Stapler decodes
# more.
_DECODINGS: Final = 3

_AGENTS: Final = b"wsagents"
_DISCOVERY: Final = b"tcpSlaveAgentListener"
_GUARDED: Final = frozenset({_AGENTS, _DISCOVERY})

_CLI: Final = b"cli"
_JARS: Final = b"jnlpJars"
_CLI_JARS: Final = frozenset({b"jenkins-cli.jar", b"hudson-cli.jar"})
# Where a route restricts anything, these decide about being let in, too.
_DECISIVE: Final = frozenset({_CLI, _JARS})
_DISGUISED: Final = _DECISIVE | ALIASES
_JNLP: Final = re.compile(rb"/computer/([^/]+)/(?:jenkins|slave)-agent\.jnlp")
_EDGE_JAR: Final = re.compile(rb"/jnlpJars/(?:agent|slave|remoting)\.jar")
# Stapler drops the first two segments then (``Stapler.service``), which must be sure to be two.
_STATIC: Final = b"/static"
_PLAIN_STATIC: Final = re.compile(rb"/static(?:/(?:[^/%;\\]+(?:/(?!/).*)?)?)?", re.DOTALL)


# Matches that are remembered: their number, and the bytes of a path; below 1 MiB in all.
_MOST_KNOWN: Final = 2048
_LONGEST_KNOWN: Final = 256


class Endpoint(enum.Enum):
    """What a path means to the gateway. Everything under discovery counts as discovery."""

    AGENTS = "wsagents"
    LOGIN = "login"
    TCP_DISCOVERY = "tcpSlaveAgentListener"
    AGENT_JAR = "jnlpJars"
    AGENT_JNLP = "jnlp"
    CLI = "cli"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Reading:
    """Another path below the prefix that the request may mean to Jenkins, and its endpoint.

    ``whole``: it must be exposed as if it were asked for. Otherwise it matters only where a part of
    the route is about it: the CLI, agents, or paths.
    """

    endpoint: Endpoint
    path: bytes
    whole: bool


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """The route of a request. ``prefix``: the controller's context path, ``""`` or ``/jenkins``.

    ``outside``: the path that clients write in its place, another one under an edge route only.
    ``parts``: what the route exposes; empty where it restricts nothing. ``path``: the path below
    the prefix as Jenkins reads it, for a route that has parts; None outside of the prefix.
    ``readings``: what it may be besides.
    """

    route: RouteConfig
    controller_id: str
    controller: ControllerConfig
    prefix: str
    endpoint: Endpoint
    outside: str
    edge: bool = False
    parts: tuple[ExposeConfig, ...] = ()
    path: bytes | None = None
    readings: tuple[Reading, ...] = ()

    def inside(self, target: bytes) -> bytes:
        """Return a raw target as it is for the controller: the same, but under an edge route."""
        if self.outside == self.prefix or not self.edge:
            return target
        return self.prefix.encode() + target[len(self.outside) :]


@dataclass(frozen=True, slots=True)
class _Entry:
    path: bytes  # "" or "/a/b", on segment boundaries
    prefix: bytes
    matches: dict[Endpoint, RouteMatch]
    restricted: bool
    edge: bool
    jnlp_files: bool

    def match(self, raw: bytes, path: bytes) -> RouteMatch:
        if self.edge:
            return self.matches[_edge_endpoint(raw[len(self.path) :], jnlp=self.jnlp_files)]
        endpoint = _endpoint(path, raw, self.prefix)
        if not self.restricted:
            return self.matches[endpoint]
        read = _read_strictly(raw, path, self.prefix)
        if endpoint is Endpoint.OTHER and read is not None:
            endpoint = _file_or_cli(read)
        readings = () if read is None else _other_readings(read)
        return replace(self.matches[endpoint], path=read, readings=readings)


class Router:
    """The routes of one configuration snapshot."""

    __slots__ = ("_hosts", "_known", "_wildcards")

    def __init__(self, config: GatewayConfig) -> None:
        self._hosts: dict[bytes, list[_Entry]] = {}
        # People and agents ask for the same again and again; 4 % of a small request's CPU time.
        self._known: dict[tuple[bytes | None, bytes], RouteMatch] = {}
        for route in config.routes:
            host = route.host.removesuffix(".").lower().encode()
            self._hosts.setdefault(host, []).append(_entry(config, route))
        for entries in self._hosts.values():
            entries.sort(key=lambda entry: len(entry.path), reverse=True)
        self._wildcards = sorted(
            ((host[1:], entries) for host, entries in self._hosts.items() if host[:2] == b"*."),
            key=lambda wildcard: len(wildcard[0]),
            reverse=True,
        )

    def match(self, host: bytes | None, target: bytes) -> RouteMatch:
        """Return the route for a Host value (None: there was none) and a raw request target.

        Raises HostNotServed, RouteNotFound, or RemoteProtocolError for a path that cannot be
        trusted.
        """
        raw = target.partition(b"?")[0]
        known = self._known
        match = known.get((host, raw))
        if match is not None:
            return match
        match = self._find(host, raw)
        if len(raw) <= _LONGEST_KNOWN and not match.readings:
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[host, raw] = match
        return match

    def _find(self, host: bytes | None, raw: bytes) -> RouteMatch:
        entries = None if host is None else self._entries_of(_host_name(host))
        if entries is None:
            entries = self._hosts.get(b"*")
        if entries is None:
            raise HostNotServed()
        if raw == b"*":
            raw = b"/"  # OPTIONS * asks about the server as a whole
        path = normalise(raw)
        for entry in entries:
            if _is_below(path, entry.path):
                return entry.match(raw, path)
        raise RouteNotFound()

    def _entries_of(self, name: bytes) -> list[_Entry] | None:
        entries = None if name[:1] == b"*" else self._hosts.get(name)
        if entries is not None:
            return entries
        for suffix, below in self._wildcards:
            if name.endswith(suffix) and len(name) > len(suffix):
                return below
        return None


def _entry(config: GatewayConfig, route: RouteConfig) -> _Entry:
    prefix = config.prefix_of(route)
    path = prefix if route.path is None else route.path.rstrip("/")
    controller = config.controllers[route.controller]
    parts = route.parts
    matches = {
        endpoint: RouteMatch(
            route,
            route.controller,
            controller,
            prefix,
            endpoint,
            path if route.edge else prefix,
            route.edge,
            parts if route.restricted else (),
        )
        for endpoint in Endpoint
    }
    return _Entry(
        path.encode(),
        prefix.encode(),
        matches,
        route.restricted,
        route.edge,
        any(part.jnlp_files for part in parts),
    )


def _host_name(host: bytes) -> bytes:
    """Return a Host value without port, trailing dot and brackets, in lower case."""
    if host[:1] == b"[":
        name = host[1:].partition(b"]")[0]
    else:
        name = host.partition(b":")[0].removesuffix(b".")
    return name.lower()


def _is_below(path: bytes, prefix: bytes) -> bool:
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {b"", b"/"}


def _endpoint(path: bytes, raw: bytes, prefix: bytes) -> Endpoint:
    """Classify a normalised path; refuse a raw one that says the same in another way."""
    if not _is_below(path, prefix):
        return Endpoint.OTHER
    name, _, rest = path[len(prefix) + 1 :].partition(b"/")
    if name == b"login" and not rest:
        # A slash behind it is another page to agents, but not to Stapler: proxied.
        return _spelled(Endpoint.LOGIN, raw, path) if path.endswith(name) else Endpoint.OTHER
    if name == _DISCOVERY:
        return _spelled(Endpoint.TCP_DISCOVERY, raw, path)
    if name == _AGENTS:
        if rest:
            raise RouteNotFound()  # Jenkins has nothing there, and nothing there is worth a risk
        return _spelled(Endpoint.AGENTS, raw, path)
    return _file_or_cli(path[len(prefix) :])


def _file_or_cli(path: bytes) -> Endpoint:
    """Classify a path below the prefix that is none of the gateway's own endpoints."""
    name, _, rest = path[1:].partition(b"/")
    if name == _CLI or (name == _JARS and rest in _CLI_JARS):
        return Endpoint.CLI
    if name == _JARS:
        return Endpoint.AGENT_JAR
    return Endpoint.AGENT_JNLP if _JNLP.fullmatch(path) else Endpoint.OTHER


def _edge_endpoint(raw: bytes, *, jnlp: bool) -> Endpoint:
    """Classify a raw path below an edge route's own; what is not on the list is not there."""
    if raw == b"/login":
        return Endpoint.LOGIN
    if raw in {b"/wsagents/", b"/wsagents"}:
        return Endpoint.AGENTS
    if _EDGE_JAR.fullmatch(raw):
        return Endpoint.AGENT_JAR
    file = _JNLP.fullmatch(raw) if jnlp else None
    if file is not None and _is_one_name(file[1]):
        return Endpoint.AGENT_JNLP
    raise RouteNotFound()


def _is_one_name(segment: bytes) -> bool:
    """Say whether a raw segment is a name for every reader: nothing in it divides or climbs."""
    for _ in range(_DECODINGS):
        segment = _decode(segment)
    return _SEPARATORS.search(segment) is None and segment not in {b".", b".."}


def _read_strictly(raw: bytes, path: bytes, prefix: bytes) -> bytes | None:
    """Return the path below the prefix as Jenkins reads it, None outside of the prefix.

    Raises RemoteProtocolError where another reading would be another path (see the module's text).
    """
    if not _is_below(path, prefix):
        return None
    if not _is_below(raw, prefix):
        raise RemoteProtocolError("the path of the controller must be written plainly")
    if not _PLAIN.fullmatch(raw):
        _check_one_reading(raw)
    below = path[len(prefix) :] or b"/"
    if not _is_below(below, _STATIC):
        return below
    if not _PLAIN_STATIC.fullmatch(raw[len(prefix) :]):
        raise RemoteProtocolError("the path of a static file must be written plainly")
    segments = below.split(b"/", 3)
    return b"/" + segments[3] if len(segments) == 4 else below


def _other_readings(path: bytes) -> tuple[Reading, ...]:
    """Return what Jenkins may read besides: behind an alias, or after decoding once more and
    dividing at what was encoded.
    """
    again = _PARAMETER.sub(b"", _DIVIDERS.sub(b"/", _decode(path)))
    found = [
        Reading(_file_or_cli(alias.path), alias.path, alias.whole)
        for each in ([path] if again == path else [path, again])
        for alias in aliases_of(each)
    ]
    if again != path:
        found.append(Reading(_file_or_cli(again), again, whole=False))
    return tuple(found)


def _check_one_reading(raw: bytes) -> None:
    unusual = b"//" in raw
    if b";" in raw or b"\\" in raw:
        raise RemoteProtocolError("the path must be written plainly")
    names: list[bytes] = []
    for segment in raw.split(b"/")[1:]:
        decoded = segment
        for _ in range(_DECODINGS):
            decoded = _decode(decoded)
        pieces = _SEPARATORS.split(decoded)
        if not {b".", b".."}.isdisjoint(pieces):
            raise RemoteProtocolError("the path must be written without dot segments")
        names += pieces
        if len(pieces) > 1 or (decoded in _DISGUISED and decoded != segment):
            unusual = True
    if unusual and not _DECISIVE.isdisjoint(names):
        raise RemoteProtocolError("the path must be written plainly")


def _spelled(endpoint: Endpoint, raw: bytes, path: bytes) -> Endpoint:
    if raw != path:
        raise RemoteProtocolError(f"the path of {endpoint.value} must be written plainly")
    return endpoint


def normalise(raw: bytes) -> bytes:
    """Return a raw path as Jetty and Stapler see it: decoded, merged, resolved, without ``;``.

    Raises RemoteProtocolError (400) for paths that leave the root, for malformed escapes, for NUL,
    for ``..`` behind an empty segment (Jetty and Stapler disagree), and for a guarded name in a
    path that has an unusual spelling anywhere.
    """
    if raw[:1] != b"/":
        raise RemoteProtocolError("the path does not begin with a slash")
    if _PLAIN.fullmatch(raw):
        _check_guarded(raw.split(b"/")[1:], unusual=b"/static/" in raw)
        return raw
    if _BAD_ESCAPE.search(raw):
        raise RemoteProtocolError("malformed percent-encoding in the path")
    _check_guarded_spelling(raw)
    decoded = [_decode(segment.partition(b";")[0]) for segment in raw.split(b"/")]
    path = b"/".join(decoded)
    if b"\0" in path:
        raise RemoteProtocolError("NUL in the path")
    return _resolve_dots(path)


def _resolve_dots(path: bytes) -> bytes:
    segments = path.split(b"/")[1:]
    kept: list[bytes] = []
    previous = b""
    for segment in segments:
        if segment == b"..":
            if not kept:
                raise RemoteProtocolError("the path leaves its root")
            if not previous:
                raise RemoteProtocolError("the dots in the path are ambiguous")
            kept.pop()
        elif segment and segment != b".":
            kept.append(segment)
        previous = segment
    folder = segments[-1] in {b"", b".", b".."} and bool(kept)
    return b"/" + b"/".join(kept) + (b"/" if folder else b"")


def _check_guarded_spelling(raw: bytes) -> None:
    """Refuse a guarded name in a path that is not spelled plainly in every other respect."""
    unusual = b"//" in raw or b";" in raw or b"\\" in raw
    names: list[bytes] = []
    for segment in raw.split(b"/")[1:]:
        decoded = segment
        for _ in range(_DECODINGS):
            decoded = _decode(decoded)
        pieces = _SEPARATORS.split(decoded)
        names += pieces
        disguised = decoded in _GUARDED and decoded != segment
        if disguised or len(pieces) > 1 or decoded in {b".", b"..", b"static"}:
            unusual = True
    _check_guarded(names, unusual=unusual)


def _check_guarded(names: list[bytes], *, unusual: bool) -> None:
    if not _GUARDED.isdisjoint(names) and (unusual or leads_to(names, _GUARDED)):
        raise RemoteProtocolError("the path of an agents' endpoint must be written plainly")


def _decode(segment: bytes) -> bytes:
    if b"%" not in segment:
        return segment
    return _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode("ascii")), segment)
