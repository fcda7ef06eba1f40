"""What tests with a browser share: Chromium, the page of a made-up gateway, and what went wrong.

Every test fails if its page wrote an error to the console, broke the security policy, or asked for
anything from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.site import Site
from tests.tools import require_tool

DESKTOP: Final = {"width": 1280, "height": 800}
# Says so in the console, where it is found.
_WATCH: Final = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


# For a module and no longer: as long as it lives there is a running asyncio loop in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = require_tool("chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def the_site() -> Iterator[Site]:
    with Site() as found:
        yield found


@pytest.fixture
def site(the_site: Site) -> Site:
    """Return the page of a gateway with 42 sessions."""
    the_site.tell(sessions=42)
    return the_site


@pytest.fixture
def problems() -> list[str]:
    """What went wrong; a test that expects something takes it out."""
    return []


@pytest.fixture
def open_page(browser: Browser, problems: list[str]) -> Iterator[Callable[..., Page]]:
    """Return what opens a page in a browser that knows nothing; more are a context's options."""
    contexts: list[BrowserContext] = []

    def open_one(address: str, **options: object) -> Page:
        context = browser.new_context(**({"viewport": DESKTOP} | options))  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(15_000)
        if options.get("java_script_enabled", True):
            context.add_init_script(_WATCH)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda said: problems.append(said.text) if said.type == "error" else None,
        )
        own = "/".join(address.split("/")[:3])
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(own) else problems.append(asked.url),
        )
        page.goto(address)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert problems == []
