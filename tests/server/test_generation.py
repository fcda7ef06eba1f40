"""What a configuration is turned into, and what lives on through the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError, LimitExceeded
from gateway.http.upstream import fetch
from gateway.server.generation import Generation, Lasting
from tests.server.workers import HOST, make_config


def lasting(config: GatewayConfig, *, workers: int = 1) -> Lasting:
    return Lasting(config, fetch=fetch, workers=workers)


def places(kept: Lasting, host: str = "192.0.2.1") -> int:
    """Count the connections that are let in from an address."""
    taken: list[Any] = []
    try:
        while True:
            taken.append(kept.places.place(host))
            taken[-1].__enter__()
    except LimitExceeded:
        for place in taken[:-1]:
            place.__exit__(None, None, None)
        return len(taken) - 1


async def turns(kept: Lasting) -> int:
    """Count the agents that are given a turn within ten seconds."""
    given = 0
    try:
        while given < 10_000:
            kept.handshakes.of("main").reserve(f"10.{given // 250}.{given % 250}.1")
            given += 1
    except LimitExceeded:
        pass
    return given


@pytest.mark.parametrize(("workers", "share"), [(1, 10), (3, 4), (100, 1)])
def test_workers_share_the_limits(tmp_path: Path, workers: int, share: int) -> None:
    limits = {"connections": 100, "connections_per_address": 10}
    kept = lasting(make_config(tmp_path, limits=limits), workers=workers)
    assert places(kept) == share


async def test_workers_share_the_pace(tmp_path: Path) -> None:
    config = make_config(tmp_path, agents={"handshake_rate": 20})
    assert await turns(lasting(config)) == 220
    assert await turns(lasting(config, workers=4)) == 50


async def test_limits_follow_the_configuration(tmp_path: Path) -> None:
    kept = lasting(make_config(tmp_path))
    line = kept.handshakes.of("main")
    line.reserve("192.0.2.1")
    kept.follow(
        make_config(
            tmp_path,
            limits={"connections": 7, "connections_per_address": 2},
            agents={"handshake_rate": 1},
            trusted_proxies=["198.51.100.0/24"],
        )
    )
    assert places(kept) == 2
    assert places(kept, "198.51.100.1") == 7
    assert kept.handshakes.of("main") is line
    assert await turns(kept) == 11 - 1
    kept.follow(make_config(tmp_path, controllers={"other": {"url": "http://a.test/"}}))
    assert kept.handshakes.of("main") is not line


def test_a_generation_is_whole_or_not_at_all(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    made = Generation(config, lasting(config))
    assert [serving.listener for serving in made.serving] == list(config.listeners)
    assert [terms.contexts is None for terms in made.terms] == [True, False]
    (tmp_path / f"{HOST}.key").write_text("nothing")
    with pytest.raises(ConfigError, match=f"{HOST}.crt: cannot be used"):
        Generation(config, lasting(config), made.upstreams)


def test_ways_to_controllers_go_over(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    kept = lasting(config)
    first = Generation(config, kept)
    second = Generation(config, kept, first.upstreams)
    assert second.upstreams.get("main") is first.upstreams.get("main")
    assert Generation(config, kept).upstreams.get("main") is not first.upstreams.get("main")


def test_what_was_reported_is_not_reported_again(tmp_path: Path) -> None:
    """A reload during an outage: the controller is not away for the first time."""
    config = make_config(tmp_path)
    kept = lasting(config)
    kept.login._away.add("main")
    Generation(config, kept)
    one, other = (Generation(config, kept).serving[0] for _ in range(2))
    assert _login_of(one) is _login_of(other) is kept.login


def _login_of(serving: Any) -> object:
    return serving.handle.__self__._login
