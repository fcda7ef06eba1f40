"""From an nginx configuration to gateway.yaml.

Owns: the order of things: server blocks in, listeners, controllers, routes and limits out, then a
note for every directive that is left. Must not know: the single directives (``nginx_*``), files to
write.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gateway.config.limits import LimitsConfig
from gateway.config.routing import parse_route_host
from gateway.config.values import format_duration, format_size
from gateway.errors import ConfigError
from gateway.importing.nginx_access import closing
from gateway.importing.nginx_controllers import Controllers
from gateway.importing.nginx_listeners import Listeners
from gateway.importing.nginx_locations import locations_of
from gateway.importing.nginx_reasons import explain
from gateway.importing.nginx_redirects import answers_itself, find_redirect
from gateway.importing.nginx_scope import Scope
from gateway.importing.nginx_source import Directive, read_nginx
from gateway.importing.nginx_words import parse_network, parse_size, parse_time
from gateway.importing.report import Fate, Imported, Report

_TIMES: Final = {
    "client_header_timeout": "head_timeout",
    "client_body_timeout": "body_timeout",
    "send_timeout": "send_timeout",
    "keepalive_timeout": "idle_timeout",
}
_MAX_REASONS: Final = 10  # in an error
_MAX_SERVERS: Final = 2000
_BELIEVED: Final = ("x-forwarded-for", "proxy_protocol")


def import_nginx(path: Path) -> Imported:
    """Read ``path`` with what it includes, and say the same in gateway.yaml's words.

    Raises ConfigError where the file cannot be read, or has nothing that is proxied.
    """
    return _Conversion(path).run()


class _Conversion:
    __slots__ = (
        "_closed",
        "_controllers",
        "_folder",
        "_listeners",
        "_path",
        "_report",
        "_servers",
        "_source",
    )

    def __init__(self, path: Path) -> None:
        self._path = path
        self._source = read_nginx(path)
        self._report = Report()
        self._folder = path.absolute().parent
        whole = Scope(self._source.directives)
        self._servers = list(_blocks(whole, "server"))
        upstreams = {each.args[0]: each for each, _ in _blocks(whole, "upstream")}
        self._controllers = Controllers(upstreams, self._folder, self._report)
        self._listeners = Listeners(self._folder, self._report)
        self._closed: list[tuple[Directive, list[str]]] = []

    def run(self) -> Imported:
        if not self._servers:
            raise ConfigError(
                f'{self._path}: there is no "server" block in it or in what it includes: give the'
                f" file that includes it, such as nginx.conf{self._missing()}"
            )
        if len(self._servers) > _MAX_SERVERS:
            raise ConfigError(
                f'{self._path}: more than {_MAX_SERVERS} "server" blocks: import the file of the'
                " Jenkins site alone"
            )
        used = [scope for directive, scope in self._servers if self._add_server(directive, scope)]
        self._controllers.keep_local(self._listeners.local_blocks())
        controllers, routes = self._controllers.documents()
        if not controllers:
            raise ConfigError(
                f"{self._path}: nothing in it is passed on by proxy_pass to http:// or https://"
                f"{self._reasons()}{self._missing()}"
            )
        trusted = self._trusted_proxies(used)
        limits = self._limits(used)
        document: dict[str, Any] = {
            "listeners": self._listeners.documents(has_trusted_proxies=bool(trusted)),
            **({"trusted_proxies": trusted} if trusted else {}),
            "controllers": controllers,
            "routes": routes,
            **({"limits": limits} if limits else {}),
        }
        self._settle_closed({route["host"] for route in routes})
        self._note_the_rest()
        return Imported(document, self._report)

    def _reasons(self) -> str:
        """Say what stood in the way, for an error."""
        found = [
            str(note) for note in self._report.of(Fate.LEFT_OUT) if "server {" not in note.text
        ]
        return "".join(f"\n  {each}" for each in found[:_MAX_REASONS])

    def _missing(self) -> str:
        found = [f"{each.file}:{each.line}: {each}" for each in self._source.missing]
        shown = "".join(f"\n  {each}: this file is not there" for each in found[:_MAX_REASONS])
        return shown

    def _add_server(self, directive: Directive, server: Scope) -> bool:
        hosts = self._hosts(server)
        proxies = not answers_itself(server) and self._controllers.add_server(
            server, hosts, directive
        )
        is_default = self._listeners.add(server, hosts, directive, proxies=proxies)
        if not proxies and find_redirect(server) is None:
            if closing(server) or server.is_on("ssl_reject_handshake"):
                self._closed.append((directive, hosts))
            else:
                self._report.leave_out(directive, "nothing in it is passed on to a controller")
            return False
        self._report.take(directive)
        if proxies and is_default and "*" not in hosts:
            self._controllers.add_server(server, ["*"], directive)
        return proxies

    def _settle_closed(self, routed: set[str]) -> None:
        """Settle blocks that refused everything: so does the gateway, where there is no route."""
        for directive, hosts in self._closed:
            above = {f"*.{host.partition('.')[2]}" for host in hosts}
            if routed & {*hosts, *above, "*"}:
                self._report.leave_out(
                    directive,
                    f"{', '.join(hosts)} was refused there, and a route of the result has it:"
                    " see allow_from",
                )
            else:
                self._report.not_needed(directive, "hosts without a route are refused")

    def _hosts(self, server: Scope) -> list[str]:
        said = server.own("server_name")
        names = [name for each in said for name in each.args] or ["_"]
        found = list(self._readable(names, said))
        if not found:
            self._report.add(said[0], "no name of it can be taken over, so it has all other hosts")
        self._report.take(*said)
        return found or ["*"]

    def _readable(self, names: list[str], said: list[Directive]) -> Iterator[str]:
        for name in names:
            host = name.lower()
            if host in ("_", "*", ""):
                yield "*"
                continue
            for candidate in (host[1:], f"*{host}") if host.startswith(".") else (host,):
                try:
                    yield parse_route_host(candidate)
                except ValueError:
                    self._report.add(
                        said[0],
                        'hosts are whole names, or begin with "*."; this one is not served: name'
                        " those it is for",
                        text=f"server_name {name}",
                    )

    def _trusted_proxies(self, servers: list[Scope]) -> list[str]:
        found: dict[str, None] = {}
        for server in servers:
            header = server.last("real_ip_header")
            name = "x-real-ip" if header is None else header.args[0].lower()
            said = server.nearest("set_real_ip_from")
            if said and name not in _BELIEVED:
                # Whom to believe is left out, too: it may let other fields of clients through.
                for each in said:
                    self._report.leave_out(
                        each,
                        f"{name} is not read, only X-Forwarded-For; see trusted_proxies",
                    )
                continue
            for each in said:
                network = parse_network(each.args[0])
                if network is None:
                    self._report.leave_out(
                        each, "trusted_proxies are networks: name the proxy's there"
                    )
                    continue
                found[network] = None
                self._report.take(each)
            self._report.take(*server.nearest("real_ip_header", "real_ip_recursive"))
            if said and len({len(each.nearest("set_real_ip_from")) for each in servers}) > 1:
                self._report.add(said[0], "believed on all listeners, not only on this server's")
        return list(found)

    def _limits(self, servers: list[Scope]) -> dict[str, str]:
        """Take over limits where they are set: the largest of all, since they hold for all."""
        found: dict[str, str] = {}
        places = [
            place
            for server in servers
            for place in (server, *(each.scope for each in locations_of(server)))
        ]
        for name, key in _TIMES.items():
            seconds = [value for _, value in self._values(places, name, parse_time) if value]
            if seconds:
                default = LimitsConfig.model_fields[key].default
                if max(seconds) != default:
                    found[key] = format_duration(max(seconds))
        bodies = list(self._values(places, "client_max_body_size", parse_size))
        if bodies and all(size for _, size in bodies):
            most = max(size for _, size in bodies if size)
            found["body"] = format_size(int(most))
            for directive, size in bodies:
                if size != most:
                    self._report.add(
                        directive,
                        f"limits hold for the whole gateway; the largest is {found['body']}",
                    )
        return found

    def _values(
        self, places: list[Scope], name: str, parse: Any
    ) -> Iterator[tuple[Directive, float | None]]:
        seen: set[int] = set()
        for place in places:
            directive = place.last(name)
            if directive is None or id(directive) in seen:
                continue
            seen.add(id(directive))
            self._report.take(directive)
            yield directive, parse(directive.args[0])

    def _note_the_rest(self) -> None:
        for each in self._source.missing:
            self._report.leave_out(
                each,
                "this file is not there, so what it says is not in the result: import where it is",
            )
        self._sweep(self._source.directives)

    def _sweep(self, directives: tuple[Directive, ...]) -> None:
        for each in directives:
            if self._report.is_taken(each) or each.name == "http":
                self._sweep(each.block or ())
                continue
            if self._report.is_settled(each):
                continue
            fate, reason = explain(each)
            if fate is Fate.LEFT_OUT:
                self._report.leave_out(each, reason)
            else:
                self._report.not_needed(each, reason)


def _blocks(scope: Scope, name: str) -> Iterator[tuple[Directive, Scope]]:
    """Yield the blocks of http; a stream has some of the same name."""
    for each in scope.directives:
        if each.name == name and each.block is not None:
            yield each, scope.inner(each)
        elif each.name == "http":
            yield from _blocks(scope.inner(each), name)
