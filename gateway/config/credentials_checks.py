"""The rules across the keys about credentials, and about the files that they name.

Owns: modes that nothing can serve, rules that no agent could ever meet, files with secrets that
others may read.

Must not know: how secrets are verified.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.config.credentials import JenkinsHomeConfig
from gateway.config.extracted import Extracted

if TYPE_CHECKING:
    from gateway.config.checks import Findings
    from gateway.config.document import Location
    from gateway.config.models import ControllerConfig, GatewayConfig

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def check_credentials(config: GatewayConfig, findings: Findings) -> None:
    """Check modes, rules and files."""
    for name, controller in config.controllers.items():
        _check_modes(controller, ("controllers", name, "credentials"), findings)
        _check_source(controller, ("controllers", name, "credentials"), findings)
    _check_rules(config, findings)
    _check_lockout(config, findings)
    _check_mode_of(config.store_key_file, ("store", "key_file"), findings)


def _check_modes(controller: ControllerConfig, here: Location, findings: Findings) -> None:
    modes = controller.credentials.modes
    for i, mode in enumerate(modes):
        if mode in modes[:i]:
            findings.error((*here, "modes", i), f'found "{mode}" a second time; allowed: once')
        elif "controller" in modes[:i]:
            findings.error(
                (*here, "modes", i),
                f'found "{mode}" behind "controller"; allowed: before it, since the controller gets'
                " every secret, and judges it.",
            )
    if "jenkins_secrets" in modes and controller.credentials.jenkins_secrets is None:
        findings.error(
            (*here, "jenkins_secrets"),
            "found nothing; required for the mode jenkins_secrets: the file that `remoting-gateway"
            " jenkins-secrets extract` writes on the controller's machine.",
        )
    if "nodes" in modes and "controller" in modes:
        findings.warn(
            (*here, "modes"),
            "what the mode nodes does not recognise, revoked secrets included, is still passed on"
            " to the controller; it will refuse what Jenkins did not issue",
        )


def _check_source(controller: ControllerConfig, here: Location, findings: Findings) -> None:
    source = controller.credentials.jenkins_secrets
    here = (*here, "jenkins_secrets")
    if source is None:
        return
    if {"jenkins_secrets", "nodes"}.isdisjoint(controller.credentials.modes):
        findings.warn(here, "no mode uses it; add jenkins_secrets or nodes to modes")
    if isinstance(source, JenkinsHomeConfig):
        if not _is_beside(controller):
            findings.warn(
                (*here, "jenkins_home"),
                "the gateway can read master.key, and with it everything that Jenkins encrypts."
                " Unless it runs beside Jenkins anyway, use the file that `remoting-gateway"
                " jenkins-secrets extract` writes",
            )
        return
    try:
        Extracted.read(source)
    except ValueError as error:
        findings.error(here, f'found "{source}"; {error}')
    else:
        _check_mode_of(source, here, findings)


def _is_beside(controller: ControllerConfig) -> bool:
    """Say whether the controller is on this machine, or in this pod."""
    address = controller.agents.address if controller.url is None else controller.url.address
    return address is not None and address.host in _LOOPBACK


def _check_mode_of(path: Path, here: Location, findings: Findings) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # a key file is made at the first need
    if stat.S_IMODE(mode) & 0o007:
        findings.warn(
            here, f"everybody on this machine may read or change {path}: chmod o-rwx {path}"
        )


def _check_rules(config: GatewayConfig, findings: Findings) -> None:
    asks = any(
        listener.tls is not None and listener.tls.client_certificates.mode != "off"
        for listener in config.listeners
    )
    for i, rule in enumerate(config.nodes.rules):
        here: Location = ("nodes", "rules", i)
        for j, name in enumerate(rule.controllers or ()):
            if name not in config.controllers:
                known = ", ".join(f'"{each}"' for each in config.controllers)
                findings.error((*here, "controllers", j), f'found "{name}"; allowed: {known}.')
        if rule.client_certificate is not None and not asks:
            findings.error(
                (*here, "client_certificate"),
                "no listener asks for client certificates, so no agent could ever show one. Give a"
                " listener tls.client_certificates: {mode: optional, ca_file: FILE}.",
            )
    if config.nodes.unlisted == "deny" and not config.nodes.rules:
        findings.warn(("nodes", "unlisted"), "there are no rules, so no agent is let in at all")


def _check_lockout(config: GatewayConfig, findings: Findings) -> None:
    lockout = config.lockout
    if lockout.longest < lockout.first:
        findings.error(("lockout", "longest"), "allowed: as long as lockout.first, or longer")
    if lockout.per_address < lockout.per_node:
        findings.error(
            ("lockout", "per_address"),
            f"found {lockout.per_address}; allowed: {lockout.per_node} or more, since what"
            " lockout.per_node counts is counted here, too.",
        )
    if lockout.per_address_total < lockout.per_address:
        findings.error(
            ("lockout", "per_address_total"),
            f"found {lockout.per_address_total}; allowed: {lockout.per_address} or more, since what"
            " lockout.per_address counts is counted here, too.",
        )
