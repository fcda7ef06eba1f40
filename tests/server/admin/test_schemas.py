"""The forms of answers; real ones are compared with them in ``test_admin_processes``."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.runtime.session_view import SessionView
from gateway.server.admin.messages import Problem
from gateway.server.admin.schemas import SCHEMAS


@pytest.mark.parametrize("name", SCHEMAS)
def test_they_are_schemas_and_closed(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["additionalProperties"] is False


def test_what_is_known_of_a_session_is_all_there() -> None:
    view = SessionView("jnlp4", "a:1", 1.0, 1.0, 1.0, 1, 1, None, 1)
    assert view.as_fields().keys() <= SCHEMAS["Session"]["properties"].keys()


def test_a_problem_fits() -> None:
    import json

    value: dict[str, Any] = json.loads(Problem(404, "not-found", "x").answer("a-b").body)
    Draft202012Validator(SCHEMAS["Problem"]).validate(value)
