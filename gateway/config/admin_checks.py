"""The rules across the keys of ``admin``, and about the files that they name.

Owns: that nobody beyond this machine gets at the admin listener without a proof, and that a token
is one.

Must not know: what is served there.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from gateway.config.admin import check_token
from gateway.config.listener_tls_checks import check_listener_tls

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from gateway.config.admin import AdminConfig
    from gateway.config.checks import Findings
    from gateway.config.document import Location
    from gateway.config.models import GatewayConfig


def check_admin(config: GatewayConfig, findings: Findings, now: datetime) -> None:
    """Check the section. Reads the token and the certificates."""
    admin = config.admin
    _check_token(admin, findings)
    if admin.listen.is_off:
        return
    if admin.tls is not None:
        check_listener_tls(admin.tls, ("admin", "tls"), findings, now)
    if not admin.listen.is_local:
        _check_beyond(admin, findings)
    if admin.listen.address is None:
        _check_socket(admin, findings)
        return
    for i, listener in enumerate(config.listeners):
        if listener.address == admin.listen.address and listener.address.port != 0:
            findings.error(
                ("admin", "listen"),
                f'found "{admin.listen}", which listeners[{i}] has already; allowed: an address of'
                " its own, so that agents' ways and operators' stay apart",
            )


def _check_token(admin: AdminConfig, findings: Findings) -> None:
    if admin.token is not None:
        if admin.token_file is not None:
            findings.error(
                ("admin", "token"),
                "found beside token_file; allowed: one of the two. Remove the other.",
            )
        try:
            check_token(admin.token.reveal())
        except ValueError as error:
            # Without the value, as everywhere.
            findings.error(("admin", "token"), f"found something else; {error}")
    if admin.token_file is None:
        return
    try:
        admin.model_copy(update={"token": None}).read_token()
    except ValueError as error:
        findings.error(("admin", "token_file"), f'found "{admin.token_file}"; {error}')
    if _is_open_to_all(admin.token_file):
        findings.warn(
            ("admin", "token_file"),
            f"everybody on this machine may read or change {admin.token_file}: chmod o-rwx"
            f" {admin.token_file}",
        )


def _check_beyond(admin: AdminConfig, findings: Findings) -> None:
    """Check a listener that others than this machine can reach."""
    here: Location = ("admin", "listen")
    has_token = admin.token is not None or admin.token_file is not None
    if not has_token and not admin.asks_for_certificates:
        findings.error(
            here,
            f'found "{admin.listen}" without a proof of who asks; allowed beyond this machine: only'
            " with token_file (or token: ${ADMIN_TOKEN}), or with tls.client_certificates: {mode:"
            ' require, ca_file: FILE}. Else listen on "unix" or "127.0.0.1:9180".',
        )
    elif admin.tls is None:
        findings.warn(
            here,
            "the token crosses the network without encryption; add tls, or listen on loopback with"
            " a proxy in front that speaks it",
        )


def _check_socket(admin: AdminConfig, findings: Findings) -> None:
    if admin.tls is not None:
        findings.error(
            ("admin", "tls"),
            f'found beside listen: "{admin.listen}"; allowed: with a host:port. A Unix socket never'
            " leaves the machine; remove tls.",
        )


def _is_open_to_all(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & 0o007)
    except OSError:
        return False
