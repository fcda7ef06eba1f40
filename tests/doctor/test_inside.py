from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.doctor.causes import Cause
from gateway.doctor.findings import Finding
from gateway.doctor.inside import (
    Inside,
    check_configuration,
    check_interval,
    check_listeners,
    check_state_dir,
)
from gateway.doctor.inside_running import check_running
from tests import certificates
from tests.e2e.programs import HOST, free_ports


async def loaded(folder: Path, **more: Any) -> tuple[Inside, list[Finding]]:
    """Return a configuration, and what is wrong with it."""
    (port,) = free_ports(1)
    state = folder / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    config = {
        "state_dir": str(state),
        "listeners": [{"address": f"{HOST}:{port}"}],
        "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
        **more,
    }
    path = folder / "gateway.yaml"
    path.write_text(json.dumps(config))
    inside = Inside(path=path)
    return inside, await check_configuration(inside)


def causes(findings: list[Finding]) -> list[Cause]:
    return [each.cause for each in findings]


async def test_nothing_is_wrong(tmp_path: Path) -> None:
    inside, found = await loaded(tmp_path)
    assert found == []
    for check in (check_running, check_state_dir, check_listeners, check_interval):
        assert await check(inside) == []


async def test_a_configuration_that_cannot_be_used(tmp_path: Path) -> None:
    inside, (found,) = await loaded(tmp_path, controllers={})
    assert found.cause is Cause.CONFIGURATION
    assert "gateway.yaml" in found.seen[0]
    assert inside.loaded is None


@pytest.mark.parametrize(
    ("days", "cause"), [(-1, Cause.CERTIFICATE_EXPIRED), (5, Cause.CERTIFICATE_ENDS_SOON)]
)
async def test_certificates_of_listeners(tmp_path: Path, days: int, cause: Cause) -> None:
    now = datetime.now(UTC)
    leaf = certificates.authority().issue_cert(
        HOST, not_before=now - timedelta(days=30), not_after=now + timedelta(days=days)
    )
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    files = {"certificate": str(tmp_path / "both.pem"), "key": str(tmp_path / "both.pem")}
    listener = {"address": f"{HOST}:0", "tls": {"certificates": [files]}}
    _, found = await loaded(tmp_path, listeners=[listener])
    assert cause in causes(found)


async def test_a_listener_that_somebody_has(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        inside, _ = await loaded(tmp_path, listeners=[{"address": f"{HOST}:{port}"}])
        (found,) = await check_listeners(inside)
        assert found.cause is Cause.LISTENER_TAKEN
        assert f"grep :{port}" in found.remedy
        inside.status = {"listeners": [f"{HOST}:{port}"]}
        assert await check_listeners(inside) == []


async def test_a_listener_on_an_address_that_is_not_here(tmp_path: Path) -> None:
    inside, _ = await loaded(tmp_path, listeners=[{"address": "192.0.2.1:0"}])
    (found,) = await check_listeners(inside)
    assert "no address 192.0.2.1" in found.remedy


async def test_who_may_get_into_state_dir(tmp_path: Path) -> None:
    inside, _ = await loaded(tmp_path)
    folder = tmp_path / "state"
    os.chmod(folder, 0o755)
    (found,) = await check_state_dir(inside)
    assert (found.cause, found.remedy) == (Cause.STATE_DIR, f"chmod 0700 {folder}")
    folder.rmdir()
    assert await check_state_dir(inside) == []


async def test_pings_that_come_too_late(tmp_path: Path) -> None:
    inside, _ = await loaded(tmp_path, agents={"keepalive": {"interval": "30s"}})
    (found,) = await check_interval(inside)
    assert found.cause is Cause.PING_INTERVAL
    assert "OpenShift" in found.seen[0]
