"""Errors as label values: few, and always one."""

from __future__ import annotations

import pytest

from gateway.errors import (
    OUTCOMES,
    ControllerTimeout,
    GatewayError,
    LockedOut,
    RemoteProtocolError,
)
from gateway.observability.metrics.error_names import INTERNAL, error_name


class Rare(RemoteProtocolError):
    """One that has no row of its own."""


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ControllerTimeout(), "controller_timeout"),
        (LockedOut(), "locked_out"),
        (Rare(), "remote_protocol_error"),
        (GatewayError(), INTERNAL),
        (ValueError("a secret"), INTERNAL),
    ],
)
def test_names(error: Exception, name: str) -> None:
    assert error_name(error) == name


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({error_name(kind()) for kind in OUTCOMES}) == len(OUTCOMES)
