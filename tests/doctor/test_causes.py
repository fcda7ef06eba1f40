from __future__ import annotations

import re
from pathlib import Path

from gateway.doctor.causes import EXPLAINS, Cause, rank

SOURCES = Path(__file__).parents[2] / "gateway" / "doctor"


def test_every_cause_can_be_found() -> None:
    text = "".join(
        path.read_text() for path in SOURCES.glob("*.py") if path.name not in {"causes.py"}
    )
    used = set(re.findall(r"Cause\.([A-Z_]+)", text))
    assert {cause.name for cause in Cause} == used


def test_nothing_explains_itself() -> None:
    """Two that explain each other would both vanish."""
    for cause in EXPLAINS:
        reached: set[Cause] = set()
        ends = list(EXPLAINS[cause])
        while ends:
            end = ends.pop()
            if end not in reached:
                reached.add(end)
                ends += EXPLAINS.get(end, ())
        assert cause not in reached


def test_ranks_follow_the_path() -> None:
    assert rank(Cause.NAME_UNKNOWN) < rank(Cause.CERTIFICATE_EXPIRED) < rank(Cause.SSO)
    assert rank(Cause.SSO) < rank(Cause.UPGRADE_STRIPPED) < rank(Cause.IDLE_CUT)


def test_the_page_names_every_cause() -> None:
    page = (SOURCES.parents[1] / "docs" / "doctor.md").read_text()
    table = page.partition("## Causes")[2]
    assert set(re.findall(r"`([a-z-]+)`", table)) >= {cause.value for cause in Cause}
