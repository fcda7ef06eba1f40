"""The page while things happen: it follows, and leaves alone what a person is using."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from gateway.server.admin.page.text import age
from tests.browser.site import Site

Open = Callable[..., Page]


def live(page: Page) -> Page:
    expect(page.locator("#fresh-words")).to_have_text("live")
    return page


def cell(page: Page, number: int, label: str) -> str:
    row = page.locator(f'tr[data-id="s{number:05d}"]')
    return row.locator(f'td[data-label="{label}"]').inner_text()


def test_what_changes_is_shown(site: Site, open_page: Open) -> None:
    page = live(open_page(site.address))
    row = page.locator('tr[data-id="s00003"]')
    site.tell(change=2, from_agent=7 * 1024**3, suspect=True)
    expect(row).to_contain_text("7 GiB")
    expect(row).to_contain_text("suspect")
    site.tell(new=4999)
    expect(page.locator('tr[data-id="s04999"]')).to_be_visible()
    expect(page.locator("#part-count")).to_have_text("43 sessions")
    expect(page).to_have_title("43 sessions · Remoting Gateway")
    site.tell(gone=2)
    expect(row).to_have_count(0)
    expect(page.locator("#part-figures")).to_contain_text("42")
    expect(page).to_have_title("42 sessions · Remoting Gateway")


def test_attention_follows(site: Site, open_page: Open) -> None:
    page = live(open_page(site.address))
    site.tell(state="recovering")
    attention = page.locator("#part-attention")
    expect(attention).to_contain_text("Worker 4101 did not answer")
    expect(attention).to_contain_text("The gateway is not ready: it is recovering.")


def test_order_is_kept(site: Site, open_page: Open) -> None:
    page = live(open_page(site.address + "?sort=received&dir=desc"))
    first = page.locator("#rows tr").first
    site.tell(change=0, from_agent=10**15)
    expect(first).to_have_attribute("data-id", "s00001")
    site.tell(change=1, from_agent=10**16)
    expect(first).to_have_attribute("data-id", "s00002")
    ids = page.locator("#rows tr").evaluate_all("rows => rows.map((row) => row.dataset.id)")
    assert len(ids) == len(set(ids)) == 42
    assert ids[1] == "s00001"


def test_focus_stays_where_it_is(site: Site, open_page: Open) -> None:
    page = live(open_page(site.address + "?sort=received"))
    button = page.locator('tr[data-id="s00003"] button')
    button.focus()
    site.tell(change=2, from_agent=10**15)  # it goes to the end of the list
    expect(page.locator("#rows tr").last).to_have_attribute("data-id", "s00003")
    expect(button).to_be_focused()
    site.tell(change=2, from_agent=0)
    expect(page.locator("#rows tr").first).to_have_attribute("data-id", "s00003")
    expect(button).to_be_focused()
    ids = page.locator("#rows tr").evaluate_all("rows => rows.map((row) => row.dataset.id)")
    assert ids[0] == "s00003"
    assert len(set(ids)) == 42


def test_focus_has_somewhere_to_go(site: Site, open_page: Open) -> None:
    page = live(open_page(site.address))
    page.locator('tr[data-id="s00003"] button').focus()
    site.tell(gone=2)
    expect(page.locator('tr[data-id="s00004"] button')).to_be_focused()


def test_a_search_that_is_being_typed_stays(site: Site, open_page: Open) -> None:
    page = live(open_page(site.address))
    page.get_by_label("Search").fill("linux-00")
    site.tell(change=0, from_agent=123 * 1024)
    expect(page.locator('tr[data-id="s00001"]')).to_contain_text("123 KiB")
    expect(page.get_by_label("Search")).to_have_value("linux-00")
    expect(page.get_by_label("Search")).to_be_focused()


def test_ages_go_on_in_the_words_of_the_server(site: Site, open_page: Open) -> None:
    page = live(open_page(site.address))
    ages = [0, 59, 60, 3599, 3600, 86399, 86400, 5 * 86400 + 7300]
    words = page.evaluate(
        """async (ages) => {
          const now = Number(document.documentElement.dataset.now);
          const times = ages.map((seconds) => {
            const time = document.createElement("time");
            time.dataset.age = "";
            time.dateTime = new Date((now - seconds) * 1000).toISOString();
            time.textContent = "?";
            document.body.append(time);
            return time;
          });
          while (times.some((time) => time.textContent === "?")) {
            await new Promise((done) => setTimeout(done, 50));
          }
          return times.map((time) => time.textContent);
        }""",
        ages,
    )
    for seconds, said in zip(ages, words, strict=True):
        # The made-up gateway's clock stands still between two messages; a browser's does not.
        assert said in {age(seconds + late) for late in range(20)}


def test_it_is_not_chatty(site: Site, open_page: Open) -> None:
    page = live(open_page(site.address))
    assert page.locator("[aria-live=assertive]").count() == 0
    page.evaluate(
        """() => {
          window.said = [];
          for (const region of document.querySelectorAll("[role=status]")) {
            new MutationObserver(() => window.said.push(region.textContent))
              .observe(region, {childList: true, characterData: true, subtree: true});
          }
        }"""
    )
    for i in range(6):
        site.tell(new=4000 + i)
        expect(page.locator(f'tr[data-id="s{4000 + i:05d}"]')).to_be_visible()
    said = page.evaluate("window.said")
    assert len(said) == 1, said
    assert said[0].endswith(" sessions")


def test_it_says_when_it_is_not_live_and_comes_back(open_page: Open, problems: list[str]) -> None:
    with Site() as site:
        page = live(open_page(site.address))
    expect(page.locator("#fresh-words")).to_contain_text("not live")
    with Site(port=site.port) as again:
        expect(page.locator("#fresh-words")).to_have_text("live", timeout=30_000)
        again.tell(change=0, from_agent=123 * 1024)
        expect(page.locator('tr[data-id="s00001"]')).to_contain_text("123 KiB")
        page.close()
    # That a connection was refused is the browser's own line in the console.
    assert all("ERR_" in problem for problem in problems), problems
    problems.clear()


def test_a_page_that_nobody_sees_holds_no_place(site: Site, open_page: Open) -> None:
    page = live(open_page(site.address))
    assert site.tell()["viewers"] == 1
    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", {value: true, configurable: true});
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    expect(page.locator("#fresh-words")).to_have_text("not live while hidden")
    page.wait_for_timeout(300)
    assert site.tell()["viewers"] == 0
    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", {value: false});
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    live(page)


def test_it_says_when_there_is_no_place(site: Site, open_page: Open, problems: list[str]) -> None:
    site.tell(most_viewers=0)
    try:
        page = open_page(site.address)
        expect(page.locator("#fresh-words")).to_contain_text("not live: refused")
        assert page.locator("#rows tr").count() == 42
    finally:
        site.tell(most_viewers=32)
    # It comes back by itself, after 10 s and as much again by chance.
    expect(page.locator("#fresh-words")).to_have_text("live", timeout=40_000)
    assert all("503" in problem for problem in problems), problems
    problems.clear()
