"""One generation in force, one prepared, and the steps between them."""

from __future__ import annotations

from gateway.runtime.config_holder import ConfigHolder


def test_what_is_prepared_takes_effect_when_it_is_committed() -> None:
    holder = ConfigHolder("old", number=3)
    holder.prepare(4, "new")
    assert (holder.number, holder.current) == (3, "old")
    assert holder.commit(4) == "new"
    assert (holder.number, holder.current) == (4, "new")
    assert holder.commit(4) is None
    assert (holder.number, holder.current) == (4, "new")


def test_only_what_was_prepared_can_be_committed() -> None:
    holder = ConfigHolder("old")
    assert holder.commit(0) is None
    holder.prepare(1, "one")
    assert holder.commit(2) is None
    holder.prepare(2, "two")
    assert holder.commit(1) is None  # forgotten
    assert holder.commit(2) == "two"


def test_what_is_abandoned_is_forgotten() -> None:
    holder = ConfigHolder("old")
    holder.prepare(1, "one")
    holder.abandon(7)  # another
    holder.abandon(1)
    assert holder.commit(1) is None
    assert holder.current == "old"
