"""The state folder, and the limit of open files."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError
from gateway.server.surroundings import (
    ENOUGH_DESCRIPTORS,
    MOST_DESCRIPTORS,
    prepare_state_dir,
    raise_descriptor_limit,
)
from tests.server.processes import HOST


def config_for(folder: Path, *addresses: str) -> GatewayConfig:
    return GatewayConfig.model_validate(
        {
            "state_dir": str(folder),
            "listeners": [{"address": address} for address in addresses],
            "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
        }
    )


def test_a_state_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, reason in (("file", "file exists"), ("file/state", "not a directory")):
        with pytest.raises(ConfigError) as caught:
            prepare_state_dir(config_for(tmp_path / path, f"{HOST}:0"))
        text = str(caught.value)
        assert text.startswith(f"state_dir: {tmp_path / path} cannot be made: {reason}; set state_")
        assert "STATE_DIRECTORY" in text


@pytest.mark.parametrize(
    ("mode", "warned"),
    [(0o700, False), (0o755, False), (0o1777, False), (0o770, True), (0o777, True)],
)
def test_a_state_folder_that_others_may_write_to(
    tmp_path: Path, mode: int, *, warned: bool
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    with capture_logs() as logs:
        prepare_state_dir(config_for(folder, f"{HOST}:0"))
    assert [line["mode_bits"] for line in logs] == [f"{mode:04o}"] * warned


def test_a_state_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(ConfigError, match=f"state_dir: {tmp_path} cannot be written; set state_"):
        prepare_state_dir(config_for(tmp_path, f"{HOST}:0"))


def test_a_state_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    prepare_state_dir(config_for(tmp_path / "a" / "b", f"{HOST}:0"))
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "expected", "warned"),
    [
        (1024, 524_288, 524_288, False),
        (1024, 4096, 4096, True),
        (1024, ENOUGH_DESCRIPTORS, ENOUGH_DESCRIPTORS, False),
        (4096, 4096, None, True),
        (1024, 1_073_741_816, MOST_DESCRIPTORS, False),
        (1024, INFINITE, MOST_DESCRIPTORS, False),
        (2_000_000, INFINITE, None, False),
        (INFINITE, INFINITE, None, False),
    ],
)
def test_the_limit_of_open_files_is_raised(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, expected: int | None, *, warned: bool
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    with capture_logs() as logs:
        raise_descriptor_limit()
    assert limits == ([] if expected is None else [(expected, hard)])
    assert [line["limit"] for line in logs] == [expected or soft] * warned


def test_a_limit_that_cannot_be_raised_is_reported_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: int, __: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 524_288))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    with capture_logs() as logs:
        raise_descriptor_limit()
    (line,) = logs
    assert line["limit"] == 1024
    assert "LimitNOFILE=" in line["remedy"]
