"""Arguments of nginx' directives: times, sizes, addresses, names, conditions.

Owns: their syntax. Must not know: which directive has which, what becomes of it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gateway.config.values import parse_host

_TIME: Final = re.compile(r"(\d+)(ms|[smhdwMy]?)", re.ASCII)
_SECONDS: Final = {
    "ms": 0.001,
    "": 1,
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "w": 604800,
    "M": 2592000,
    "y": 31536000,
}
_SIZE: Final = re.compile(r"(\d+)([kKmMgG]?)", re.ASCII)
_BYTES: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
# The request's own path, written out: what nginx passes on without it, too.
_SAME_PATH: Final = re.compile(
    r"(https?://[^/$]+)\$(?:\{?request_uri\}?|\{?(?:document_)?uri\}?(?:(?:\$is_args|\?)\$(?:args|query_string))?)",
    re.ASCII,
)
_QUERY: Final = re.compile(r"(?:\$is_args|\?)\$(?:args|query_string)$", re.ASCII)


def parse_time(text: str) -> float | None:
    """Return seconds of ``90``, ``500ms`` or ``1h 30m``; None for anything else."""
    total = 0.0
    for part in text.split() or [""]:
        rest = part
        while rest:
            match = _TIME.match(rest)
            if match is None:
                return None
            total += int(match[1]) * _SECONDS[match[2]]
            rest = rest[match.end() :]
    return total if text.strip() else None


def parse_size(text: str) -> int | None:
    """Return bytes of ``10m``; None for anything else."""
    match = _SIZE.fullmatch(text)
    return None if match is None else int(match[1]) * _BYTES[match[2].lower()]


@dataclass(frozen=True, slots=True)
class Listen:
    """What ``listen`` says. ``host`` is None for a Unix socket."""

    host: str | None
    port: int
    is_tls: bool
    is_default: bool
    proxy_protocol: bool

    @property
    def is_any(self) -> bool:
        """Say whether it is every address, of IPv4 or IPv6."""
        return self.host in ("0.0.0.0", "::")

    @property
    def is_local(self) -> bool:
        """Say whether nobody but this machine can connect to it."""
        if self.host in (None, "localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_listen(args: tuple[str, ...]) -> Listen | None:
    """Read the arguments of ``listen``; None where the address cannot be read."""
    flags = set(args[1:])
    is_default = bool(flags & {"default_server", "default"})
    found = split_address(args[0], 80) if args else None
    if found is None:
        return None
    host, port = found
    return Listen(host, port, "ssl" in flags, is_default, "proxy_protocol" in flags)


def split_address(text: str, default_port: int) -> tuple[str | None, int] | None:
    """Read ``80``, ``host``, ``host:80``, ``*:80``, ``[::]:80``, ``unix:...``; None otherwise."""
    if text.startswith("unix:"):
        return None, 0
    if text.isdigit():
        return _with_port("0.0.0.0", text)
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::(\d+))?|([^:\[\]\s$]+)(?::(\d+))?", text)
    if match is None:
        return None
    host = match[1] or match[3]
    return _with_port("0.0.0.0" if host == "*" else host, match[2] or match[4] or default_port)


def _with_port(host: str, port: str | int) -> tuple[str, int] | None:
    return (host, int(port)) if 0 < int(port) < 65536 else None


def join_address(host: str, port: int) -> str:
    """Write ``host:port``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_host(text: str | None) -> bool:
    """Say whether gateway.yaml takes it for a host name or an address."""
    try:
        parse_host(text or "")
    except ValueError:
        return False
    return True


def parse_network(text: str) -> str | None:
    """Return a network without host bits, which nginx masks as well; None for anything else."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Target:
    """What ``proxy_pass`` says. ``path`` is None where the request's own is passed on."""

    scheme: str
    authority: str
    path: str | None


def parse_target(text: str) -> Target | None:
    """Read ``http://name[:port][/path]``; None for variables, Unix sockets and the like.

    ``$request_uri`` and ``$uri`` alone are the request's path, as if nothing was there.
    """
    same = _SAME_PATH.fullmatch(text)
    if same is not None:
        return parse_target(same[1])
    text = _QUERY.sub("", text)
    if "$" in text or "unix:" in text:
        return None
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
        return None
    return Target(parts.scheme, parts.netloc, parts.path or None)


def fill_in(text: str, variables: dict[str, str]) -> str:
    """Put the known variables into a text; others stay."""
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), text)


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirect to https. ``host`` is None where the request's own stays."""

    host: str | None
    port: int


def parse_redirect(url: str) -> Redirect | None:
    """Read ``https://$host$request_uri`` and its like; None where it is something else."""
    match = re.match(r"https://(\$\{?\w+\}?|[^/:$]+)(?::(\d+))?(.*)", url, re.ASCII | re.DOTALL)
    if match is None:
        return None
    host = None if match[1].startswith("$") else match[1].lower()
    return Redirect(host, int(match[2] or 443))
