"""The page in a browser: what a person sees, reaches and is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from gateway.server.admin.page.text import plain
from tests.browser.site import Site
from tests.server.admin.page.snapshots import HOSTILE

Open = Callable[..., Page]
PHONE = {"width": 375, "height": 667}

# Every text that is seen, with its colour and what is behind it: (text, ratio) of the too faint.
CONTRAST = """() => {
  const channel = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return {r, g, b, a};
  };
  const luminance = ({r, g, b}) =>
    0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.a === 1) return colour;
      if (colour.a > 0) throw new Error("translucent");
    }
    throw new Error("nothing behind");
  };
  const faint = [];
  let looked = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (["SCRIPT", "STYLE", "NOSCRIPT"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(parse(style.color)), luminance(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    looked += 1;
    if (ratio < 4.5) faint.push([walk.currentNode.data, ratio]);
  }
  return {faint, looked};
}"""


def contrast(page: Page) -> dict[str, Any]:
    found = page.evaluate(CONTRAST)
    assert isinstance(found, dict)
    return found


def is_wider_than_its_window(page: Page) -> object:
    return page.evaluate("document.scrollingElement.scrollWidth > innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("hostile", [False, True])
def test_everything_can_be_read(site: Site, open_page: Open, scheme: str, *, hostile: bool) -> None:
    if hostile:
        site.tell(hostile=True)
    page = open_page(site.address, color_scheme=scheme)
    for path in ("", "kick?session=s00005", "node?controller=main&node=build-1"):
        page.goto(site.address + path)
        found = contrast(page)
        assert found["faint"] == []
        assert found["looked"] > 5
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(ground.removeprefix("rgb(").partition(",")[0])
    assert (red > 200) == (scheme == "light")


def test_what_is_too_faint_is_found(site: Site, open_page: Open) -> None:
    page = open_page(site.address)
    page.evaluate("document.querySelector('h2').style.color = 'rgb(200, 200, 200)'")
    assert [text for text, _ in contrast(page)["faint"]] == ["Attention"]


@pytest.mark.parametrize("hostile", [False, True])
@pytest.mark.parametrize("script", [False, True])
def test_a_phone_scrolls_one_way_only(
    site: Site, open_page: Open, *, script: bool, hostile: bool
) -> None:
    if hostile:
        site.tell(hostile=True)
    page = open_page(
        site.address, viewport=PHONE, is_mobile=True, has_touch=True, java_script_enabled=script
    )
    for path in ("", "kick?session=s00005", "node?controller=main&node=" + "n" * 300):
        page.goto(site.address + path)
        assert page.evaluate("innerWidth") == PHONE["width"]
        assert not is_wider_than_its_window(page)
    page.goto(site.address)
    # A card is still a row of a table, to whoever does not see it.
    expect(page.get_by_role("row").nth(1)).to_be_visible()
    box = page.locator("#rows button").first.bounding_box()
    assert box is not None
    assert box["height"] >= 24


# What of a session's card lies under its button.
COVERED = """() => [...document.querySelectorAll("#rows tr")].flatMap((row) => {
  const button = row.querySelector("button").getBoundingClientRect();
  const isUnder = (box) => box.left < button.right && box.right > button.left
    && box.top < button.bottom && box.bottom > button.top;
  return [...row.children].filter((cell) => !cell.contains(row.querySelector("button")))
    .filter((cell) => {
      const text = document.createRange();
      text.selectNodeContents(cell);
      return [...text.getClientRects()].some(isUnder);
    }).map((cell) => cell.textContent);
})"""


@pytest.mark.parametrize("hostile", [False, True])
def test_nothing_is_under_the_button_on_a_phone(
    site: Site, open_page: Open, *, hostile: bool
) -> None:
    site.tell(hostile=hostile, sessions=9)
    page = open_page(site.address, viewport=PHONE, is_mobile=True, has_touch=True)
    expect(page.locator("#rows tr").first).to_be_visible()
    for width in range(320, 480, 10):  # which of the facts ends beside the button changes with it
        page.set_viewport_size({"width": width, "height": 667})
        assert page.evaluate(COVERED) == [], width


def test_a_page_that_is_too_wide_is_found(site: Site, open_page: Open) -> None:
    page = open_page(site.address, viewport=PHONE)
    page.evaluate("document.querySelector('h2').style.width = '500px'")
    assert is_wider_than_its_window(page)


def focused(page: Page) -> dict[str, Any]:
    """Return what has the focus, and whether that can be seen."""
    found = page.evaluate(
        """() => {
          const e = document.activeElement;
          const style = getComputedStyle(e);
          const box = e.getBoundingClientRect();
          const middle = document.elementFromPoint(
            box.left + box.width / 2, box.top + box.height / 2);
          return {
            name: e.id || e.textContent.trim(),
            ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
            inView: box.top >= 0 && box.bottom <= innerHeight && e.contains(middle),
          };
        }"""
    )
    assert isinstance(found, dict)
    return found


def test_focus_is_seen_on_a_phone_with_a_keyboard(site: Site, open_page: Open) -> None:
    page = open_page(site.address, viewport=PHONE)
    page.locator("#size").focus()
    seen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        found = focused(page)
        assert found["ring"], found
        assert found["inView"], found
        seen.append(found["name"])
        if "Kick" in found["name"]:
            break
    assert "Round trip" in seen  # heads are seen when they have the focus
    assert not is_wider_than_its_window(page)


def test_the_keyboard_is_enough(site: Site, open_page: Open) -> None:
    page = open_page(site.address)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    seen: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        found = focused(page)
        assert found["ring"], found
        assert found["inView"], found
        seen.append(found["name"])
        if "Kick" in found["name"]:
            break
    assert [name for name in seen if name in ("search", "sort", "dir", "size", "Show")] == [
        "search",
        "sort",
        "dir",
        "size",
        "Show",
    ]
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Kick build-linux-0001?")).to_be_visible()
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Kick it":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The session was ended.")


def test_search_and_order(site: Site, open_page: Open) -> None:
    site.tell(sessions=250)
    page = open_page(site.address)
    page.get_by_label("Search").fill("team-a 010")
    page.keyboard.press("Enter")
    expect(page.locator("#part-count")).to_contain_text("of 250 match")
    expect(page.get_by_label("Search")).to_have_value("team-a 010")
    page.get_by_role("link", name="Show all").click()
    page.get_by_role("link", name="Age", exact=True).click()
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("link", name="Age", exact=True).click()
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("link", name="Next").click()
    expect(page.locator("nav.pages")).to_contain_text("Page 2 of 3")
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")


def test_without_javascript_everything_is_there(site: Site, open_page: Open) -> None:
    site.tell(sessions=250)
    page = open_page(site.address, java_script_enabled=False)
    assert page.locator("#rows tr").count() == 100
    page.get_by_label("Search").fill("linux-0003")
    page.get_by_label("Reload", exact=True).select_option("10")
    page.get_by_role("button", name="Show").click()
    assert page.locator("#rows tr").count() == 1
    assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "10"
    assert site.tell()["viewers"] == 0
    page.get_by_role("button", name="Kick build-linux-0003").click()
    page.get_by_role("link", name="Leave it alone").click()
    page.get_by_role("button", name="Kick build-linux-0003").click()
    page.get_by_role("button", name="Kick it").click()
    assert "The session was ended." in page.get_by_role("alert").inner_text()
    assert "No session matches" in page.locator("#part-count").inner_text()
    page.get_by_role("link", name="Show all").click()
    page.get_by_role("link", name="build-linux-0001").click()
    assert "the agent closed its connection" in page.locator("table").inner_text()


@pytest.mark.parametrize("script", [False, True])
def test_hostile_names_are_names(site: Site, open_page: Open, *, script: bool) -> None:
    site.tell(hostile=True)
    page = open_page(site.address, java_script_enabled=script)
    if script:
        expect(page.locator("#fresh-words")).to_have_text("live")
        # Once more through the stream of events.
        for number, name in enumerate(HOSTILE):
            site.tell(change=number, node=name + "!", from_agent=5)
        expect(page.locator("#rows th bdi", has_text="!")).to_have_count(len(HOSTILE))
    assert page.title().startswith(f"{len(HOSTILE)} sessions")
    assert page.locator("h1").count() == 1
    assert page.locator("#rows tr").count() == len(HOSTILE)
    assert page.locator("img, #rows script, iframe").count() == 0
    shown = page.locator("#rows th bdi").all_inner_texts()
    wanted = {plain(name).replace("<U+", "U+") for name in HOSTILE if name.isprintable()}
    assert wanted <= {text.removesuffix("!") for text in shown}
    # What an override turns around is within its own isolate: the columns are where they were.
    for row in page.locator("#rows tr").all():
        head = row.locator("th").bounding_box()
        controller = row.locator("td").first.bounding_box()
        assert head is not None
        assert controller is not None
        assert head["x"] + head["width"] <= controller["x"] + 1


def test_the_policy_is_in_force(site: Site, open_page: Open, problems: list[str]) -> None:
    page = open_page(site.address)
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "document.title = 'broken'";
          document.body.append(script);
        }"""
    )
    page.wait_for_timeout(200)
    assert page.title() != "broken"
    assert any("policy: script-src" in problem for problem in problems), problems
    problems.clear()


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_for_whom_it_should_not(site: Site, open_page: Open, motion: str) -> None:
    page = open_page(site.address, reduced_motion=motion)
    name = page.evaluate(
        """() => {
          const row = document.querySelector("#rows tr");
          row.classList.add("changed");
          return getComputedStyle(row).animationName;
        }"""
    )
    assert name == ("none" if motion == "reduce" else "changed")


