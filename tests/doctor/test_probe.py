from __future__ import annotations

from pathlib import Path

import pytest

from gateway.doctor.causes import Cause
from gateway.doctor.probe import probe_once
from tests.doctor.jenkins import Jenkins
from tests.doctor.paths import ask, behind_gateway


@pytest.mark.parametrize(("node", "cause"), [("a", None), ("nobody", Cause.UNKNOWN_NODE)])
async def test_one_exchange(tmp_path: Path, node: str, cause: Cause | None) -> None:
    jenkins = Jenkins()
    async with behind_gateway(tmp_path, jenkins) as worker:
        request, answer, found = await probe_once(ask(jenkins, worker.plain, node=node))
        assert request.startswith(b"GET /wsagents/ HTTP/1.1\r\n")
        assert answer.status == (101 if cause is None else 400)
        assert (None if found is None else found.cause) is cause
        # The session does not stay.
        await jenkins.agents.wait_for_no_channel(node)
