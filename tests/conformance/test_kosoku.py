"""The WebSocket core before an outside judge: kosoku, Autobahn's cases on Python 3.

Groups 1 to 7 and 10 are the protocol (247 cases), group 9 long messages and many fragments (54).
Groups 12 and 13 are permessage-deflate, which the gateway never agrees to. A run is judged by its
report: each case, and how it was closed, must be OK; what is not has its reason here.
"""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.conformance.echo_server import Mode, echo_server

# Cases that have no right answer: kosoku calls them INFORMATIONAL whatever happens. NON-STRICT,
# where RFC 6455 would leave us the choice, is none.
WITHOUT_A_VERDICT: Final = {
    "7.1.6",  # 256 KiB of text, Close, Ping: all of the text is echoed before the Close
    "7.13.1",  # Close with code 5000: answered with 1002
    "7.13.2",  # Close with code 65535: answered with 1002
}


async def run_kosoku(address: str, report: Path, *options: str) -> dict[str, tuple[str, str]]:
    """Return the verdicts on the cases that ``options`` select: behaviour and closing."""
    command = Path(sysconfig.get_path("scripts")) / "kosoku"
    result = await trio.run_process(
        [str(command), "-m", "fuzzingclient", "-p", "4", *options, "-o", str(report), address],
        check=False,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
    )
    index = json.loads((report / "index.json").read_text("utf-8"))
    assert len(index) == 1, "more than one server was judged"
    verdicts = {
        case: (verdict["behavior"], verdict["behaviorClose"])
        for cases in index.values()
        for case, verdict in cases.items()
    }
    assert result.returncode == 0, (result.stdout.decode(), _not_ok(verdicts))
    return verdicts


def _not_ok(verdicts: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    return {case: verdict for case, verdict in verdicts.items() if verdict != ("OK", "OK")}


@pytest.mark.parametrize("mode", Mode)
async def test_protocol(mode: Mode, tmp_path: Path) -> None:
    async with echo_server(mode) as (address, tally):
        verdicts = await run_kosoku(address, tmp_path, "-x", "9.*", "-x", "12.*", "-x", "13.*")
    assert len(verdicts) == tally.connections == 247
    assert _not_ok(verdicts) == dict.fromkeys(WITHOUT_A_VERDICT, ("INFORMATIONAL", "INFORMATIONAL"))
    # The faults that the suite makes, by the code that each was answered with.
    assert Counter(tally.close_codes) == {1002: 43, 1007: 76}
    assert bool(tally.fast_bytes) is (mode is Mode.MIXED)
    assert tally.slow_bytes


@pytest.mark.slow
@pytest.mark.parametrize("mode", Mode)
async def test_long_messages_and_many_fragments(mode: Mode, tmp_path: Path) -> None:
    async with echo_server(mode) as (address, tally):
        verdicts = await run_kosoku(address, tmp_path, "-i", "9.*")
    assert len(verdicts) == tally.connections == 54
    assert _not_ok(verdicts) == {}
    assert tally.close_codes == []
    if mode is Mode.MIXED:
        assert tally.fast_bytes > 32 * 1024 * 1024  # of the 153 MiB: the rest is text and fragments
