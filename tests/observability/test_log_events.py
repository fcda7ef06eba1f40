"""The table of events."""

from __future__ import annotations

from gateway.config.logs import LEVELLED
from gateway.observability.log_events import EVENTS
from gateway.observability.logs import LEVELS


def test_each_is_there_once_with_channel_level_and_meaning() -> None:
    assert len({(each.channel, each.event) for each in EVENTS}) == len(EVENTS)
    for each in EVENTS:
        assert each.channel in LEVELLED
        assert set(each.levels.split(", ")) <= LEVELS.keys()
        assert each.event
        assert each.meaning
        assert not each.event.endswith(".")
