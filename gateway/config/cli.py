"""How the Jenkins CLI reaches a controller, and who may run what with it.

Owns: the keys of ``controllers.NAME.cli``, their defaults and the reasons.

Must not know: the CLI's protocol, how a policy is applied.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from gateway.config.base import Model
from gateway.config.values import ControllerUrl, parse_host

_MAX_PATTERN: Final = 200


def _check_host(text: str) -> str:
    host = parse_host(text)
    if ":" in host:
        raise ValueError("allowed: a host name or an IPv4 address; clients cannot read IPv6 here")
    return host


def _check_pattern(text: str) -> str:
    if not text or len(text) > _MAX_PATTERN or not text.isprintable() or " " in text:
        raise ValueError(
            "allowed: the name of a command, where * stands for any characters and ? for one, such"
            ' as "*-job"'
        )
    return text


def _check_user(text: str) -> str:
    if not text or text != text.strip() or ":" in text:
        raise ValueError(
            "allowed: the name of a user, without colon or space around it, as Basic"
            " authentication has"
        )
    return text


def _check_origin(url: ControllerUrl) -> ControllerUrl:
    if url.prefix:
        raise ValueError('allowed: an origin, without path, such as "https://ci.example.com"')
    return url


Pattern = Annotated[str, AfterValidator(_check_pattern)]
Origin = Annotated[ControllerUrl, AfterValidator(_check_origin)]


class PortRewrite(Model):
    """What clients are told in place of what the controller says."""

    host: Annotated[str, AfterValidator(_check_host)] = Field(description="Where clients connect.")
    port: int = Field(ge=1, le=65535, description="The TCP port there.")


def _kind_of_port(value: Any) -> str:
    return "(rewrite)" if isinstance(value, dict | PortRewrite) else "(word)"


# The tags appear in pydantic's error locations; load drops everything in parentheses from them.
AdvertisedPort = Annotated[
    Annotated[Literal["pass", "drop"], Tag("(word)")] | Annotated[PortRewrite, Tag("(rewrite)")],
    Discriminator(_kind_of_port),
]


class CommandRules(Model):
    """Which commands may be run, by name."""

    allow: tuple[Pattern, ...] = Field(
        default=("*",), description="Names of commands, with * and ?. Default: every one."
    )
    deny: tuple[Pattern, ...] = Field(
        default=(), description="Names that are refused even if allow has them. Default: none."
    )


class PolicyConfig(CommandRules):
    """Which commands the gateway lets through to the controller."""

    users: dict[Annotated[str, AfterValidator(_check_user)], CommandRules] = Field(
        default_factory=dict,
        description=(
            "Rules by the user name of Basic authentication, without regard to case; they take the"
            " place of allow and deny above. Who comes without a name (a cookie, a Bearer token, no"
            " login) or by another spelling of it is judged by those above, so let these allow"
            " more, never less."
        ),
    )
    file_arguments: Literal["pass", "refuse"] = Field(
        default="pass",
        description=(
            "refuse: no argument may begin with @, which controllers before 2.442 and 2.426.3"
            " replace by the contents of that file of theirs (CVE-2024-23897)."
        ),
    )


class CliConfig(Model):
    """How the Jenkins CLI reaches this controller."""

    transport: Literal["auto", "websocket", "http"] = Field(
        default="auto",
        description=(
            "Where /cli/ws leads. websocket: to /cli/ws at the controller. http: it is translated"
            " to full-duplex HTTP (POST /cli), which every controller since 2.54 has. auto:"
            " websocket where the first client finds it, else http; with policy or audit always"
            " http, since the gateway has to read the commands."
        ),
    )
    origins: tuple[Origin, ...] = Field(
        default=(),
        description=(
            "Further origins that clients of /cli/ws may come from. Those of the route's host and"
            " of jenkins_url always may."
        ),
    )
    ssh_endpoint: AdvertisedPort = Field(
        default="pass",
        description=(
            "The header X-SSH-Endpoint, by which `jenkins-cli.jar -ssh` finds the SSH port: pass;"
            " drop = no SSH mode; {host, port} = that, where the controller sends one."
        ),
    )
    tcp_ports: AdvertisedPort = Field(
        default="pass",
        description=(
            "The headers X-Hudson-CLI-Port, X-Jenkins-CLI-Port and X-Jenkins-CLI2-Port, with"
            " X-Jenkins-CLI-Host, of controllers before 2.165: pass; drop; {host, port} = that,"
            " where the controller sends them."
        ),
    )
    policy: PolicyConfig | None = Field(
        default=None, description="Which commands may be run. Default: what the controller allows."
    )
    audit: Literal["off", "commands", "arguments"] = Field(
        default="off",
        description=(
            "commands: the audit log has the name of each command, with user, address, duration and"
            " exit code. arguments: their values, too, which may hold secrets. off, because the"
            " gateway reads no command unless it is told to."
        ),
    )

    @property
    def inspects(self) -> bool:
        """Say whether the gateway has to read commands."""
        return self.policy is not None or self.audit != "off"
