"""Where Jenkins begins at its root again, and where it does not."""

from __future__ import annotations

import pytest

from gateway.errors import RemoteProtocolError
from gateway.http.aliases import Alias, aliases_of, leads_to


@pytest.mark.parametrize(
    ("path", "whole", "actions"),
    [
        (b"/", [], []),
        (b"/job/a/cli", [], []),
        (b"/manage", [], []),
        (b"/manage/", [], []),
        (b"/manage/cli", [b"/cli"], []),
        (b"/manage/manage/x/", [b"/manage/x/", b"/x/"], []),
        (b"/job/a/manage/cli", [], []),
        (b"/managed/cli", [], []),
        (b"/itemGroup", [b"/"], []),
        (b"/itemGroup/", [b"/"], []),
        (b"/itemGroup/manage/x", [b"/manage/x", b"/x"], []),
        (b"/owner/x", [b"/x"], []),
        (b"/view/all/x", [], [b"/x"]),
        (b"/view/all", [], [b"/"]),
        (b"/view", [], []),
        (b"/view/manage/x", [], [b"/x"]),
        (b"/view/a/view/b/x", [], [b"/view/b/x", b"/x"]),
        (b"/view/a/owner/x", [b"/x"], [b"/owner/x"]),
        (b"/user/u/my-views/view/a/x", [], [b"/view/a/x", b"/x"]),
        (b"/primaryView/x", [], [b"/x"]),
        (b"/descriptor/d/resolver/r/provider/p/context/jenkins/x", [b"/x"], []),
        (b"/context", [], []),
        (b"/job/a/parent/x", [b"/x"], []),
        (b"/job/parent/x", [b"/x"], []),  # a job's name, but who knows
        (b"/job/a/1/builtOn/x", [b"/x"], []),
        (b"/job/a/lastBuiltOn/x", [b"/x"], []),
        (b"/computer/c/node/x", [b"/x"], []),
        (b"/job/a/1/execution/node/3/x", [], []),
        (b"/job/a/ws/parent/x", [], []),
        (b"/view/v/job/a/job/b/1/artifact/node/x", [], [b"/job/a/job/b/1/artifact/node/x"]),
        (b"/job/ws/parent/x", [b"/x"], []),
        (b"/job/a/parent/artifact/x", [b"/artifact/x"], []),
        (b"/view/v/ws/parent/x", [b"/x"], [b"/ws/parent/x"]),
        (b"/userContent/parent/x", [], []),
        (b"/manage/job/a/ws/parent/x", [b"/job/a/ws/parent/x", b"/x"], []),
    ],
)
def test_aliases(path: bytes, whole: list[bytes], actions: list[bytes]) -> None:
    found = aliases_of(path)
    assert [alias.path for alias in found if alias.whole] == whole
    assert [alias.path for alias in found if not alias.whole] == actions


def test_going_back_has_a_bound() -> None:
    assert aliases_of(b"/owner" * 7 + b"/x")[-1] == Alias(b"/x", whole=True)
    with pytest.raises(RemoteProtocolError):
        aliases_of(b"/owner" * 8 + b"/x")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"wsagents", False),
        (b"job/wsagents", False),
        (b"view/wsagents", False),
        (b"view/all/job/wsagents", False),
        (b"view", False),
        (b"manage", False),
        (b"manage/wsagents", True),
        (b"jenkins/manage/wsagents/", True),
        (b"view/all/wsagents", True),
        (b"view/job/wsagents", True),
        (b"job/x/parent/wsagents", True),
        (b"parent/x/wsagents", False),
    ],
)
def test_guarded_names_behind_aliases(path: bytes, *, found: bool) -> None:
    assert leads_to(path.split(b"/"), frozenset({b"wsagents"})) is found
