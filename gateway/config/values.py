"""The values of the configuration that are more than a word: durations, sizes, addresses, URLs.

Owns: their spelling in the file, their form in the program and the way back (JSON between
supervisor and worker). Every parser raises ``ValueError`` with a text that begins with
``allowed:``; ``load`` puts file, line, key and the found value in front of it.

Must not know: keys, files, defaults.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, PlainSerializer, ValidationInfo
from pydantic.json_schema import JsonSchemaValue, WithJsonSchema
from pydantic_core import core_schema

from gateway.config.networks import is_ip_address, is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydantic import GetJsonSchemaHandler

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SECONDS: Final = {
    unit: Decimal(value)
    for unit, value in {"ms": "0.001", "s": "1", "m": "60", "h": "3600", "d": "86400"}.items()
}
_SIZE: Final = re.compile(r"(\d+)(B|KiB|MiB|GiB)", re.ASCII)
SIZE_PATTERN: Final = r"^\d+(B|KiB|MiB|GiB)$"
_BYTES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
# Underscores are not host names (RFC 1123), but Compose service names have them.
_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
# Context paths are compared with decoded request paths, so nothing that needs decoding may be in
# one.
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,=:@-]+)*", re.ASCII)
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class FileContext:
    """Validation context of a configuration that comes from a file.

    ``base``: the folder relative paths start from. ``named`` collects every path that the file
    names, also where something else is wrong with it. Without a context (configuration made in
    code, or received as JSON) paths stay as they are and plain numbers are accepted as seconds or
    bytes.
    """

    base: Path
    named: set[Path] = field(default_factory=set)


def parse_duration(text: str) -> float:
    """Turn ``500ms``, ``20s``, ``5m``, ``2h`` or ``1d`` into seconds; ValueError otherwise."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError('allowed: a number and a unit, such as "500ms", "20s", "5m" or "2h"')
    return float(Decimal(match[1]) * _SECONDS[match[2]])


def format_duration(seconds: float) -> str:
    """Write seconds so that ``parse_duration`` returns exactly the same number."""
    # repr() is exact, but writes 1e-05
    return format(Decimal(repr(seconds)), "f").removesuffix(".0") + "s"


def parse_size(text: str) -> int:
    """Turn ``512B``, ``64KiB``, ``1MiB`` or ``2GiB`` into bytes; ValueError otherwise."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError('allowed: a whole number and a unit, such as "512B", "64KiB" or "1MiB"')
    return int(match[1]) * _BYTES[match[2]]


def format_size(size: int) -> str:
    """Write bytes so that ``parse_size`` returns the same number, in the largest whole unit."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def parse_host(text: str) -> str:
    """Return a host name or IP address in lower case, IPv6 without brackets; else ValueError."""
    host = text.lower()
    # A zone has no meaning on another machine, and breaks Host headers.
    if "%" not in host and (
        is_ip_address(host) or (_HOST_NAME.fullmatch(host) and not _looks_like_ipv4(host))
    ):
        return host
    raise ValueError("allowed: a host name (ASCII; punycode for others) or an IP address")


def _looks_like_ipv4(host: str) -> bool:
    return host.rpartition(".")[2].isdigit()


def parse_prefix(text: str) -> str:
    """Return a context path as ``""`` or ``/jenkins``, without the slash at its end.

    Raises ValueError for anything a request path could spell in a second way (``%``, ``//``, dots).
    """
    prefix = text.removesuffix("/")
    if not _PREFIX.fullmatch(prefix) or any(part in {".", ".."} for part in prefix.split("/")):
        raise ValueError('allowed: "/" or a plain path such as "/jenkins", without % // . .. ; ?')
    return prefix


