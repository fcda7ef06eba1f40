"""Metrics of a whole gateway: two workers, one killed, a reload, an upgrade; nothing goes back."""

from __future__ import annotations

import os
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from gateway.observability.metrics.table import METRICS, Kind
from tests.peers.raw_client import RawClient
from tests.server.processes import HOST, STARTED
from tests.server.test_upgrade_processes import NODES, TWO_WORKERS, Site, site, wait_for_workers
from tests.tools import require_tool

pytestmark = pytest.mark.e2e

MORE = TWO_WORKERS.replace(
    "agents: {", "agents: {keepalive: {interval: 1s, suspect_after: 5s}, "
) + ("metrics: {per_node: true}\n")

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Series:
    """Return every series of a scrape; each may be there once."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def total(series: Series, name: str, **labels: str) -> float:
    """Return the sum over what has ``labels``."""
    wanted = set(labels.items())
    return sum(
        value
        for (each, found), value in series.items()
        if each == f"remoting_gateway_{name}" and wanted <= found
    )


class Scrapes:
    """Scrapes a gateway, and sees that no counter ever goes back."""

    def __init__(self, here: Site) -> None:
        self._here = here
        self._before: Series = {}
        self.text = ""
        self.names: set[str] = set()

    async def read(self) -> Series:
        """Scrape once."""
        answer: dict[str, Any] = await self._here.ask("metrics")
        self.text = answer["text"]
        found = read(self.text)
        for (name, labels), value in self._before.items():
            base = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
            metric = METRICS.get(name) or METRICS[base]
            if metric.kind is not Kind.GAUGE:
                assert found.get((name, labels), -1.0) >= value, (name, dict(labels))
        self._before = found
        self.names |= {name for name, _ in found}
        return found


def get(port: int, *, body: bytes = b"") -> bytes:
    head = b"GET /login HTTP/1.1\r\nHost: %s:%d\r\nContent-Length: %d\r\n\r\n"
    return head % (HOST.encode(), port, len(body)) + body


async def use_it_all(here: Site) -> None:
    """Do what makes every metric have a value."""
    for request in (get(here.gateway.plain, body=b"abc"), b"nonsense\r\n\r\n"):
        async with await RawClient.connect(here.gateway.plain) as client:
            await client.send(request)
            await client.read_head()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    stream = await trio.open_ssl_over_tcp_stream(
        HOST, here.gateway.tls, https_compatible=True, ssl_context=context
    )
    await stream.send_all(get(here.gateway.tls))
    await stream.receive_some()
    await stream.aclose()


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_numbers_of_a_gateway_that_lives_through_everything(tmp_path: Path) -> None:
    async with site(tmp_path, more=MORE) as here, trio.open_nursery() as nursery:
        scrapes = Scrapes(here)
        await here.connect(NODES[:20], nursery)
        assert await here.living() == 20
        await use_it_all(here)
        first = here.channels[NODES[0]]
        await first.close()
        found = await scrapes.read()
        for _ in range(100):
            if total(found, "ping_round_trip_seconds_count") >= 20:
                break
            await trio.sleep(0.2)
            found = await scrapes.read()
        assert total(found, "sessions", state="open") == 19
        assert total(found, "sessions_opened_total") == 20
        assert total(found, "sessions_ended_total") == 1
        assert total(found, "worker_up") == 2

        lint = [require_tool("promtool"), "check", "metrics"]
        with trio.fail_after(30):
            done = await trio.run_process(
                lint, stdin=scrapes.text.encode(), capture_stdout=True, capture_stderr=True
            )
        assert (done.stdout, done.stderr) == (b"", b"")

        # A worker is killed: what it had counted stays, its sessions have ended.
        victim = max((await here.status())["workers"], key=lambda each: each["sessions"])
        os.kill(victim["worker"], signal.SIGKILL)
        await here.gateway.running.wait_for(STARTED, count=3)
        found = await scrapes.read()
        assert total(found, "worker_restarts_total") == 1
        assert total(found, "sessions_opened_total") == 20
        assert total(found, "sessions_ended_total", reason="worker_died") == victim["sessions"]
        left = 19 - victim["sessions"]
        assert total(found, "sessions", state="open") == left

        # A worker that stands still hangs nothing, and is shown as it was.
        standing = here.gateway.running.all(STARTED)[-1]["worker"]
        os.kill(standing, signal.SIGSTOP)
        try:
            with trio.fail_after(10):
                found = await scrapes.read()
            assert (total(found, "worker_up"), total(found, "workers", state="serving")) == (1, 2)
        finally:
            os.kill(standing, signal.SIGCONT)

        # A reload, a refused one, an upgrade.
        assert (await here.ask("reload"))["ok"]
        found = await scrapes.read()
        assert total(found, "config_reloads_total", result="success") == 1
        assert total(found, "config_last_reload_successful") == 1
        good = here.config.read_text()
        here.config.write_text("listeners: nowhere\n")
        assert not (await here.ask("reload"))["ok"]
        found = await scrapes.read()
        assert total(found, "config_last_reload_successful") == 0
        assert total(found, "config_reloads_total", result="failure") >= 1
        here.config.write_text(good)
        assert (await here.ask("reload"))["ok"]
        await here.upgrade()
        found = await scrapes.read()
        assert total(found, "incarnation") == 2
        assert total(found, "sessions", state="lingering") == left
        assert total(found, "worker_sessions") == left
        assert total(found, "sessions_opened_total") == 20
        assert total(found, "config_last_reload_successful") == 1

        # Sessions that end with the old workers, and these with them, are counted.
        for channel in here.channels.values():
            if not channel.ended.is_set():
                await channel.close()
        await wait_for_workers(here, 2)
        found = await scrapes.read()
        assert total(found, "sessions_ended_total") == 20
        assert total(found, "sessions") == 0
        assert total(found, "session_duration_seconds_count") == 20 - victim["sessions"]

        # Every documented metric was there with a value, and no other.
        documented = set()
        for name, metric in METRICS.items():
            parts = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
            documented |= {f"{name}{part}" for part in parts}
        assert scrapes.names == documented
        nursery.cancel_scope.cancel()


@pytest.mark.timeout(60)
async def test_the_command_prints_it(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        done = await here.command("metrics")
        assert (done.returncode, done.stderr) == (0, b"")
        assert total(read(done.stdout.decode()), "ready") == 1
        assert "node_session" not in done.stdout.decode()
