"""5,000 sessions: what the page costs a browser in script, and the gateway in answers.

Script time is what Chromium counts (``ScriptDuration``): not the wall clock, which says more of the
machine and of who else uses it.
"""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import CDPSession, Page, expect

from tests.browser.site import Site

Open = Callable[..., Page]
MANY = 5000


def script_time(session: CDPSession) -> float:
    """Return the seconds of script since the page was loaded."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float({each["name"]: each["value"] for each in metrics}["ScriptDuration"])


def measured(page: Page) -> CDPSession:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    return session


def test_five_thousand_on_one_page(site: Site, open_page: Open) -> None:
    site.tell(sessions=MANY)
    page = open_page(site.address)
    session = measured(page)
    page.goto(site.address + "?size=5000")
    expect(page.locator("#fresh-words")).to_have_text("live", timeout=30_000)
    assert page.locator("#rows tr").count() == MANY
    rendered = script_time(session)
    assert rendered < 1.0
    page.wait_for_timeout(2_500)  # ages go on
    assert script_time(session) - rendered < 1.0
    # What changes on such a page is found and put in its place.
    site.tell(change=MANY - 1, from_agent=7 * 1024**3)
    expect(page.locator("#rows tr").last).to_contain_text("7 GiB", timeout=30_000)
    site.tell(gone=0)
    expect(page.locator("#rows tr")).to_have_count(MANY - 1, timeout=30_000)
    print(f"script: {rendered:.3f} s rendered, {script_time(session):.3f} s in all")


def test_five_thousand_in_pages(site: Site, open_page: Open) -> None:
    site.tell(sessions=MANY)
    page = open_page(site.address)
    session = measured(page)
    page.goto(site.address)
    expect(page.locator("#fresh-words")).to_have_text("live")
    assert page.locator("#rows tr").count() == 100
    assert script_time(session) < 0.5
    expect(page.locator("#part-count")).to_contain_text("5\u202f000 sessions")
    page.get_by_role("link", name="Last").click()
    expect(page.locator("nav.pages")).to_contain_text("Page 50 of 50")
    page.get_by_label("Search").fill("linux-4999")
    page.keyboard.press("Enter")
    expect(page.locator("#rows tr")).to_have_count(1)
