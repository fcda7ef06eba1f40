"""The section ``metrics``."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.config.metrics import MetricsConfig


def test_nodes_are_not_named_by_default() -> None:
    assert MetricsConfig() == MetricsConfig(per_node=False, nodes=1000)


@pytest.mark.parametrize(
    "wrong", [{"per_node": "yes"}, {"nodes": 0}, {"nodes": 2001}, {"per_nodes": True}]
)
def test_what_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MetricsConfig.model_validate(wrong)