def parse_network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Turn ``10.0.0.0/8`` or a single address into a network; ValueError if host bits are set."""
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    text = str(value)
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError('allowed: a network such as "10.0.0.0/8" or "fd00::/8"') from None
    raise ValueError(f'allowed: a network without host bits; you may mean "{network}"')


def _with_unit(parse: Callable[[str], float]) -> BeforeValidator:
    """Accept text with a unit; plain numbers only outside of files, where code is the author."""

    def validate(value: object, info: ValidationInfo) -> object:
        if isinstance(value, str):
            return parse(value)
        if isinstance(info.context, FileContext):
            return parse("")  # raises: the unit is missing
        return value

    return BeforeValidator(validate)


Duration = Annotated[
    float,
    _with_unit(parse_duration),
    Field(gt=0, allow_inf_nan=False),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h|d)$"}),
]
"""Seconds as float; ``20s`` in the file."""

Wait = Annotated[
    float,
    _with_unit(parse_duration),
    Field(ge=0, allow_inf_nan=False),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h|d)$"}),
]
"""The same where ``0s`` means something: not at all."""

Size = Annotated[
    int,
    _with_unit(parse_size),
    Field(ge=0),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN}),
]
"""Bytes as int; ``64KiB`` in the file."""

Network = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    BeforeValidator(parse_network),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8", "fd00::/8"]}),
]

ProxyNetwork = Annotated[
    Network,
    WithJsonSchema({"type": "string", "examples": ["10.244.0.0/16", "192.0.2.10"]}),
]
"""The same where people copy the example: no more than a pod network, or one proxy."""


class TextValue:
    """A value written as one string in file and JSON: subclasses have ``parse`` and ``__str__``."""

    __slots__ = ()

    json_schema: ClassVar[JsonSchemaValue] = {"type": "string"}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the value; ValueError with the allowed spellings."""
        raise NotImplementedError

    def to_json(self) -> str:
        """Write what ``parse`` reads."""
        return str(self)

    @classmethod
    def validate(cls, value: object) -> Self:
        """Read the value from text, or pass one that is already read; ValueError otherwise."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str | int) and not isinstance(value, bool):
            return cls.parse(str(value))
        raise ValueError("allowed: text")

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                cls.to_json, return_schema=core_schema.str_schema(), when_used="json"
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return dict(cls.json_schema)


@dataclass(frozen=True, slots=True)
class Address(TextValue):
    """A host and a TCP port. Port 0 lets the kernel choose, which only a listener may want."""

    host: str
    port: int

    json_schema: ClassVar[JsonSchemaValue] = {
        "type": "string",
        "pattern": r"^(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):[0-9]{1,5}$",
    }

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port`` or ``[v6]:port``; ValueError with a hint otherwise."""
        match = re.fullmatch(r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):([0-9]{1,5})", text)
        if match is None or int(match[3]) > _MAX_PORT or not (match[1] or match[2]):
            raise ValueError(
                'allowed: host:port, such as "0.0.0.0:8443", "[::]:8443" or "jenkins.lan:50000"'
            )
        if match[1] is not None and ":" not in match[1]:
            raise ValueError("allowed: square brackets only around an IPv6 address")
        return cls(parse_host(match[1] or match[2]), int(match[3]))

    @property
    def is_loopback(self) -> bool:
        """Say whether only this machine can reach the address."""
        return self.host == "localhost" or is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ControllerUrl(TextValue):
    """Where a controller speaks HTTP. ``prefix`` is its context path: ``""`` or ``/jenkins``."""

    scheme: str
    host: str
    port: int
    prefix: str

    json_schema: ClassVar[JsonSchemaValue] = {
        "type": "string",
        "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[^?#@]+$",
    }

    @classmethod
    def parse(cls, text: str) -> ControllerUrl:
        """Read an absolute http or https URL without user, query and fragment."""
        allowed = ValueError(
            'allowed: an http or https URL such as "http://jenkins.lan:8080/" or'
            ' "https://ci.example.com/jenkins/"'
        )
        # urlsplit drops tabs and line ends silently; neither belongs into a URL.
        if not text.isascii() or not text.isprintable() or " " in text:
            raise allowed
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise allowed from None
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or port == 0:
            raise allowed
        if "@" in parts.netloc:
            raise ValueError("allowed: a URL without user and password; the gateway never logs in")
        if "?" in text or "#" in text:
            raise ValueError("allowed: a URL without query and fragment")
        return cls(
            parts.scheme,
            parse_host(parts.hostname),
            port or _DEFAULT_PORTS[parts.scheme],
            parse_prefix(parts.path),
        )

    @property
    def authority(self) -> str:
        """Return the value of the Host header: the port appears unless it is the scheme's own."""
        if self.port != _DEFAULT_PORTS[self.scheme]:
            return str(self.address)
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def address(self) -> Address:
        """Return where to connect."""
        return Address(self.host, self.port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}/"


class Secret(TextValue):
    """A text that must not be seen: every way of printing it gives ``***``.

    Only ``reveal`` and the JSON that the supervisor sends to its workers hold the text. Comparison
    takes the same time whatever differs.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def parse(cls, text: str) -> Secret:
        """Wrap any text."""
        return cls(text)

    def reveal(self) -> str:
        """Return the text itself; the caller keeps it out of logs, errors and file names."""
        return self._text

    def to_json(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return "***"
