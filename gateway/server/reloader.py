"""A new configuration while the gateway runs.

Owns: where the configuration comes from, that it is checked before anybody hears of it, what only a
restart can change, that wishes which come together are one reload, and how the last one went.

Must not know: how workers take a configuration, who wishes for one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import trio

from gateway.config.load import Loaded, load
from gateway.config.models import GatewayConfig
from gateway.config.reloadable import changes_that_need_a_restart
from gateway.errors import ConfigError
from gateway.observability.logs import get_logger
from gateway.server.aside import Aside
from gateway.transport.tls_context import ServerContexts

_log = get_logger("system")

# Signals come in bursts: from a deployment tool, from a certificate's hook for each name.
DEBOUNCE: Final = 0.1
# A refusal may name many problems; some KiB each.
MOST_REMEMBERED: Final = 50


class Source(Protocol):
    """Where a configuration comes from. ``arguments``: of the command that runs it."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """What stands behind ``remoting-gateway`` on the command line."""

    def load(self, named: set[Path]) -> Loaded:
        """Load and check it; ConfigError. ``named`` gets the files it depends on, either way."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A configuration file, and the files that it names."""

    path: Path

    @property
    def arguments(self) -> tuple[str, ...]:
        """What stands behind ``remoting-gateway`` on the command line."""
        return ("run", "-c", str(self.path))

    def load(self, named: set[Path]) -> Loaded:
        """Load and check it, as ``remoting-gateway check`` does."""
        named.add(self.path)
        try:
            loaded = load(self.path, named=named)
            named.discard(loaded.config.state_dir)
            check_contexts(loaded.config)
        finally:
            # The state folder of a file that is wrong: it changes all the time.
            named -= {path for path in named if path.is_dir()}
        return loaded


@dataclass(frozen=True, slots=True)
class FixedSource:
    """A configuration without a file: what its certificates are may still change."""

    config: GatewayConfig
    arguments: tuple[str, ...] = ("run",)

    def load(self, named: set[Path]) -> Loaded:
        """Return it as it is."""
        for listener in self.config.listeners:
            for pair in listener.tls.certificates if listener.tls is not None else ():
                named.update((pair.certificate, pair.key))
        check_contexts(self.config)
        return Loaded(self.config, (), Path("(command line)"))


def check_contexts(config: GatewayConfig) -> None:
    """Make every listener's TLS context: what OpenSSL refuses here could not be used there."""
    for listener in config.listeners:
        if listener.tls is not None:
            ServerContexts(listener.tls)
    if config.admin.tls is not None:
        ServerContexts(config.admin.tls)


@dataclass(frozen=True, slots=True)
class Reload:
    """How a reload went. ``reason``: why the old configuration stays, or None."""

    at: str
    trigger: str
    generation: int
    reason: str | None = None

    @classmethod
    def now(cls, trigger: str, generation: int, reason: str | None) -> Reload:
        """Make the record of a reload that has just been done."""
        return cls(datetime.now(UTC).isoformat(timespec="seconds"), trigger, generation, reason)

    @property
    def ok(self) -> bool:
        """Say whether the new configuration is in force."""
        return self.reason is None


@dataclass(slots=True)
class _Wish:
    trigger: str
    result: Reload | None = None
    done: trio.Event = field(default_factory=trio.Event)


class Reloader:
    """Reloads, one at a time. Whoever comes while one is running gets the next one's result."""

    def __init__(
        self,
        source: Source,
        running: Callable[[], GatewayConfig],
        generation: Callable[[], int],
        apply: Callable[[GatewayConfig], Awaitable[str | None]],
        *,
        files: set[Path],
        last: Reload | None = None,
        aside: Aside | None = None,
    ) -> None:
        """``apply`` puts a configuration into force everywhere, or returns why nobody has it.

        ``files``: what the configuration in force was read from. They are read ``aside``.
        """
        self._source = source
        self._running = running
        self._generation = generation
        self._apply = apply
        self._wishes: list[_Wish] = []
        self._wished = trio.Event()
        self._files = files
        self._aside = aside or Aside()
        # The last ones, the latest last; those of before an upgrade are not among them.
        self.history = deque([last] if last is not None else [], maxlen=MOST_REMEMBERED)

    @property
    def last(self) -> Reload | None:
        """How the last reload went."""
        return self.history[-1] if self.history else None

    @property
    def files(self) -> frozenset[Path]:
        """What to watch: the files of the configuration in force, and of one that was refused."""
        return frozenset(self._files)

    def wish(self, trigger: str) -> None:
        """Have a reload done, soon; the log tells how it went."""
        self._add(_Wish(trigger))

    async def reload(self, trigger: str) -> Reload:
        """Reload; return how it went."""
        wish = _Wish(trigger)
        self._add(wish)
        await wish.done.wait()
        assert wish.result is not None
        return wish.result

    def _add(self, wish: _Wish) -> None:
        self._wishes.append(wish)
        self._wished.set()

    async def run(self, *, begun: Callable[[], None], ended: Callable[[], None]) -> None:
        """Do what is wished for, until cancelled; ``begun`` and ``ended`` are told of each."""
        while True:
            await self._wished.wait()
            if all(wish.trigger != "control socket" for wish in self._wishes):
                await trio.sleep(DEBOUNCE)
            self._wished = trio.Event()
            wishes, self._wishes = self._wishes, []
            begun()
            result = await self._reload(wishes[0].trigger)
            ended()
            for wish in wishes:
                wish.result = result
                wish.done.set()

    async def _reload(self, trigger: str) -> Reload:
        named: set[Path] = set()
        reason: str | None
        try:
            loaded = await self._aside.run(partial(self._source.load, named))
            for warning in loaded.warnings:
                _log.warning("configuration", warning=warning)
            reason = self._refusal(loaded.config) or await self._apply(loaded.config)
        except ConfigError as error:
            reason = str(error)
        except TimeoutError as error:
            reason = f"reading it, or a file that it names, is {error}; is a file system away?"
            named = set()  # whoever still reads may add to the other one
        except Exception as error:  # a bug in loading must not cost the sessions there are
            _log.error("internal error", exc_info=error)
            reason = f"internal error ({type(error).__name__})"
        # A file that was refused may become right by a change of any file that it names.
        self._files = named if reason is None else self._files | named
        result = Reload.now(trigger, self._generation(), reason)
        self.history.append(result)
        if reason is None:
            _log.info("configuration reloaded", trigger=trigger, generation=result.generation)
        else:
            _log.error(
                "configuration not reloaded; the old one stays in force",
                trigger=trigger,
                generation=result.generation,
                reason=reason,
            )
        return result

    def _refusal(self, wanted: GatewayConfig) -> str | None:
        running = self._running()
        changes = changes_that_need_a_restart(running, wanted)
        if not changes:
            return None
        # An upgrade starts new workers on new sockets, but stays in its folder.
        is_upgradable = running.state_dir == wanted.state_dir
        remedy = "a restart or `remoting-gateway upgrade`" if is_upgradable else "a restart"
        return f"{'; '.join(changes)}: that takes {remedy}. Nothing of the file is in force."
