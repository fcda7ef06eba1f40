"""For tests that compare whole heads: every fresh request id is the same one."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _known_request_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.forwarding.new_request_id", lambda: "abcd-efgh")
