"""Whole pages and their parts, as HTML: well-formed, escaped, no script and no style in it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from gateway.server.admin.page.query import View
from gateway.server.admin.page.render import PARTS, Frame, Renderer, node_query, version_of
from gateway.server.admin.page.values import Snapshot
from tests.server.admin.page.snapshots import HOSTILE, NOW, hostile, session, snapshot

VOID = frozenset({"meta", "link", "input", "br", "img"})
# Whose end tags browsers add; we write them all the same.


class Page(HTMLParser):
    """Reads HTML, and fails where tags do not fit together."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


async def page_of(now: Snapshot, view: View | None = None) -> str:
    return await Frame(now, Renderer("a1")).status_page(view or View(), outcome=None, logout=None)


@pytest.mark.parametrize(
    "now",
    [
        snapshot(),
        snapshot(0),
        snapshot(250),
        hostile(),
        Snapshot(NOW, "starting", False, "0", NOW, 0, 0, 0),
        snapshot(silent=(4101,), ready=False, state="recovering"),
    ],
    ids=["usual", "empty", "pages", "hostile", "bare", "silent"],
)
async def test_pages_are_well_formed_and_keep_to_the_policy(now: Snapshot) -> None:
    page = Page(await page_of(now, View(search="<b>", refresh=10) if now.ready else None))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
    (script,) = page.all("script")
    assert script["src"] == "static/status.js?a1"
    assert not page.all("style")
    # Labels and heads: what a screen reader goes by.
    labelled = {a["for"] for a in page.all("label")}
    for tag in ("input", "select"):
        for attributes in page.all(tag):
            assert attributes.get("type") == "hidden" or attributes["id"] in labelled
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    for attributes in page.all("table"):
        assert attributes["aria-labelledby"] in ids
    for address in (a["href"] for a in page.all("a") if a["href"]):
        assert address is not None
        assert address.startswith(("./", "#", "node?"))
        if address.startswith("#"):
            assert address[1:] in ids


async def test_names_are_text_whatever_they_are() -> None:
    html = await page_of(hostile())
    page = Page(html)
    assert not page.all("img")
    assert len(page.all("h1")) == 1
    assert len(page.all("bdi")) >= 2 * len(HOSTILE)
    assert "{{ 7 * 7 }}{% raw %}" in page.text
    html.encode()
    titles = [a["title"] for a in page.all("th") if "title" in a]
    assert "n" * 300 in titles
    assert all(title is not None and title.isprintable() for title in titles)


async def test_what_is_sorted_is_said() -> None:
    page = Page(await page_of(snapshot(), View(sort="age", descending=True)))
    assert [a["aria-sort"] for a in page.all("th") if "aria-sort" in a] == ["descending"]
    selected = [a.get("value") for a in page.all("option") if "selected" in a]
    assert selected[:2] == ["age", "desc"]


async def test_pages_are_linked() -> None:
    page = Page(await page_of(snapshot(250), View(page=2, search="build")))
    rel = {a["rel"]: a["href"] for a in page.all("a") if "rel" in a}
    assert rel == {"prev": "./?q=build#sessions", "next": "./?q=build&page=3#sessions"}


async def test_a_refresh_is_for_those_without_script_only() -> None:
    html = await page_of(snapshot(), View(refresh=30))
    assert '<noscript><meta http-equiv="refresh" content="30"></noscript>' in html
    assert "http-equiv" not in await page_of(snapshot())


async def test_a_frame_is_rendered_once() -> None:
    renderer = Renderer("a1")
    frame = Frame(snapshot(), renderer)
    first = await frame.rows(frame.snapshot.sessions)
    again = await frame.rows(frame.snapshot.sessions)
    assert all(a is b for a, b in zip(first, again, strict=True))
    assert all(frame.part(part) is frame.part(part) for part in PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_shows_the_same_is_the_same(part: str) -> None:
    renderer = Renderer("a1")
    assert Frame(snapshot(), renderer).shown_in(part) == Frame(snapshot(), renderer).shown_in(part)
    empty = Snapshot(NOW, "starting", False, "0", NOW, 0, 0, 0)
    assert Frame(snapshot(), renderer).shown_in(part) != Frame(empty, renderer).shown_in(part)


def test_versions() -> None:
    assert version_of(session(1)) == version_of(session(1))
    assert version_of(session(1)) != version_of(session(1, to_agent=0))
    assert len(version_of(session(1))) <= 10


def test_addresses_of_nodes_survive_any_name() -> None:
    assert node_query("a", "b&c=d/ü") == "controller=a&node=b%26c%3Dd%2F%C3%BC"
    for name in HOSTILE:
        assert node_query("main", name).isascii()
