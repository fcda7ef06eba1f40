"""Each seeded fault: the doctor's first finding names the right cause and the right remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.doctor.examine import examine
from gateway.doctor.runner import Observer
from tests.doctor.faults import FAULTS, Fault
from tests.doctor.more_faults import MORE_FAULTS

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("fault", [*FAULTS, *MORE_FAULTS], ids=lambda fault: fault.name)
async def test_the_first_finding_is_the_cause(tmp_path: Path, fault: Fault) -> None:
    async with fault.set_up(tmp_path) as question:
        report = await examine(question, None, Observer())
    print(*report.steps, sep="\n")
    print(*report.findings, sep="\n")
    first = report.findings[0]
    assert first.cause is fault.cause
    settings = "\n".join(f"{each.where}: {each.text}" for each in first.settings)
    said = "\n".join((first.title, first.remedy, settings))
    assert [words for words in fault.says if words not in said] == []
    # One cause, one finding: what follows from it is folded under it.
    assert {each.cause for each in report.findings[1:]} <= fault.others
    assert report.exit_status == first.severity
    assert question.secret is not None
    assert question.secret.reveal() not in repr(report)


def test_there_are_twenty() -> None:
    assert len({fault.name for fault in FAULTS}) == 20
