from __future__ import annotations

from pathlib import Path

import click
import pytest
import trio

from gateway.command.doctor_options import (
    check_ca_file,
    parse_connect_to,
    parse_target,
    read_node_secret,
    run_until_interrupted,
)


@pytest.mark.parametrize(
    ("url", "path"), [("https://ci", "/"), ("https://ci/a", "/a/"), ("http://ci:8080/a/", "/a/")]
)
def test_targets(url: str, path: str) -> None:
    assert parse_target(url).path == path


@pytest.mark.parametrize("url", ["ci.example.com", "https://", "https://ci/login/", "wss://ci/"])
def test_what_is_no_target(url: str) -> None:
    with pytest.raises(click.BadParameter, match="allowed"):
        parse_target(url)


def test_where_to_connect() -> None:
    assert parse_connect_to(None) is None
    assert parse_connect_to("[::1]:8443") == ("::1", 8443)
    with pytest.raises(click.BadParameter):
        parse_connect_to("8443")


def test_files(tmp_path: Path) -> None:
    check_ca_file(None)
    path = tmp_path / "x"
    path.write_text("no certificate")
    with pytest.raises(click.BadParameter, match="allowed: a PEM file"):
        check_ca_file(path)
    assert read_node_secret("a", None) is None
    secret = read_node_secret("a", path)
    assert secret is not None
    assert "no certificate" not in repr(secret)
    with pytest.raises(click.UsageError):
        read_node_secret(None, path)
    with pytest.raises(click.UsageError, match="--node: allowed: one line"):
        read_node_secret("a\r\nX: y", path)
    path.write_text("a secret\nand more")
    with pytest.raises(click.UsageError, match="allowed: one line"):
        read_node_secret("a", path)


def test_an_interrupt_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    async def in_a_nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise KeyboardInterrupt

    with pytest.raises(SystemExit) as raised:
        run_until_interrupted(in_a_nursery)
    assert raised.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
