"""What of the sessions a viewer gets to see."""

from __future__ import annotations

import pytest

from gateway.server.admin.page.query import (
    MAX_SEARCH,
    ORDERS,
    SIZE,
    View,
    fields_of,
    select,
    view_of,
)
from tests.server.admin.page.snapshots import session

ROWS = tuple(session(i) for i in range(1, 251))


def found(view: View) -> list[str]:
    return [row.id for row in select(ROWS, view).rows]


@pytest.mark.parametrize(
    "view",
    [
        View(),
        View(search="a&b=c d", sort="ping", descending=True, page=3, size=500, refresh=30),
        View(search="\u05e1\u05d5\u05db\u05df", page=2),
    ],
)
def test_a_view_survives_its_query(view: View) -> None:
    assert view_of(fields_of(view.query())) == view


def test_links_leave_out_what_goes_without_saying() -> None:
    assert View().link() == "./"
    assert View(search="x").link(page=2) == "./?q=x&page=2"
    assert View(sort="age").sorted_by("age") == "./?sort=age&dir=desc"
    assert View(sort="age", descending=True, page=4).sorted_by("age") == "./?sort=age"
    assert View(sort="age", descending=True).sorted_by("ping") == "./?sort=ping"


@pytest.mark.parametrize(
    "query",
    [
        "sort=__class__",
        "page=0",
        "page=-1",
        "page=99999999999999999999",
        "page=\u0663",
        "size=7",
        "size=",
        "dir=up",
        "refresh=1",
        "unknown=1",
        "%",
        "&&&=",
        "&".join(f"a{i}=1" for i in range(100)),
    ],
)
def test_what_is_not_understood_is_as_if_it_were_not_there(query: str) -> None:
    assert view_of(fields_of(query)) == View()


def test_a_search_is_bounded() -> None:
    assert len(view_of({"q": "x" * 10_000}).search) == MAX_SEARCH


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", ORDERS)
def test_every_order_holds_all_once(sort: str, *, descending: bool) -> None:
    ids = found(View(sort=sort, descending=descending, size=500))
    assert sorted(ids) == [row.id for row in ROWS]


def test_orders() -> None:
    assert found(View())[:2] == ["s00001", "s00002"]
    assert found(View(descending=True))[0] == "s00250"
    by_ping = select(ROWS, View(sort="ping", size=500)).rows
    known = [row.round_trip for row in by_ping if row.round_trip is not None]
    assert known == sorted(known)
    unknown = len(ROWS) - len(known)
    assert unknown
    for descending in (False, True):  # what is not known is last, either way
        last = select(ROWS, View(sort="ping", descending=descending, size=500)).rows[-unknown:]
        assert all(row.round_trip is None for row in last)
    ages = [row.since for row in select(ROWS, View(sort="age", size=500)).rows]
    assert ages == sorted(ages, reverse=True)  # the youngest first
    assert select(ROWS, View(sort="state")).rows[0].suspect


def test_search() -> None:
    rows = (
        session(1, node="Build-Ä", controller="main"),
        session(2, node="other", client="192.0.2.9:1"),
        session(3, node="third", suspect=True),
    )
    assert [row.id for row in select(rows, View(search="build-a\u0308")).rows] == ["s00001"]
    assert [row.id for row in select(rows, View(search="192.0.2.")).rows] == ["s00002"]
    assert [row.id for row in select(rows, View(search="suspect THIRD")).rows] == ["s00003"]
    none = select(rows, View(search="main nowhere"))
    assert (none.rows, none.matching, none.total, none.count, none.first) == ((), 0, 3, 1, 0)


def test_pages() -> None:
    page = select(ROWS, View(page=3))
    assert (page.number, page.count, page.first, len(page.rows)) == (3, 3, 201, 50)
    assert select(ROWS, View(page=99)).number == 3  # sessions have ended meanwhile
    assert len(select(ROWS, View()).rows) == SIZE
    pages = [row.id for i in (1, 2, 3) for row in select(ROWS, View(page=i)).rows]
    assert pages == [row.id for row in ROWS]
