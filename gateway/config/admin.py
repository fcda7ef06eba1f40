"""The admin listener: health, the API and what else an operator looks at.

Owns: the keys under ``admin``, their defaults and the reasons.

Must not know: what is served there, the rules across keys (``admin_checks``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic.json_schema import JsonSchemaValue

from gateway.config.base import FilePath, Model, resolve
from gateway.config.keys import read_file
from gateway.config.listener_tls import TlsConfig
from gateway.config.values import Address, Secret, TextValue, parse_host

SOCKET: Final = "admin.sock"
# A token is compared with what anybody may send as often as he likes.
SHORTEST_TOKEN: Final = 16
_UNIX: Final = "unix"


@dataclass(frozen=True, slots=True)
class AdminListen(TextValue):
    """Where the admin listener listens: ``off``, ``unix``, ``unix:PATH`` or ``host:port``."""

    address: Address | None = None
    path: Path | None = None
    is_off: bool = False

    json_schema: ClassVar[JsonSchemaValue] = {
        "type": "string",
        "examples": ["unix", "unix:/run/remoting-gateway/admin.sock", "127.0.0.1:9180", "off"],
    }

    @classmethod
    def parse(cls, text: str) -> AdminListen:
        """Read it; ValueError with what is allowed."""
        if text == "off":
            return cls(is_off=True)
        if text == _UNIX:
            return cls()
        kind, colon, path = text.partition(":")
        if kind == _UNIX and colon and path and "\0" not in path:
            return cls(path=Path(path))
        try:
            return cls(Address.parse(text))
        except ValueError:
            raise ValueError(
                'allowed: "unix" (a socket in state_dir), "unix:PATH", a host:port such as'
                ' "127.0.0.1:9180", or "off"'
            ) from None

    @property
    def is_local(self) -> bool:
        """Say whether only this machine can reach it."""
        return self.address is None or self.address.is_loopback

    def socket_path(self, state_dir: Path) -> Path | None:
        """Return the path of its Unix socket; None where it has none."""
        if self.is_off or self.address is not None:
            return None
        return state_dir / SOCKET if self.path is None else self.path

    def __str__(self) -> str:
        if self.is_off:
            return "off"
        if self.address is not None:
            return str(self.address)
        return _UNIX if self.path is None else f"{_UNIX}:{self.path}"


def _resolve_listen(listen: AdminListen, info: ValidationInfo) -> AdminListen:
    if listen.path is None:
        return listen
    # Not through ``resolve`` as it is: a socket is no file whose change asks for a reload.
    path = resolve(listen.path, info)
    if info.context is not None:
        info.context.named.discard(path)
    return AdminListen(path=path)


class AdminConfig(Model):
    """The admin listener."""

    listen: Annotated[AdminListen, AfterValidator(_resolve_listen)] = Field(
        default=AdminListen(),
        description=(
            '"unix" is the socket admin.sock in state_dir, for the gateway\'s own user and root:'
            ' nobody else, and no port to collide. "unix:PATH" is another one; "127.0.0.1:9180"'
            " is for this machine, everybody on it included; any other host:port needs a token or"
            ' client certificates; "off" is none. Taken over by a restart or an upgrade.'
        ),
    )
    socket_mode: Literal["0600", "0660"] = Field(
        default="0600",
        description=(
            "Of the Unix socket: 0660 lets the gateway's group in, for a collector of metrics or a"
            " proxy under another user, which must be able to reach its folder, too."
        ),
    )
    token_file: FilePath | None = Field(
        default=None,
        description=(
            "A file with the token that the API, the status page and the metrics ask for"
            " (Authorization: Bearer, or as the password of Basic). A change of it is taken over."
        ),
    )
    token: Secret | None = Field(
        default=None,
        description="The same from the environment: token: ${ADMIN_TOKEN}. One of the two.",
    )
    tls: TlsConfig | None = Field(
        default=None,
        description=(
            "TLS, as of listeners. client_certificates: {mode: require} may stand in the place of a"
            " token; with mode: optional a certificate or the token will do."
        ),
    )
    hosts: tuple[Annotated[str, AfterValidator(parse_host)], ...] = Field(
        default=(),
        description=(
            "Names by which it is asked for, besides localhost and the loopback addresses. Others"
            " are refused on a Unix socket and on loopback, where a web page could else have a name"
            " of its own point there (DNS rebinding); elsewhere only where hosts are given, since"
            " the token protects."
        ),
    )
    connections: int = Field(
        default=64,
        ge=1,
        le=4096,
        description=(
            "How many there may be at a time; each viewer of the status page holds one. From one"
            " address beyond this machine a quarter of them."
        ),
    )

    @property
    def asks_for_certificates(self) -> bool:
        """Say whether nobody gets in without a client certificate."""
        return self.tls is not None and self.tls.client_certificates.mode == "require"

    def read_token(self) -> Secret | None:
        """Return the token in force, read from its file now; None where there is none.

        Raises ValueError that says what is wrong with it, and shows nothing of it.
        """
        if self.token_file is None:
            if self.token is not None:
                check_token(self.token.reveal())
            return self.token
        try:
            text = read_file(self.token_file).decode().strip()
        except UnicodeDecodeError:
            raise ValueError("allowed: a file with a token in it, one line of text") from None
        check_token(text)
        return Secret(text)


def check_token(text: str) -> None:
    """Raise ValueError for a token that is too short, or cannot stand in a header."""
    if len(text) < SHORTEST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(
            f"allowed: a token of {SHORTEST_TOKEN} or more ASCII characters without spaces, such as"
            " `openssl rand -hex 32` makes"
        )
