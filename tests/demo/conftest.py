"""Fixtures for the stand-ins' own tests."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from gateway.demo.identity import InstanceIdentity


@pytest.fixture
def jumping_clock() -> MockClock:
    """A clock that jumps when nothing happens, but leaves the kernel time to deliver.

    All parties of these tests are in one process on loopback, where that takes microseconds.
    """
    return MockClock(autojump_threshold=0.05)


@pytest.fixture(scope="session")
def identity() -> InstanceIdentity:
    """One RSA key for all tests: making one is the slowest thing they do."""
    return InstanceIdentity()


@pytest.fixture(scope="session")
def other_identity() -> InstanceIdentity:
    """Another controller's key."""
    return InstanceIdentity()
