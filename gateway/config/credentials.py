"""Who may be which agent: modes, conditions, lockout, and where issued secrets are kept.

Owns: the keys ``controllers.*.credentials``, ``nodes``, ``lockout`` and ``store``, their defaults
and the reasons.

Must not know: how secrets are verified.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from gateway.config.base import FilePath, Model, Name
from gateway.config.times import parse_time
from gateway.config.values import Duration, FileContext, Network

Mode = Literal["controller", "jenkins_secrets", "nodes"]
_NODE = "{node}"


class JenkinsHomeConfig(Model):
    """Jenkins' own files, for a gateway that runs beside it."""

    jenkins_home: FilePath = Field(
        description=(
            "$JENKINS_HOME. Four files in it are read: secrets/master.key, the node-secret key and"
            " the two of the identity. For a sidecar: master.key opens everything that Jenkins"
            " encrypts; elsewhere use `jenkins-secrets extract` and its file."
        )
    )
    master_key: FilePath | None = Field(
        default=None,
        description=(
            "The master key, where Jenkins runs with"
            " -Djenkins.security.DefaultConfidentialStore.file. Default: secrets/master.key."
        ),
    )


def _kind_of_source(value: Any) -> str:
    return "(home)" if isinstance(value, dict | JenkinsHomeConfig) else "(file)"


# The tags appear in pydantic's error locations; load drops everything in parentheses from them.
JenkinsSecrets = Annotated[
    Annotated[FilePath, Tag("(file)")] | Annotated[JenkinsHomeConfig, Tag("(home)")],
    Discriminator(_kind_of_source),
]


class CredentialsConfig(Model):
    """Who judges the secrets of this controller's agents."""

    modes: Annotated[tuple[Mode, ...], Field(min_length=1)] = Field(
        default=("controller",),
        description=(
            "Tried in this order; the first that recognises the secret decides. nodes: secrets that"
            " `remoting-gateway nodes issue` issued. jenkins_secrets: Jenkins' own, computed here"
            " and compared before the controller sees anything. controller: whatever is presented"
            " is passed on and the controller judges; the default, as it needs nothing."
        ),
    )
    jenkins_secrets: JenkinsSecrets | None = Field(
        default=None,
        description=(
            "What Jenkins' node secrets are computed from: the file of `remoting-gateway"
            " jenkins-secrets extract`, or {jenkins_home: DIR}. Needed for the mode"
            " jenkins_secrets; with the mode nodes, the secret that is presented to the controller"
            " is computed with it where none was stored for the node."
        ),
    )


class ClientCertificateCondition(Model):
    """Which client certificate an agent must show."""

    by: Literal["subject", "san"] = Field(
        description="What holds the name: the subject's CN, or a subjectAltName (DNS or URI)."
    )
    name: str = Field(
        default=_NODE,
        min_length=1,
        description='The name itself; "{node}" in it is the node\'s. Default: "{node}" alone.',
    )

    def expected(self, node: str) -> str:
        """Return the name that a certificate for ``node`` must have."""
        return self.name.replace(_NODE, node)


def _read_time(value: object, info: ValidationInfo) -> object:
    """Take RFC 3339 only where a person wrote it: a number would be taken for a Unix time."""
    if isinstance(info.context, FileContext) or isinstance(value, str):
        return parse_time(value)
    return value


Time = Annotated[
    AwareDatetime,
    BeforeValidator(_read_time),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def _check_pattern(text: str) -> str:
    if not text or "**" in text or not text.isprintable():
        raise ValueError(
            'allowed: a node name, in which each * stands for any characters: "build-*"'
        )
    return text


class NodeRule(Model):
    """Conditions for the nodes whose names fit; every rule that fits must hold."""

    match: Annotated[str, AfterValidator(_check_pattern)] = Field(
        description='A node name; "*" in it stands for any characters. Case counts.'
    )
    deny: StrictBool = Field(
        default=False, description="Refuse these nodes, whatever they present."
    )
    controllers: Annotated[tuple[Name, ...], Field(min_length=1)] | None = Field(
        default=None, description="They may connect to these controllers only. Default: to all."
    )
    allow_from: Annotated[tuple[Network, ...], Field(min_length=1)] | None = Field(
        default=None,
        description=(
            "Networks that they may come from. The address is the client's: after the PROXY"
            " protocol, and what trusted_proxies say. Default: from everywhere."
        ),
    )
    client_certificate: ClientCertificateCondition | None = Field(
        default=None,
        description=(
            "A certificate, verified by the listener (client_certificates), that bears the node's"
            " name. Set the listener to optional: an agent's GET of /login shows none."
        ),
    )
    valid_from: Time | None = Field(default=None, description="Not before this time.")
    valid_until: Time | None = Field(
        default=None, description="Not from this time on; live sessions end then, too."
    )

    @model_validator(mode="after")
    def _check_times(self) -> NodeRule:
        if self.valid_from and self.valid_until and self.valid_until <= self.valid_from:
            raise ValueError("allowed: valid_until after valid_from")
        return self


class NodesConfig(Model):
    """Conditions that agents must meet besides their secret, whatever the mode."""

    rules: tuple[NodeRule, ...] = Field(
        default=(),
        description="All rules that fit a node's name must hold, and what is stored for the node.",
    )
    unlisted: Literal["allow", "deny"] = Field(
        default="allow",
        description="Nodes that no rule fits. deny makes the rules a list of who is allowed.",
    )


class LockoutConfig(Model):
    """When wrong secrets are not even looked at any more, per worker."""

    enabled: StrictBool = Field(
        default=True, description="False: wrong secrets are refused, however many there are."
    )
    per_node: int = Field(
        default=5,
        ge=1,
        le=1000,
        description=(
            "Different wrong secrets for one node from one address, within window. 5: an agent"
            " that repeats the same wrong secret counts once a minute and never gets there."
        ),
    )
    per_address: int = Field(
        default=50,
        ge=1,
        le=1000,
        description=(
            "The same from one IPv4 address or IPv6 /64, whatever the nodes; the first wrong secret"
            " of a node is not among them, since whole sites of agents, each with a secret of its"
            " own, come from behind one address."
        ),
    )
    per_address_total: int = Field(
        default=500,
        ge=1,
        le=100_000,
        description=(
            "The same with the first of each node: one guess for each of many names. 500: sites of"
            " more agents whose secrets all turn wrong at once are rare; they are locked a few"
            " times, until each of them was counted."
        ),
    )
    window: Duration = Field(default=60.0, description="The time in which failures are counted.")
    first: Duration = Field(
        default=60.0,
        description="The first lockout; each that follows soon is twice as long as the one before.",
    )
    longest: Duration = Field(default=900.0, description="No lockout is longer.")
    exempt: tuple[Network, ...] = Field(
        default=(),
        description="Never locked out, like loopback and trusted_proxies.",
    )


class StoreConfig(Model):
    """Where the gateway keeps the secrets that it issued: a database in state_dir."""

    key_file: FilePath | None = Field(
        default=None,
        description=(
            "The key without which the database is worth nothing, nor are cookies of ended sessions"
            " (cookies.db): made with mode 0600 where there is none. Default: store.key in"
            " state_dir; elsewhere, backups of the one do not hold the other. `remoting-gateway"
            " nodes rekey` changes it."
        ),
    )
