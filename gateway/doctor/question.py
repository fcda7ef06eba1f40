"""What the doctor is asked: whose path, who plays the agent, and how far to go.

Owns: the values and their limits.

Must not know: files, options, what has been seen.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.config.values import Secret
from gateway.demo.agent_http import Target

# Longer than the 60 s after which most proxies cut an idle connection, with room for a delay.
DEFAULT_HOLD: Final = 75.0


# Stands for a secret wherever one would be shown.
MASK: Final = "***"


def basic_token(authorization: Secret) -> str:
    """Return what comes after ``Basic`` for ``user:token``."""
    return base64.b64encode(authorization.reveal().encode()).decode()


@dataclass(frozen=True, slots=True)
class Question:
    """``target``: Jenkins' URL as the agent gets it. ``node`` and ``secret``: whom to play.

    ``hold``: seconds to keep the session open and idle, 0 for not at all. ``session``: whether one
    may be opened. ``tcp``: the agent comes over TCP, without -webSocket. ``ca_file``: what agents
    have as ``-cert``. ``connect_to``: instead of the target's own address. ``remoting``: version of
    agent.jar. ``authorization``: ``user:token`` for what Jenkins shows to its users alone.
    ``agent_port``: instead of the published one. ``timeout``: of one answer, seconds.
    """

    target: Target
    node: str | None = None
    secret: Secret | None = None
    hold: float = DEFAULT_HOLD
    session: bool = True
    tcp: bool = False
    ca_file: Path | None = None
    connect_to: tuple[str, int] | None = None
    remoting: str | None = None
    authorization: Secret | None = field(default=None, repr=False)
    agent_port: tuple[str, int] | None = None
    timeout: float = 20.0

    @property
    def plays_agent(self) -> bool:
        """Say whether a session is to be opened."""
        has_agent = self.node is not None and self.secret is not None
        return has_agent and self.session and not self.tcp

    @property
    def is_https(self) -> bool:
        return self.target.scheme == "https"

    @property
    def origin(self) -> str:
        """Return scheme, host and port, without a slash at the end."""
        return f"{self.target.scheme}://{self.target.host_header}"

    @property
    def url(self) -> str:
        return f"{self.origin}{self.target.path}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return everything that is sent and must not be shown, in each form in which it is."""
        found = [] if self.secret is None else [self.secret.reveal()]
        if self.authorization is not None:
            found += [
                basic_token(self.authorization),
                self.authorization.reveal(),
                self.authorization.reveal().partition(":")[2],
            ]
        return tuple(each for each in found if each)

    def without_secrets(self, text: str) -> str:
        """Return a text with ``***`` where it quotes a secret: some servers echo what they got."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return text

    def url_of(self, name: str) -> str:
        """Return the URL of something below the target's path."""
        return f"{self.url}{name}"
