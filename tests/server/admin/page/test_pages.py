"""What each address answers, and to whom."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.server.admin.messages import Answer
from gateway.server.admin.page.guard import Guard
from gateway.server.admin.page.live import MOST_VIEWERS, Viewer
from gateway.server.admin.page.pages import MOST_TRIALS, STATIC, Request, StatusPage
from tests.server.admin.page.snapshots import HOSTILE, hostile
from tests.server.admin.page.source import ScriptedSource

TOKEN = "a-made-up-token-of-tests"
OURS = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def source() -> ScriptedSource:
    return ScriptedSource()


@pytest.fixture
def page(source: ScriptedSource) -> StatusPage:
    return StatusPage(source)


def field(answer: Answer, name: str) -> str:
    values = [value for key, value in answer.fields if key.lower() == name.encode()]
    return values[0].decode() if values else ""


def hidden(answer: Answer, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"'.encode(), answer.body)
    assert found is not None, answer.body
    return found.group(1).decode()


def cookie_of(answer: Answer) -> dict[str, str]:
    return {"cookie": field(answer, "set-cookie").partition(";")[0]}


async def logged_in(page: StatusPage, *, secure: bool = False) -> dict[str, str]:
    request = Request(fields=OURS, form={"secret": TOKEN}, token=TOKEN, secure=secure)
    return cookie_of(await page.login(request))


# -- kicking ---------------------------------------------------------------------------------------


async def test_a_kick_is_asked_for_twice(page: StatusPage, source: ScriptedSource) -> None:
    question = await page.ask_to_kick(Request("session=s00003&view=q%3Dbuild%26page%3D2"))
    assert question.status == 200
    assert b"build-linux-0003" in question.body
    assert source.kicked == []
    form = {name: hidden(question, name) for name in ("session", "token", "view")}
    form["view"] = form["view"].replace("&amp;", "&")
    done = await page.kick(
        Request(fields=OURS | cookie_of(question), form=form, caller="127.0.0.1")
    )
    assert source.kicked == [("s00003", "127.0.0.1")]
    assert (done.status, field(done, "location")) == (303, "./?q=build&page=2&outcome=kicked")
    status = await page.status(Request("q=build&outcome=kicked"))
    assert b"The session was ended." in status.body
    assert b"build-linux-0003" not in status.body  # and it is seen at once


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: replace(r, fields={**r.fields, "sec-fetch-site": "cross-site"}),
        lambda r: replace(r, fields={"cookie": r.fields["cookie"]}),
        lambda r: replace(r, fields=OURS),
        lambda r: replace(r, fields={**r.fields, "cookie": r.fields["cookie"][:-1]}),
        lambda r: replace(r, form={**r.form, "session": "s00004"}),
        lambda r: replace(r, form={**r.form, "token": ""}),
        lambda r: replace(r, form={"session": "s00003"}),
        lambda r: replace(r, form={}),
        lambda r: replace(r, secure=True),
        lambda r: replace(r, token=TOKEN),
    ],
    ids=[
        "other site",
        "no site",
        "no cookie",
        "touched cookie",
        "other session",
        "empty token",
        "no token",
        "no form",
        "cookie from before TLS",
        "not logged in",
    ],
)
async def test_a_kick_that_nobody_meant(
    page: StatusPage, source: ScriptedSource, spoil: object
) -> None:
    question = await page.ask_to_kick(Request("session=s00003"))
    form = {"session": "s00003", "token": hidden(question, "token")}
    request = Request(fields=OURS | cookie_of(question), form=form)
    assert callable(spoil)
    answer = await page.kick(spoil(request))
    assert answer.status == 403
    assert source.kicked == []
    assert (await page.kick(request)).status == 303  # it was only that


async def test_a_form_of_another_viewer(page: StatusPage, source: ScriptedSource) -> None:
    mine = await page.ask_to_kick(Request("session=s00003"))
    theirs = await page.ask_to_kick(Request("session=s00003"))
    form = {"session": "s00003", "token": hidden(theirs, "token")}
    assert (await page.kick(Request(fields=OURS | cookie_of(mine), form=form))).status == 403


async def test_a_session_that_has_gone(
    page: StatusPage, source: ScriptedSource, autojump_clock: MockClock
) -> None:
    question = await page.ask_to_kick(Request("session=s00003"))
    form = {"session": "s00003", "token": hidden(question, "token")}
    source.now = replace(source.now, sessions=())
    await trio.sleep(5)
    answer = await page.kick(Request(fields=OURS | cookie_of(question), form=form))
    assert field(answer, "location") == "./?outcome=gone"
    assert source.kicked == []
    assert (await page.ask_to_kick(Request("session=nobody"))).status == 404
    assert (await page.ask_to_kick(Request(""))).status == 404


# -- logging in ------------------------------------------------------------------------------------


async def test_without_a_login_nothing_is_told(page: StatusPage, source: ScriptedSource) -> None:
    request = Request("session=s00003&node=build-linux-0003&controller=main", token=TOKEN)
    for answer in (
        await page.status(request),
        await page.node(request),
        await page.ask_to_kick(request),
    ):
        assert (answer.status, field(answer, "location"), answer.body) == (303, "./login", b"")
    watched = page.watch(request)
    assert isinstance(watched, Answer)
    assert watched.status == 403
    assert source.looks == 0


async def test_a_login(page: StatusPage, log: LogCapture) -> None:
    form = await page.login_form(Request(token=TOKEN))
    assert b'type="password"' in form.body
    assert b"in clear text" in form.body
    assert b"in clear text" not in (await page.login_form(Request(token=TOKEN, secure=True))).body
    cookie = await logged_in(page)
    assert TOKEN not in cookie["cookie"]
    assert TOKEN not in str(log.entries)
    status = await page.status(Request(fields=cookie, token=TOKEN))
    assert status.status == 200
    assert b"Log out" in status.body
    assert TOKEN.encode() not in status.body
    assert field(await page.login_form(Request(fields=cookie, token=TOKEN)), "location") == "./"
    changed = await page.status(Request(fields=cookie, token="another-made-up-token"))
    assert changed.status == 303


async def test_a_kick_by_somebody_who_is_logged_in(
    page: StatusPage, source: ScriptedSource
) -> None:
    cookie = await logged_in(page, secure=True)
    request = Request("session=s00003", fields=cookie, token=TOKEN, secure=True)
    question = await page.ask_to_kick(request)
    form = {"session": "s00003", "token": hidden(question, "token")}
    done = await page.kick(replace(request, fields=OURS | cookie, form=form))
    assert done.status == 303
    assert [session for session, _ in source.kicked] == ["s00003"]


async def test_a_wrong_token_is_answered_slowly(
    page: StatusPage, autojump_clock: MockClock, log: LogCapture
) -> None:
    wrong = Request(fields=OURS, form={"secret": "wrong-token-of-tests"}, token=TOKEN)
    began = trio.current_time()
    answer = await page.login(wrong)
    assert trio.current_time() - began >= 1
    assert (answer.status, field(answer, "set-cookie")) == (403, "")
    assert b'role="alert"' in answer.body
    assert "wrong-token-of-tests" not in str(log.entries)
    statuses: list[int] = []

    async def guess() -> None:
        statuses.append((await page.login(wrong)).status)

    async with trio.open_nursery() as nursery:
        for _ in range(MOST_TRIALS + 3):
            nursery.start_soon(guess)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        assert (await logged_in(page))["cookie"]  # strangers keep nobody out
        assert trio.current_time() == began
    assert sorted(statuses) == [403] * MOST_TRIALS + [429] * 3
    assert (await logged_in(page))["cookie"]


async def test_a_login_from_elsewhere_and_one_that_is_not_needed(page: StatusPage) -> None:
    form = {"secret": TOKEN}
    other = Request(fields={"origin": "https://evil.example", "host": "gw"}, form=form, token=TOKEN)
    assert (await page.login(other)).status == 403
    assert field(await page.login(Request(form=form)), "location") == "./"
    assert field(await page.login_form(Request()), "location") == "./"


async def test_logging_out(page: StatusPage) -> None:
    cookie = await logged_in(page)
    request = Request(fields=OURS | cookie, token=TOKEN)
    token = hidden(await page.status(request), "token")
    assert (await page.logout(replace(request, form={"token": "x"}))).status == 403
    answer = await page.logout(replace(request, form={"token": token}))
    assert answer.status == 303
    assert "Max-Age=0" in field(answer, "set-cookie")


# -- the rest --------------------------------------------------------------------------------------


async def test_every_page_has_the_policy(page: StatusPage) -> None:
    answers = [
        await page.status(Request()),
        await page.node(Request("node=build&controller=main")),
        await page.ask_to_kick(Request("session=s00001")),
        await page.ask_to_kick(Request("session=nobody")),
        await page.login_form(Request(token=TOKEN)),
        await page.kick(Request()),
        *(page.static(name, Request()) for name in STATIC),
        page.static("../pages.py", Request()),
    ]
    for answer in answers:
        policy = field(answer, "content-security-policy")
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert field(answer, "referrer-policy") == "same-origin"
        assert field(answer, "x-content-type-options") == "nosniff"


async def test_files_last_as_long_as_they_are_the_same(page: StatusPage) -> None:
    html = (await page.status(Request())).body.decode()
    assets = re.findall(r"static/status\.js\?([0-9a-f]+)", html)[0]
    lasting = page.static("status.js", Request(assets))
    assert "immutable" in field(lasting, "cache-control")
    assert field(page.static("status.js", Request("old")), "cache-control") == "no-cache"
    assert field(await page.status(Request()), "cache-control") == "no-store"
    assert page.static("nothing", Request()).status == 404
    assert StatusPage(ScriptedSource())._renderer.assets == assets  # another process names it alike


async def test_a_node(page: StatusPage, source: ScriptedSource) -> None:
    known = await page.node(Request("controller=main&node=build-1"))
    assert b"the agent closed its connection" in known.body
    assert b"Worker 4101 did not answer" in known.body
    unknown = await page.node(Request("controller=main&node=%3Cscript%3E"))
    assert b"Nothing is known of it." in unknown.body
    assert b"<script>" not in unknown.body
    assert (await page.node(Request("node=%FF%00"))).status == 200


async def test_hostile_names_anywhere(page: StatusPage, source: ScriptedSource) -> None:
    source.now = hostile()
    for i in range(len(HOSTILE)):
        question = await page.ask_to_kick(Request(f"session=s{i:05d}"))
        assert question.status == 200
        question.body.decode()


async def test_viewers_are_bounded(page: StatusPage) -> None:
    places = []
    for _ in range(MOST_VIEWERS):
        place = page.watch(Request())
        assert not isinstance(place, Answer)
        assert isinstance(place.__enter__(), Viewer)
        places.append(place)
    refused = page.watch(Request())
    assert isinstance(refused, Answer)
    assert refused.status == 503
    for place in places:
        place.__exit__(None, None, None)
    assert not isinstance(page.watch(Request()), Answer)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_pages_of_others_take_no_viewers_place(page: StatusPage, site: str) -> None:
    refused = page.watch(Request(fields={"sec-fetch-site": site}))
    assert isinstance(refused, Answer)
    assert refused.status == 403
    assert not isinstance(page.watch(Request(fields=OURS)), Answer)


def test_nothing_secret_in_reprs() -> None:
    assert TOKEN not in repr(Request(token=TOKEN))
    assert repr(Guard()) == "Guard(***)"
