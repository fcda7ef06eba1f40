"""The listening sockets: one of its own for each listener and worker slot.

Owns: binding them (SO_REUSEPORT, so that the kernel spreads connections over the slots), which slot
a socket belongs to, and who accepts on a slot that has no worker.

A connection is given to a slot when it arrives, and waits in that slot's backlog. Two laws follow:
a slot without a worker is accepted on by another one (an orphaned slot hangs its share of clients),
and a slot is never given up while the gateway serves (closing one with a backlog resets those in
it); fewer workers after an upgrade accept on the surplus slots, too. Sockets that a service manager
passed in (``activation``) are shared by all slots.

Must not know: processes, messages.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.config.models import ListenerConfig
from gateway.config.values import Address
from gateway.transport.listeners import bind, check_free


@dataclass(slots=True)
class Listener:
    """A configured address and its sockets: one a slot, or a single one that all slots share."""

    address: str  # as the configuration has it; the port may be 0
    sockets: list[socket.socket]
    shared: bool = False

    @property
    def bound(self) -> Address:
        """Where it really listens, also where the configuration said port 0."""
        return Address(Address.parse(self.address).host, int(self.sockets[0].getsockname()[1]))

    def let_go(self) -> None:
        """Leave the descriptors to the next program."""
        for sock in self.sockets:
            sock.detach()

    def close(self) -> None:
        """Close this process' copies."""
        for sock in self.sockets:
            sock.close()


@dataclass(slots=True)
class Slots:
    """All listening sockets, in the order of the configuration."""

    listeners: list[Listener] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many slots there are."""
        return max(len(each.sockets) for each in self.listeners)

    @property
    def addresses(self) -> list[str]:
        """Where the listeners listen, for people."""
        return [str(each.bound) for each in self.listeners]

    def descriptors(self, slot: int) -> list[int]:
        """Return the descriptors to accept on in ``slot``, one for each listener."""
        return [each.sockets[0 if each.shared else slot].fileno() for each in self.listeners]

    def own_descriptors(self, slot: int) -> dict[int, int]:
        """Return those that no other slot has, by the index of their listener."""
        return {
            i: each.sockets[slot].fileno()
            for i, each in enumerate(self.listeners)
            if not each.shared
        }

    def is_shared(self) -> bool:
        """Say whether no slot has anything of its own, so that none can be orphaned."""
        return all(each.shared for each in self.listeners)

    def close(self) -> None:
        """Close this process' copies: then the workers decide when nobody is let in any more."""
        for each in self.listeners:
            each.close()


def bind_slots(
    configs: Sequence[ListenerConfig],
    count: int,
    *,
    kept: Iterable[Listener] = (),
) -> Slots:
    """Bind ``count`` sockets for each address, or nothing. Raises ConfigError.

    ``kept``: listeners that exist already. They are taken over where an address is theirs, with at
    least as many slots as they have; those that nobody wants any more are closed.
    """
    left = list(kept)
    # All listeners have the same number of slots, and none is taken away.
    count = max([count, *(len(each.sockets) for each in left)])
    made: list[tuple[Listener, int]] = []  # with the number of sockets that it had before
    try:
        for i, config in enumerate(configs):
            found = next((each for each in left if each.address == str(config.address)), None)
            if found is None:
                found = Listener(str(config.address), [])
            else:
                left.remove(found)
            made.append((found, len(found.sockets)))
            if not found.shared:
                _fill(found, config, count, configs[:i])
    except BaseException:
        for listener, before in made:
            for sock in listener.sockets[before:]:
                sock.close()
            del listener.sockets[before:]
        raise
    for each in left:
        each.close()
    return Slots([listener for listener, _ in made])


def _fill(
    listener: Listener, config: ListenerConfig, count: int, earlier: Sequence[ListenerConfig]
) -> None:
    while len(listener.sockets) < count:
        if not listener.sockets:
            check_free(config, earlier=earlier)
        # Port 0: the kernel chooses once, for the first slot.
        port = listener.bound.port if listener.sockets else config.address.port
        listener.sockets.append(bind(config, earlier=earlier, shared_port=port))


def cover(
    slots: Collection[int], owners: Collection[int], held: Mapping[int, Collection[int]]
) -> dict[int, set[int]]:
    """Say who accepts where: ``{worker: slots}``, for workers that serve now.

    ``owners`` are the slots that have such a worker, each known by its slot; ``held``: on which
    slots each of them accepts already. A slot without a worker stays with whoever has it, or goes
    to the one that has least. Nothing, where nobody serves.
    """
    wanted = {owner: {owner} for owner in owners}
    if not wanted:
        return {}
    for orphan in sorted(set(slots) - set(owners)):
        holder = next((owner for owner in sorted(wanted) if orphan in held.get(owner, ())), None)
        if holder is None:
            holder = min(wanted, key=lambda owner: (len(wanted[owner]), owner))
        wanted[holder].add(orphan)
    return wanted
