"""The alert rules: they parse, do what they say with made-up series, and name what there is."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.names import check_labels, metrics_in
from tests.tools import require_tool

FOLDER = Path(__file__).parents[2] / "deploy/prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]


def promtool(*arguments: str) -> str:
    """Run promtool in the folder of the rules; return what it prints."""
    command = [require_tool("promtool"), *arguments]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, timeout=30)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def test_the_rules_are_valid() -> None:
    assert f"SUCCESS: {len(RULES)} rules found" in promtool("check", "rules", "alerts.yml")


def test_they_do_what_they_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yml")


def test_a_rule_that_says_otherwise_is_found(tmp_path: Path) -> None:
    text = (FOLDER / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(text.replace("worker_up == 0", "worker_up == 2"))
    (tmp_path / "alerts.test.yml").write_text((FOLDER / "alerts.test.yml").read_text())
    command = [require_tool("promtool"), "test", "rules", str(tmp_path / "alerts.test.yml")]
    assert subprocess.run(command, capture_output=True, timeout=30).returncode != 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_names_what_there_is_and_has_a_test(rule: dict[str, Any]) -> None:
    assert list(metrics_in(rule["expr"]))
    check_labels(rule["expr"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description"}
    tested = yaml.safe_load((FOLDER / "alerts.test.yml").read_text())
    (broken,) = (test for test in tested["tests"] if test["name"] == "everything is wrong")
    assert f'"{rule["alert"]}"' in str(broken["promql_expr_test"])
