"""Cookies, tokens in forms, and where forms come from."""

from __future__ import annotations

import pytest

from gateway.server.admin.page.guard import LIFETIME, Guard, is_same_origin, is_token

TOKEN = "a-made-up-token-of-tests"


def cookie_of(header: str) -> str:
    return header.partition(";")[0]


class Clock:
    now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_cookie_is_for_whoever_got_it() -> None:
    guard = Guard()
    viewer = guard.new_viewer()
    header = guard.cookie(viewer, token=None, secure=False)
    assert guard.viewer(cookie_of(header), token=None, secure=False) == viewer
    assert "HttpOnly" in header
    assert "SameSite=Strict" in header
    assert "Path=/" in header
    assert "Secure" not in header


def test_over_tls_it_is_kept_to_this_host_and_to_tls() -> None:
    guard = Guard()
    viewer = guard.new_viewer()
    header = guard.cookie(viewer, token=None, secure=True)
    assert header.startswith("__Host-")
    assert "; Secure" in header
    assert guard.viewer(cookie_of(header), token=None, secure=True) == viewer
    assert guard.viewer(cookie_of(header), token=None, secure=False) is None


def test_it_is_not_the_token_and_good_for_that_token_only() -> None:
    guard = Guard()
    viewer = guard.new_viewer()
    header = guard.cookie(viewer, token=TOKEN, secure=False)
    assert TOKEN not in header
    cookie = cookie_of(header)
    assert guard.viewer(cookie, token=TOKEN, secure=False) == viewer
    assert guard.viewer(cookie, token=TOKEN + "x", secure=False) is None
    assert guard.viewer(cookie, token=None, secure=False) is None
    anonymous = cookie_of(guard.cookie(viewer, token=None, secure=False))
    assert guard.viewer(anonymous, token=TOKEN, secure=False) is None
    assert Guard().viewer(cookie, token=TOKEN, secure=False) is None  # another process


def test_it_ends() -> None:
    clock = Clock()
    guard = Guard(clock=clock)
    cookie = cookie_of(guard.cookie(guard.new_viewer(), token=TOKEN, secure=False))
    clock.now += LIFETIME - 1
    assert guard.viewer(cookie, token=TOKEN, secure=False) is not None
    clock.now += 1
    assert guard.viewer(cookie, token=TOKEN, secure=False) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value[:-1],
        lambda value: value + "0",
        lambda value: "x" + value[1:],
        lambda value: value.replace(".1", ".2", 1),
        lambda value: "..",
        lambda value: "",
        lambda value: "a.\u0663.c",
        lambda value: "a." + "9" * 5000 + ".c",
        lambda value: "\udcff.1.\udcff",
    ],
)
def test_a_cookie_that_was_touched(change: object) -> None:
    guard = Guard(clock=Clock())
    name, _, value = cookie_of(
        guard.cookie(guard.new_viewer(), token=None, secure=False)
    ).partition("=")
    assert callable(change)
    touched = f"{name}={change(value)}"
    assert guard.viewer(touched, token=None, secure=False) is None


def test_among_others() -> None:
    guard = Guard()
    viewer = guard.new_viewer()
    cookie = cookie_of(guard.cookie(viewer, token=None, secure=False))
    others = f'broken; x="a; b"; {cookie}; =; JSESSIONID=1'
    assert guard.viewer(others, token=None, secure=False) == viewer
    assert guard.viewer(cookie + "; " + "x=1; " * 3000, token=None, secure=False) is None
    assert guard.viewer(None, token=None, secure=False) is None


def test_a_forms_token_is_for_one_viewer_and_one_deed() -> None:
    guard = Guard()
    viewer, other = guard.new_viewer(), guard.new_viewer()
    token = guard.form_token(viewer, "kick 1")
    assert guard.is_form_token(token, viewer, "kick 1")
    assert not guard.is_form_token(token, viewer, "kick 2")
    assert not guard.is_form_token(token, other, "kick 1")
    assert not Guard().is_form_token(token, viewer, "kick 1")
    assert not guard.is_form_token("", viewer, "kick 1")
    assert not guard.is_form_token("\udcff", viewer, "kick 1")


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        # Behind a proxy that gives us another Host; and no page can set it.
        ({"sec-fetch-site": "same-origin", "origin": "https://a", "host": "b"}, True),
        ({"sec-fetch-site": "same-site", "origin": "https://a", "host": "a"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://gw.lan:9180", "host": "gw.lan:9180"}, True),
        ({"origin": "http://gw.lan:9180", "host": "GW.lan:9180"}, True),
        ({"origin": "http://gw.lan:9181", "host": "gw.lan:9180"}, False),
        ({"origin": "http://evil.example", "host": "gw.lan:9180"}, False),
        ({"origin": "null", "host": "gw.lan:9180"}, False),
        ({"origin": "null"}, False),
        ({"host": "gw.lan:9180"}, False),
        ({"origin": "http://", "host": ""}, False),
        ({}, False),
    ],
)
def test_where_a_form_comes_from(fields: dict[str, str], *, same: bool) -> None:
    assert is_same_origin(fields) is same


def test_tokens() -> None:
    assert is_token(TOKEN, TOKEN)
    assert not is_token("", TOKEN)
    assert not is_token("\udcff", TOKEN)
    assert TOKEN not in repr(Guard())
