"""The pictures in docs/: there, small, shown; and taken anew without anything going wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.screenshots import FOLDER, PICTURES, take
from tests.gateway_process import ROOT

PNG = b"\x89PNG\r\n\x1a\n"
LARGEST = 200 * 1024


def test_they_are_there_small_and_shown() -> None:
    pages = (ROOT / "docs" / "status-page.md").read_text()
    assert {path.stem for path in FOLDER.glob("status-*.png")} == set(PICTURES)
    for name in PICTURES:
        data = (FOLDER / f"{name}.png").read_bytes()
        assert data.startswith(PNG)
        assert len(data) < LARGEST
        assert f"(images/{name}.png)" in pages


@pytest.mark.e2e
def test_they_can_be_taken_anew(tmp_path: Path, browser: Browser) -> None:
    take(tmp_path, browser)
    for name in PICTURES:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)
