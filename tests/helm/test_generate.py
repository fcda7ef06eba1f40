"""What the chart has from elsewhere is what it was made of."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from gateway import __version__
from helm.generate import COPIES, OWN, ROOT, generated, values_schema
from helm.values_page import Row, rows_of, values_page
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


def test_every_value_is_explained() -> None:
    """By itself, or as a part of what is Kubernetes' own."""
    rows = rows_of((CHART / "values.yaml").read_text("utf-8"))
    paths = {row.path: row.says for row in rows}
    whole = {"resources", "podSecurityContext", "securityContext"}
    unexplained = {path for path, says in paths.items() if not says}
    assert {path.partition(".")[0] for path in unexplained} <= whole
    leaves = {row.path: json.loads(row.default) for row in rows if row.default is not None}
    assert leaves == dict(_leaves(values_of(CHART / "values.yaml"), leaves))


def _leaves(values: dict[str, Any], stop: Container[str], prefix: str = "") -> Iterator[Any]:
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in stop or not isinstance(value, dict):
            yield path, value
        else:
            yield from _leaves(value, stop, f"{path}.")


def test_what_is_explained_is_read_from_the_comments() -> None:
    text = """\
# Not this.
a:
  # -- One | two,
  # and on.
  b: {c: 1}   # nor this
  # nor this
  d: null
# -- Whole.
e:
  # -- Leaf.
  f: "x"
"""
    assert rows_of(text) == [
        Row("a.b", '{"c": 1}', "One | two, and on."),
        Row("a.d", "null", ""),
        Row("e", None, "Whole."),
        Row("e.f", '"x"', "Leaf."),
    ]
    assert '| `a.b` | `{"c": 1}` | One \\| two, and on. |\n' in values_page(text)


def test_the_chart_says_what_it_is() -> None:
    """For Artifact Hub: what is YAML in annotations is YAML, and the categories are theirs."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["kubeVersion"] == ">=1.25.0-0"
    assert chart["version"] == chart["appVersion"] == __version__
    annotations = chart["annotations"]
    assert all(isinstance(each, str) for each in annotations.values())
    assert annotations["artifacthub.io/category"] == "networking"
    (change,) = yaml.safe_load(annotations["artifacthub.io/changes"])
    assert change.keys() == {"kind", "description"}
    (other,) = yaml.safe_load(annotations["artifacthub.io/recommendations"])
    assert other["url"].startswith("https://artifacthub.io/packages/helm/")


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"replicas": 2}, "$"),
        ({"extraEnv": []}, "$"),
        ({"metrics": {"podMonitor": {"enable": True}}}, "$.metrics.podMonitor"),
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
