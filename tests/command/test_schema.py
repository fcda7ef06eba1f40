"""``schema`` prints what the configuration's own schema is."""

from __future__ import annotations

import json

from click.testing import CliRunner

from gateway.command import cli
from gateway.config.schema import config_schema


def test_schema() -> None:
    result = CliRunner().invoke(cli, ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == config_schema()
