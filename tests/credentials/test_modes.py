"""Tests of ``gateway.credentials.modes``: from a configuration to who judges."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.credentials.audit import Audit
from gateway.credentials.modes import Policy
from gateway.credentials.node_store import SqliteNodeStore
from gateway.credentials.store_access import StoreAccess
from gateway.errors import CredentialsUnavailable
from tests.credentials.gates import RIGHT, Clock, make_config


def policy(tmp_path: Path, *modes: str) -> Policy:
    access = StoreAccess(SqliteNodeStore(tmp_path), tmp_path / "key")
    return Policy(make_config(tmp_path, *modes), access, now=Clock(), audit=Audit())


async def test_the_order_is_the_configurations(tmp_path: Path) -> None:
    found = policy(tmp_path, "jenkins_secrets", "nodes", "controller")
    assert [type(each).__name__ for each in found.verifiers("main")] == [
        "JenkinsSecretsCheck",
        "NodesCheck",
        "ControllerCheck",
    ]
    assert found.modes("main") == ("jenkins_secrets", "nodes", "controller")
    assert found.needs_store
    assert not policy(tmp_path, "controller").needs_store
    assert await found.jenkins_secret("main", "my-agent") == RIGHT


def test_a_controller_that_was_removed(tmp_path: Path) -> None:
    found = policy(tmp_path, "controller")
    assert found.modes("gone") is None
    with pytest.raises(CredentialsUnavailable, match="gone is not configured any more"):
        found.verifiers("gone")
