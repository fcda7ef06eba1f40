"""That the validator sees what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.manifests import problems_of

SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "a"},
    "spec": {"ports": [{"port": 80, "targetPort": "http"}]},
}


def test_a_good_one() -> None:
    assert problems_of(SERVICE) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"spec": {"prots": []}}, "'prots' was unexpected"),
        ({"spec": {"ports": [{"port": "80"}]}}, "'80' is not of type 'integer'"),
        ({"spec": {"ports": [{}]}}, "'port' is a required property"),
        ({"kind": "Sevice"}, "unknown kind v1/Sevice"),
    ],
)
def test_what_is_wrong(change: dict[str, Any], expected: str) -> None:
    (problem,) = problems_of({**SERVICE, **change})
    assert expected in problem
