"""Pictures of the status page for docs/: ``python -m tests.browser.screenshots``.

Look at them before they are committed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.site import Site
from tests.gateway_process import ROOT
from tests.tools import require_tool

FOLDER: Final = ROOT / "docs" / "images"
SESSIONS: Final = 7
PICTURES: Final[dict[str, dict[str, Any]]] = {
    "status-light": {"viewport": {"width": 1120, "height": 1140}, "color_scheme": "light"},
    "status-dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "status-phone": {
        "viewport": {"width": 375, "height": 1750},
        "color_scheme": "light",
        "is_mobile": True,
        "has_touch": True,
    },
}


def take(folder: Path, browser: Browser) -> None:
    """Write every picture to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with Site() as site:
        site.tell(sessions=SESSIONS)
        for name, options in PICTURES.items():
            page = browser.new_page(**options)
            page.goto(site.address)
            expect(page.locator("#fresh-words")).to_have_text("live")
            page.screenshot(path=folder / f"{name}.png")
            page.close()


if __name__ == "__main__":
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=require_tool("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        take(FOLDER, chromium)
        chromium.close()
