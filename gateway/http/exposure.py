"""What a route lets through, and for whom (``expose``, ``allow_from``).

Owns: which requests each set means (PROTOCOLS E, I.5, K.2), which part of ``expose`` decides about
a request, and the telling of an agent's probe from a person's browser.

Must not know: spellings of paths (``router`` has read them), how a request is answered.

The most specific part that fits decides, alone: the longest of the ``paths``, then the set that the
request belongs to, then ``all``. So ``[all, {set: cli, allow_from: [10.0.0.0/8]}]`` closes the CLI
to everybody else, although ``all`` would let them in. A path that may mean several things to
Jenkins (``router``) has to be let in as each of them.

A request that looks like the CLI is taken for the CLI whatever its path: a ``POST`` with
``Session`` and ``Side`` (PROTOCOLS E.3), which nothing else sends. So the CLI stays closed even
where a plugin has a path to it that nobody here knows of.
"""

from __future__ import annotations

from typing import Final

from gateway.config.networks import is_in
from gateway.config.routing import ExposeConfig
from gateway.errors import NotAuthorized, RouteNotFound
from gateway.http.router import Endpoint, Reading, RouteMatch
from gateway.protocol.http_head import RequestHead

_SETS: Final = {
    Endpoint.AGENTS: "agents",
    Endpoint.TCP_DISCOVERY: "agents",
    Endpoint.AGENT_JAR: "agents",
    Endpoint.CLI: "cli",
}
_READING: Final = frozenset({b"GET", b"HEAD"})
# Under an edge route; the agents' endpoint itself says which method it wants.
_READ_ONLY: Final = frozenset({Endpoint.LOGIN, Endpoint.AGENT_JAR, Endpoint.AGENT_JNLP})


def is_agent_probe(request: RequestHead) -> bool:
    """Say whether this is a bare Java ``HttpURLConnection``: no cookie, no credentials."""
    headers = request.headers
    return (
        request.method == b"GET"
        and b"Java/" in (headers.get(b"user-agent") or b"")
        and b"cookie" not in headers
        and b"authorization" not in headers
    )


def is_agents(match: RouteMatch, request: RequestHead) -> bool:
    """Say whether a request is of the kind that agents make."""
    if match.edge or match.endpoint is Endpoint.AGENT_JNLP:
        return True
    if match.endpoint is Endpoint.LOGIN:
        return is_agent_probe(request)
    return _SETS.get(match.endpoint) == "agents"


def check_exposure(match: RouteMatch, request: RequestHead, client: str) -> None:
    """Check that the route lets ``client`` (an IP address) make ``request``.

    Raises RouteNotFound (404) for what it does not expose, NotAuthorized (403) for the wrong
    network.
    """
    if not match.parts:
        return
    if match.edge and match.endpoint in _READ_ONLY and request.method not in _READING:
        raise RouteNotFound()
    networks = match.route.allow_from
    if networks is not None and not is_in(networks, client):
        raise NotAuthorized(detail=f"not in allow_from of route {match.route.id}")
    if match.endpoint is Endpoint.LOGIN and (match.edge or is_agent_probe(request)):
        part = _longest_path(match, match.path) or _set(match, "agents")
    else:
        part = _part_for(match, match.endpoint, match.path)
    _check_part(part, match, client)
    for reading in match.readings:
        if reading.whole or _is_about(match, reading):
            _check_part(_part_for(match, reading.endpoint, reading.path), match, client)
    if match.endpoint is not Endpoint.CLI and _is_command_line(request):
        _check_part(_part_for(match, Endpoint.CLI, b"/cli"), match, client)


def _is_about(match: RouteMatch, reading: Reading) -> bool:
    """Say whether a part of the route names what ``reading`` is, and not only all the rest."""
    return reading.endpoint in _SETS or _longest_path(match, reading.path) is not None


def _check_part(part: ExposeConfig | None, match: RouteMatch, client: str) -> None:
    if part is None:
        raise RouteNotFound(detail=f"not exposed by route {match.route.id}")
    if part.allow_from is not None and not is_in(part.allow_from, client):
        what = part.set or ", ".join(part.paths or ())
        raise NotAuthorized(detail=f"not in allow_from of {what} in route {match.route.id}")


def _is_command_line(request: RequestHead) -> bool:
    headers = request.headers
    return request.method == b"POST" and b"session" in headers and b"side" in headers


def _part_for(match: RouteMatch, endpoint: Endpoint, path: bytes | None) -> ExposeConfig | None:
    """Return the part that decides about what is at ``path``; ``/login`` is a person's here."""
    by_path = _longest_path(match, path)
    if by_path is not None:
        return by_path
    if endpoint is Endpoint.AGENT_JNLP:
        agents = next((part for part in match.parts if part.jnlp_files), None)
        if agents is not None:
            return agents
    return _set(match, _SETS.get(endpoint, "ui"))


def _set(match: RouteMatch, name: str) -> ExposeConfig | None:
    sets: dict[str, ExposeConfig] = {part.set: part for part in match.parts if part.set is not None}
    return sets.get(name) or sets.get("all")


def _longest_path(match: RouteMatch, path: bytes | None) -> ExposeConfig | None:
    """Return the part with the longest path that ``path`` is below of."""
    if path is None:
        return None
    best: ExposeConfig | None = None
    longest = -1
    for part in match.parts:
        for each in part.paths or ():
            if len(each) > longest and (path + b"/").startswith(f"{each}/".encode()):
                best, longest = part, len(each)
    return best