def test_a_state_is_told_without_colour(site: Site, open_page: Open) -> None:
    page = open_page(site.address, forced_colors="active")
    states = page.locator("#rows .state").all_inner_texts()
    assert set(states) == {"live", "suspect"}


def test_a_login(open_page: Open, problems: list[str]) -> None:
    token = "a-made-up-token-of-tests"
    with Site(token=token) as site:
        page = open_page(site.address)
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        field = page.get_by_label("Token of the admin listener")
        expect(field).to_be_focused()
        field.fill("not-the-token-of-tests")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        assert all("403" in problem for problem in problems), problems
        problems.clear()
        page.get_by_label("Token of the admin listener").fill(token)
        page.keyboard.press("Enter")
        expect(page.locator("#fresh-words")).to_have_text("live")
        (cookie,) = page.context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert token not in cookie["value"]
        page.get_by_role("button", name="Kick build-linux-0003").click()
        page.get_by_role("button", name="Kick it").click()
        expect(page.get_by_role("alert")).to_have_text("The session was ended.")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert page.context.cookies() == []
        page.goto(site.address)
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_a_page_of_another_site_kicks_nobody(
    site: Site, open_page: Open, problems: list[str]
) -> None:
    """It has a browser send the form, and even knows the token that a person got here."""
    page = open_page(site.address + "kick?session=s00003")
    token = page.locator('input[name="token"]').get_attribute("value")
    form = (
        f'<form method="post" action="{site.address}kick">'
        '<input name="session" value="s00003">'
        f'<input name="token" value="{token}"><button>Win a prize</button></form>'
    )
    page.route("http://evil.example/", lambda r: r.fulfill(body=form, content_type="text/html"))
    page.goto("http://evil.example/")
    with page.expect_response(site.address + "kick") as answer:
        page.get_by_role("button").click()
    assert answer.value.status == 403
    page.goto(site.address)
    expect(page.locator('tr[data-id="s00003"]')).to_be_visible()
    problems.clear()  # the other site's, and the browser's word of the 403
