"""A new configuration: checked first, refused whole, and never twice for one wish."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError
from gateway.server.reloader import DEBOUNCE, FileSource, FixedSource, Reload, Reloader
from tests.certificates import tls_config, write
from tests.server.at_once import AtOnce

HOST = "127.0.0.1"
Clock = trio.testing.MockClock


def text(folder: Path, more: str = "") -> str:
    return (
        f"state_dir: {folder}/state\n"
        f"listeners:\n"
        f'  - address: "{HOST}:8443"\n'
        f"    tls: {{certificates: [{{certificate: {HOST}.crt, key: {HOST}.key}}]}}\n"
        f'controllers: {{main: {{url: "http://127.0.0.1:9/"}}}}\n' + more
    )


class Rig:
    """A reloader on a file; ``applied`` is what came into force, ``seen`` what begins and ends."""

    def __init__(self, folder: Path) -> None:
        write(folder, HOST)
        self.path = folder / "gateway.yaml"
        self.write()
        self.files: set[Path] = set()
        source = FileSource(self.path)
        self.aside = AtOnce()
        self.running = source.load(self.files).config
        self.applied: list[GatewayConfig] = []
        self.refusal: str | None = None
        self.slow = 0.0
        self.seen: list[str] = []
        self.reloader = Reloader(
            source,
            running=lambda: self.running,
            generation=lambda: 1 + len(self.applied),
            apply=self._apply,
            files=self.files,
            aside=self.aside,
        )

    def write(self, more: str = "") -> None:
        self.path.write_text(text(self.path.parent, more))

    async def _apply(self, config: GatewayConfig) -> str | None:
        await trio.sleep(self.slow)
        if self.refusal is None:
            self.applied.append(config)
            self.running = config
        return self.refusal

    async def run(self) -> None:
        await self.reloader.run(
            begun=lambda: self.seen.append("begun"), ended=lambda: self.seen.append("ended")
        )


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Rig]:
    rig = Rig(folder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run)
        with capture_logs():
            yield rig
        nursery.cancel_scope.cancel()


async def test_what_the_file_says_comes_into_force(tmp_path: Path, autojump_clock: Clock) -> None:
    async with running(tmp_path) as rig:
        assert rig.reloader.last is None
        rig.write("limits: {connections: 7, connections_per_address: 7}\n")
        with capture_logs() as logs:
            result = await rig.reloader.reload("control socket")
        assert (result.ok, result.reason, result.generation) == (True, None, 2)
        assert rig.reloader.last == result
        assert rig.running.limits.connections == 7
        assert rig.seen == ["begun", "ended"]
        assert logs[0]["event"] == "configuration reloaded"


async def test_a_file_that_is_wrong_changes_nothing(tmp_path: Path, autojump_clock: Clock) -> None:
    async with running(tmp_path) as rig:
        before = rig.running
        rig.write("limits: {conections: 7}\n")
        with capture_logs() as logs:
            result = await rig.reloader.reload("SIGHUP")
        assert not result.ok
        assert str(result.reason).startswith(
            f"{rig.path}:6: limits.conections: unknown key; allowed:"
        )
        assert rig.running is before
        (line,) = logs
        assert line["event"] == "configuration not reloaded; the old one stays in force"
        assert (line["log_level"], line["reason"]) == ("error", result.reason)
        assert rig.seen == ["begun", "ended"]
        rig.write()
        assert (await rig.reloader.reload("SIGHUP")).ok


async def test_a_certificate_that_is_wrong_changes_nothing(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with running(tmp_path) as rig:
        (tmp_path / f"{HOST}.key").write_text("nonsense")
        result = await rig.reloader.reload("control socket")
        assert f"{HOST}.key" in str(result.reason)
        assert rig.applied == []


async def test_a_bug_in_loading_ends_nothing(
    tmp_path: Path, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise LookupError("a secret")

    async with running(tmp_path) as rig:
        with monkeypatch.context() as patch:
            patch.setattr("gateway.server.reloader.load", load)
            result = await rig.reloader.reload("control socket")
        assert result.reason == "internal error (LookupError)"
        assert (await rig.reloader.reload("control socket")).ok


async def test_workers_may_refuse_too(tmp_path: Path, autojump_clock: Clock) -> None:
    async with running(tmp_path) as rig:
        rig.refusal = "worker 5 did not answer within 30 s"
        result = await rig.reloader.reload("control socket")
        assert (result.ok, result.reason) == (False, rig.refusal)


@pytest.mark.parametrize(
    ("before", "after", "named", "remedy"),
    [
        (":8443", ":8444", "listeners[0].address", "a restart or `remoting-gateway upgrade`"),
        ("workers: 1", "workers: 3", "workers: 3 instead of 1", "a restart or `remoting-gateway"),
        ("/state", "/other", "state_dir", "takes a restart. Nothing"),
    ],
)
async def test_what_takes_a_restart_is_named_and_nothing_is_applied(
    tmp_path: Path, autojump_clock: Clock, before: str, after: str, named: str, remedy: str
) -> None:
    async with running(tmp_path) as rig:
        rig.write("workers: 1\nlimits: {connections: 7}\n")
        changed = rig.path.read_text().replace(before, after)
        rig.path.write_text(changed)
        reason = str((await rig.reloader.reload("control socket")).reason)
        assert named in reason
        assert remedy in reason
        assert reason.endswith("Nothing of the file is in force.")
        assert rig.applied == []


async def test_a_burst_of_signals_is_one_reload(tmp_path: Path, autojump_clock: Clock) -> None:
    async with running(tmp_path) as rig:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(50):
            rig.reloader.wish("SIGHUP")
            await trio.sleep(DEBOUNCE / 100)
        await trio.sleep(1)
        assert len(rig.applied) == 1
        assert rig.reloader.last is not None
        assert rig.reloader.last.trigger == "SIGHUP"


async def test_whoever_comes_during_a_reload_gets_the_next_one(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    """The file may have changed after the first one read it."""
    results: list[Reload] = []

    async with running(tmp_path) as rig:
        rig.slow = 5

        async def reload() -> None:
            results.append(await rig.reloader.reload("control socket"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reload)
            await trio.sleep(1)
            rig.write("limits: {connections: 7}\n")
            nursery.start_soon(reload)
            nursery.start_soon(reload)
        assert [each.generation for each in results] == [2, 3, 3]
        assert [each.limits.connections for each in rig.applied] == [16_384, 7]
        assert trio.current_time() == pytest.approx(10, abs=0.1)


async def test_the_files_that_matter_are_known(tmp_path: Path, autojump_clock: Clock) -> None:
    async with running(tmp_path) as rig:
        crt, key, other = (tmp_path / name for name in (f"{HOST}.crt", f"{HOST}.key", "ca.pem"))
        assert rig.reloader.files == {rig.path, crt, key}
        more = f"controllers: {{main: {{url: 'https://h/', tls: {{ca_file: {other.name}}}}}}}\n"
        (tmp_path / "state").mkdir()
        rig.path.write_text(text(tmp_path).replace("controllers:", "# controllers:") + more)
        assert not (await rig.reloader.reload("files changed")).ok
        assert rig.reloader.files == {rig.path, crt, key, other}  # it may come later
        other.write_bytes(crt.read_bytes())
        assert (await rig.reloader.reload("files changed")).ok
        rig.write()
        assert (await rig.reloader.reload("files changed")).ok
        assert rig.reloader.files == {rig.path, crt, key}


def test_a_file_names_the_command_that_runs_it(tmp_path: Path) -> None:
    assert FileSource(tmp_path / "a.yaml").arguments == ("run", "-c", str(tmp_path / "a.yaml"))


def test_an_identity_in_a_file_is_watched_too(tmp_path: Path) -> None:
    write(tmp_path, HOST)
    (tmp_path / "state").mkdir()
    path = tmp_path / "gateway.yaml"
    identity = '9/", agents: {identity: {file: key.pem}}'
    path.write_text(text(tmp_path).replace('9/"', identity))
    named: set[Path] = set()
    with pytest.raises(ConfigError):
        FileSource(path).load(named)
    assert tmp_path / "key.pem" in named
    assert tmp_path / "state" not in named  # it changes all the time


def test_without_a_file_it_is_the_certificates(tmp_path: Path) -> None:
    config = GatewayConfig.model_validate(
        {
            "state_dir": str(tmp_path),
            "listeners": [
                {"address": f"{HOST}:1", "tls": tls_config(tmp_path, HOST).model_dump()},
                {"address": f"{HOST}:2"},
            ],
            "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
        }
    )
    named: set[Path] = set()
    source = FixedSource(config, ("run", "--controller", "http://127.0.0.1:9/"))
    assert source.load(named).config is config
    assert named == {tmp_path / f"{HOST}.crt", tmp_path / f"{HOST}.key"}
    (tmp_path / f"{HOST}.key").write_text("nonsense")
    with pytest.raises(ConfigError):
        source.load(named)


async def test_files_that_hang_are_given_up(tmp_path: Path, autojump_clock: Clock) -> None:
    async with running(tmp_path) as rig:
        rig.aside.hangs = True
        before = rig.reloader.files
        result = await rig.reloader.reload("test")
        assert result.reason == (
            "reading it, or a file that it names, is not done within 30 s; is a file system away?"
        )
        assert rig.reloader.files == before
        rig.aside.hangs = False
        assert (await rig.reloader.reload("test")).ok
