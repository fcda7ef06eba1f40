"""The page of a real gateway: two workers, a controller, agents, and a browser that looks on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import certificates
from tests.browser.whole import HOST, running

Open = Callable[..., Page]
NODES = (
    "build-1",
    "build-2",
    "build-3",
    "<b onmouseover=alert(1)>bold</b>",
    "gr\u00f6\u00dfe-7",
    "n" * 300,
)


pytestmark = pytest.mark.e2e


def test_from_an_agent_to_its_kick(tmp_path: Path, open_page: Open) -> None:
    with running(tmp_path, NODES) as whole:
        page = open_page(whole.page)
        rows = page.locator("#rows tr")
        expect(rows).to_have_count(len(NODES), timeout=30_000)
        expect(page.locator("#fresh-words")).to_have_text("live")
        row = page.locator("#rows tr", has=page.get_by_role("link", name="build-2", exact=True))
        expect(row).to_contain_text("jnlp4")
        expect(row).to_contain_text("127.0.0.1")
        controllers = page.locator("#part-controllers")
        expect(controllers).to_contain_text("up")
        expect(controllers).to_contain_text("main")
        expect(page.locator("#part-workers tbody tr")).to_have_count(2)
        session = row.get_attribute("data-id")
        row.get_by_role("button").click()
        expect(page.get_by_role("heading")).to_have_text("Kick build-2?")
        page.get_by_role("button", name="Kick it").click()
        expect(page.get_by_role("alert")).to_have_text("The session was ended.")
        ends = page.locator("#part-ends")
        expect(ends).to_contain_text("build-2")
        expect(ends).to_contain_text("ended by an operator: from the status page")
        # It comes back by itself, as another session, and the page shows it without being asked.
        expect(row).to_have_count(1, timeout=30_000)
        assert row.get_attribute("data-id") != session
        row.get_by_role("link", name="build-2").click()
        past = page.locator("main table")
        expect(past).to_contain_text("opened")
        expect(past).to_contain_text("ended by an operator: from the status page")
        assert whole.log.find("kick")
        page.close()


def test_reloads_are_shown_as_they_happen(tmp_path: Path, open_page: Open) -> None:
    with running(tmp_path, ()) as whole:
        page = open_page(whole.page)
        expect(page.locator("#fresh-words")).to_have_text("live")
        expect(page.locator("#part-reloads")).to_contain_text("Not reloaded")
        good = whole.path.read_text()
        whole.path.write_text(good.replace('"to": "off"', '"to": 1'))
        os.kill(whole.process.pid, signal.SIGHUP)
        expect(page.locator("#part-attention")).to_contain_text("log.access", timeout=15_000)
        expect(page.locator("#part-reloads")).to_contain_text("refused")
        whole.path.write_text(good)
        os.kill(whole.process.pid, signal.SIGHUP)
        expect(page.locator("#part-reloads")).to_contain_text("in force", timeout=15_000)
        expect(page.locator("#part-attention")).to_contain_text("Nothing needs attention.")
        page.close()


def test_a_worker_that_hangs_is_named_and_holds_nobody_up(tmp_path: Path, open_page: Open) -> None:
    with running(tmp_path, ("build-1",)) as whole:
        page = open_page(whole.page)
        expect(page.locator("#rows tr")).to_have_count(1, timeout=30_000)
        hanging = int(page.locator("#part-workers tbody th").first.inner_text())
        os.kill(hanging, signal.SIGSTOP)
        try:
            words = f"Worker {hanging} did not answer"
            expect(page.locator("#part-attention")).to_contain_text(words, timeout=15_000)
            expect(page.locator("#part-workers")).to_contain_text("no answer")
            page.reload()
            expect(page.locator("#part-attention")).to_contain_text(words)
        finally:
            os.kill(hanging, signal.SIGCONT)
        expect(page.locator("#part-attention")).to_contain_text("Nothing needs", timeout=15_000)
        expect(page.locator("#rows tr")).to_have_count(1, timeout=15_000)
        page.close()


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_token_is_asked_for(tmp_path: Path, open_page: Open, *, encrypted: bool) -> None:
    token = "a-made-up-token-of-tests"
    file = tmp_path / "admin.token"
    file.write_text(token)
    file.chmod(0o600)
    admin: dict[str, object] = {"token_file": str(file)}
    if encrypted:
        pair = certificates.write(tmp_path, HOST)
        pairs = [{"certificate": str(pair.certificate), "key": str(pair.key)}]
        admin["tls"] = {"certificates": pairs}
    with running(tmp_path, ("build-1",), admin=admin) as whole:
        page = open_page(whole.page, ignore_https_errors=True)
        page.get_by_label("Token of the admin listener").fill(token)
        page.keyboard.press("Enter")
        expect(page.locator("#rows tr")).to_have_count(1, timeout=30_000)
        expect(page.locator("#fresh-words")).to_have_text("live")
        page.get_by_role("button", name="Kick build-1").click()
        page.get_by_role("button", name="Kick it").click()
        expect(page.get_by_role("alert")).to_have_text("The session was ended.")
        (cookie,) = page.context.cookies()
        assert cookie["secure"] == cookie["name"].startswith("__Host-") == encrypted
        shown = "admin" if encrypted else "No listener has a certificate."
        expect(page.locator("#part-certificates")).to_contain_text(shown)
        page.close()
        assert token not in (tmp_path / "gateway.log").read_text()


def test_an_upgrade_is_survived(tmp_path: Path, open_page: Open, problems: list[str]) -> None:
    with running(tmp_path, ("build-1",)) as whole:
        page = open_page(whole.page)
        row = page.locator("#rows tr")
        expect(row).to_have_count(1, timeout=30_000)
        session = row.get_attribute("data-id")
        expect(page.locator("#fresh-words")).to_have_text("live")
        os.kill(whole.process.pid, signal.SIGUSR2)
        expect(page.locator("#fresh-words")).to_contain_text("not live", timeout=30_000)
        expect(page.locator("#fresh-words")).to_have_text("live", timeout=30_000)
        expect(page.locator("#part-workers")).to_contain_text("lingering", timeout=30_000)
        assert row.get_attribute("data-id") == session
        page.close()
    # The connection to the program before, as the browser sees it.
    assert all("ERR_" in problem for problem in problems), problems
    problems.clear()
