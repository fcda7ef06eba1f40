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


def policy(tmp_path: Path, *modes: str, before: Policy | None = None) -> Policy:
    access = StoreAccess(SqliteNodeStore(tmp_path), tmp_path / "key")
    config = make_config(tmp_path, *modes)
    return Policy(config, access, now=Clock(), audit=Audit(), before=before)


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


async def test_a_reload_keeps_the_key_that_was_read(tmp_path: Path) -> None:
    before = policy(tmp_path, "jenkins_secrets")
    same = policy(tmp_path, "jenkins_secrets", "controller", before=before)
    assert same.source("main") is before.source("main") is not None
    (tmp_path / "other").mkdir()
    assert policy(tmp_path / "other", "nodes", before=before).source("main") is not same.source(
        "main"
    )


def test_a_controller_that_was_removed(tmp_path: Path) -> None:
    found = policy(tmp_path, "controller")
    assert found.modes("gone") is None
    with pytest.raises(CredentialsUnavailable, match="gone is not configured any more"):
        found.verifiers("gone")
