"""Which headers can be let through by name."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.config.claims import CLAIMS, WRITTEN_HERE, ClaimHeader

ADAPTER = TypeAdapter[str](ClaimHeader)


@pytest.mark.parametrize(
    "name", ["X-Forwarded-User", "x-forwarded-groups", "X-FORWARDED-Prefix", *sorted(CLAIMS)]
)
def test_claims_are_compared_in_lower_case(name: str) -> None:
    assert ADAPTER.validate_python(name) == name.lower()
    assert ADAPTER.validate_python(name.lower()) == name.lower()  # from supervisor to worker


@pytest.mark.parametrize("name", ["X-Forwarded-For", *sorted(WRITTEN_HERE)])
def test_what_the_gateway_writes_is_its_own(name: str) -> None:
    with pytest.raises(ValidationError, match="a header that the gateway does not write"):
        ADAPTER.validate_python(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "X-Remote-User", "Authorization", "X-Forwarded-", "X-Forwarded-*"),
        *("X-Forwarded-A B", "X-Forwarded-User: a", "X-Forwarded-\u00fc", "X-Forwarded-U\r\nA"),
        *("Secret-Key", "X-Remoting-Capability", "Connection"),
    ],
)
def test_others_need_no_name(name: str) -> None:
    with pytest.raises(ValidationError, match="allowed: the whole name of a header that begins"):
        ADAPTER.validate_python(name)
