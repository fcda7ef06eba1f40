"""Tests of ``gateway.credentials.controller_check``."""

from __future__ import annotations

import pytest

from gateway.credentials.controller_check import ControllerCheck
from gateway.credentials.policy import Granted, Presented, authorize


@pytest.mark.parametrize("secret", ["hunter2", "", "é" * 64])
async def test_the_controller_judges(secret: str) -> None:
    """Every secret goes on to it as presented, and none counts as proved."""
    presented = Presented("main", "node", secret, "192.0.2.1")
    assert await authorize([ControllerCheck()], presented) == Granted(secret, proved=False)
