"""What the chart has from elsewhere is what it was made of."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from helm.generate import COPIES, OWN, ROOT, generated, values_schema
from tests.helm.charts import CHART, VALUE_SETS, values_of


def test_the_files_are_up_to_date() -> None:
    for path, text in generated().items():
        assert path.read_text("utf-8") == text, f"{path}: run python -m helm.generate"
    assert all(target.exists() for target in COPIES.values())


def test_the_schema_is_one_and_takes_the_values() -> None:
    schema = values_schema()
    Draft7Validator.check_schema(schema)
    for path in (CHART / "values.yaml", *VALUE_SETS):
        assert list(Draft7Validator(schema).iter_errors(values_of(path))) == [], path.name
    assert not set(OWN) & schema["properties"]["config"]["properties"].keys()


def test_every_value_is_in_the_schema() -> None:
    assert values_of(CHART / "values.yaml").keys() == (
        values_schema()["properties"].keys() - {"global", "enabled"}
    )


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"replicas": 2}, "$"),
        ({"config": {"listeners": []}}, "$.config"),
        ({"config": {"limits": {"bodyy": "1GiB"}}}, "$.config.limits"),
        ({"config": {"limits": {"body": False}}}, "$.config.limits.body"),
        ({"config": {"controllers": {"a": {"url": 5}}}}, "$.config.controllers.a.url"),
        ({"listener": {"port": 443}}, "$.listener.port"),
        ({"listener": {"settings": {"tls": {"certificates": []}}}}, "$.listener.settings.tls"),
        ({"image": {"digest": "latest"}}, "$.image.digest"),
    ],
)
def test_what_is_wrong_is_seen_before_anything_is_installed(
    values: dict[str, Any], place: str
) -> None:
    found = {error.json_path for error in Draft7Validator(values_schema()).iter_errors(values)}
    assert place in found


def test_the_example_in_the_documentation() -> None:
    text = (ROOT / "docs" / "helm.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert list(Draft7Validator(values_schema()).iter_errors(yaml.safe_load(example))) == []
    # Every value set is named there, and nothing else.
    assert set(re.findall(r"`([\w-]+-values\.yaml)`", text)) == {path.name for path in VALUE_SETS}
