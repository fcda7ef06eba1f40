"""Where the configuration file is looked for."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from gateway.command import options
from gateway.command.options import check_exclusive, load_config
from gateway.errors import ConfigError

_GOOD = "listeners: [{address: '127.0.0.1:1'}]\ncontrollers: {main: {url: 'http://h'}}\n"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REMOTING_GATEWAY_CONFIG", raising=False)
    monkeypatch.setattr(options, "_PLACES", (Path("gateway.yaml"), tmp_path / "etc.yaml"))
    return tmp_path


def test_the_first_that_is_there(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"neither gateway\.yaml here nor .*etc\.yaml"):
        load_config(None)
    for path in (places / "etc.yaml", places / "gateway.yaml", places / "named.yaml"):
        path.write_text(_GOOD)
    assert load_config(None).source == Path("gateway.yaml")
    assert load_config(places / "named.yaml").source == places / "named.yaml"
    monkeypatch.setenv("REMOTING_GATEWAY_CONFIG", str(places / "named.yaml"))
    assert load_config(None).source == places / "named.yaml"
    monkeypatch.delenv("REMOTING_GATEWAY_CONFIG")
    (places / "gateway.yaml").unlink()
    assert load_config(None).source == places / "etc.yaml"


def test_a_named_file_that_is_not_there(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "gateway.yaml").write_text(_GOOD)
    monkeypatch.setenv("REMOTING_GATEWAY_CONFIG", "/none.yaml")
    with pytest.raises(ConfigError, match=r"/none\.yaml: cannot be read"):
        load_config(None)


def test_file_and_controller_exclude_each_other() -> None:
    check_exclusive(None, None)
    check_exclusive(Path("f"), None)
    check_exclusive(None, "http://h")
    with pytest.raises(click.UsageError):
        check_exclusive(Path("f"), "http://h")
