"""The rules across the keys that concern the Jenkins CLI.

Owns: what a policy needs to be more than a wish, and what of it can never have an effect.

Must not know: how it is applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config.checks import Findings
    from gateway.config.cli import CliConfig, PolicyConfig
    from gateway.config.document import Location
    from gateway.config.models import GatewayConfig


def check_cli(config: GatewayConfig, findings: Findings) -> None:
    """Check each controller's ``cli``."""
    for name, controller in config.controllers.items():
        here: Location = ("controllers", name, "cli")
        cli = controller.cli
        if controller.url is None:
            if "cli" in controller.model_fields_set:
                findings.error(here, "allowed: only for a controller with url")
            continue
        _check_inspection(cli, here, findings)
        if cli.policy is not None:
            _check_policy(cli.policy, (*here, "policy"), findings)


def _check_inspection(cli: CliConfig, here: Location, findings: Findings) -> None:
    if cli.inspects and cli.transport == "websocket":
        why = "policy" if cli.policy is not None else "audit"
        findings.error(
            (*here, "transport"),
            f'found "websocket" together with {why}; allowed: auto or http. A WebSocket passes'
            " through the gateway unread, so its commands could be neither judged nor logged.",
        )


def _check_policy(policy: PolicyConfig, here: Location, findings: Findings) -> None:
    users = [name.lower() for name in policy.users]
    for name in policy.users:
        if users.count(name.lower()) > 1:
            findings.error(
                (*here, "users", name),
                "allowed: each user once; Jenkins does not tell names apart by case",
            )
    if (
        not policy.deny
        and policy.allow == ("*",)
        and policy.file_arguments == "pass"
        and not any(rules.deny or rules.allow != ("*",) for rules in policy.users.values())
    ):
        findings.warn(
            here, "it refuses nothing, and yet every command is read; remove it, or add deny"
        )
