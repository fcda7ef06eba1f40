"""The Grafana dashboard: its expressions parse, and name metrics and labels that there are."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.names import check_labels, metrics_in
from tests.tools import require_tool

DASHBOARD = Path(__file__).parents[2] / "deploy/grafana/remoting-gateway.json"
# What Grafana puts in the place of its variables.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$controller": ".*"}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Yield title and expression of each query, with values for Grafana's variables."""
    found = dashboard()
    pairs = [(x["name"], x["expr"]) for x in found["annotations"]["list"]]
    for panel in found["panels"]:
        pairs += [(panel["title"], target["expr"]) for target in panel.get("targets", ())]
    for title, expression in pairs:
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        yield title, expression


def test_every_expression_parses(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{i}", "expr": expr} for i, (_, expr) in enumerate(expressions())]
    assert len(rules) > 40
    file = tmp_path / "rules.json"  # which is YAML, too
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool = require_tool("promtool")
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    assert f"{len(rules)} rules found" in done.stdout.decode()


@pytest.mark.parametrize(("title", "expression"), [*expressions()])
def test_every_expression_names_what_there_is(title: str, expression: str) -> None:
    assert "$" not in expression, title
    assert list(metrics_in(expression)), title
    check_labels(expression)


def test_variables_name_metrics() -> None:
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            assert len(list(metrics_in(variable["definition"]))) == 1


def test_legends_name_labels_that_the_expression_keeps() -> None:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            grouped = re.search(r"by \(([^)]*)\)", target["expr"])
            if grouped is not None:
                assert wanted <= set(re.split(r",\s*", grouped[1])), panel["title"]


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    identities = []
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
        identities.append(panel["id"])
    assert len(identities) == len(set(identities))
