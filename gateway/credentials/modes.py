"""What one configuration says about credentials, ready to be asked.

Owns: which modes a controller has, in which order, and the rules. Built without any effect, so that
it can be thrown away.

Must not know: lockout, live sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.config.credentials import Mode
from gateway.config.models import ControllerConfig, GatewayConfig
from gateway.credentials.audit import Audit
from gateway.credentials.conditions import NodeRules
from gateway.credentials.controller_check import ControllerCheck
from gateway.credentials.jenkins_secrets import JenkinsSecretsCheck, SecretSource
from gateway.credentials.nodes_check import NodesCheck
from gateway.credentials.policy import Verifier
from gateway.credentials.store_access import StoreAccess
from gateway.errors import CredentialsUnavailable


class Policy:
    """The modes of every controller, and the rules for nodes."""

    def __init__(
        self,
        config: GatewayConfig,
        access: StoreAccess,
        *,
        now: Callable[[], float],
        audit: Audit,
        before: Policy | None = None,
    ) -> None:
        """``before``: the one so far; keys that it has read need not be read again."""
        self.rules = NodeRules(config.nodes)
        self._modes = {
            name: controller.credentials.modes for name, controller in config.controllers.items()
        }
        self._sources: dict[str, SecretSource] = {}
        self._verifiers: dict[str, tuple[Verifier, ...]] = {}
        for name, controller in config.controllers.items():
            source = _source(name, controller, before)
            if source is not None:
                self._sources[name] = source
            self._verifiers[name] = tuple(
                _verifier(mode, access, source, now=now, audit=audit)
                for mode in controller.credentials.modes
            )

    def look_again(self) -> None:
        """Have files of controllers looked at when their keys are next asked for."""
        for source in self._sources.values():
            source.look_again()

    @property
    def needs_store(self) -> bool:
        """Say whether any controller has the mode ``nodes``."""
        return any("nodes" in modes for modes in self._modes.values())

    def modes(self, controller: str) -> Sequence[Mode] | None:
        """Return the modes of a controller, or None if there is no such controller."""
        return self._modes.get(controller)

    def verifiers(self, controller: str) -> Sequence[Verifier]:
        """Return what judges the secrets of a controller's agents, in order.

        Raises CredentialsUnavailable for a controller that a reload has removed meanwhile.
        """
        found = self._verifiers.get(controller)
        if found is None:
            raise CredentialsUnavailable(detail=f"{controller} is not configured any more")
        return found

    def source(self, controller: str) -> SecretSource | None:
        """Return the node-secret key of a controller, where one is configured."""
        return self._sources.get(controller)

    async def jenkins_secret(self, controller: str, node: str) -> str:
        """Return Jenkins' own secret for a node of a controller that has the mode
        ``jenkins_secrets``. Raises CredentialsUnavailable.
        """
        return await self._sources[controller].secret(node)


def _source(name: str, controller: ControllerConfig, before: Policy | None) -> SecretSource | None:
    config = controller.credentials.jenkins_secrets
    if config is None:
        return None
    known = None if before is None else before.source(name)
    return known if known is not None and known.config == config else SecretSource(name, config)


def _verifier(
    mode: Mode,
    access: StoreAccess,
    source: SecretSource | None,
    *,
    now: Callable[[], float],
    audit: Audit,
) -> Verifier:
    if mode == "controller":
        return ControllerCheck()
    if mode == "nodes":
        return NodesCheck(access, source, now=now, audit=audit)
    assert source is not None, "checked with the configuration"
    return JenkinsSecretsCheck(source)
