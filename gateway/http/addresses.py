"""Which of a controller's addresses is used: the first that is up, the others stand by.

Owns: the order of addresses, and what checks and failing requests do to it.

Must not know: connections, names, clocks (times are handed in).

There is no balancing. A Jenkins controller keeps sessions, crumbs, its queue and both halves of a
command line's connection in one process, so two addresses are two ways to one controller, or an
active one and a standby: whoever spreads requests over them logs people out. All requests go to the
first address that is up, and come back to it when it is up again.

An address that checks found down is used last. So is, for a while, one that let several requests in
a row down ("ejected"). "Last" and not "never": when nothing seems to be up, the answer should come
from trying.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.config.upstream import EjectionConfig, HealthCheckConfig
from gateway.config.values import Address


class AddressState:
    """What is known about one address."""

    __slots__ = ("address", "checks", "ejected_until", "failures", "up")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.up = True  # until checks say otherwise: at the start traffic must not wait for them
        self.checks = 0  # in a row that contradict ``up``
        self.failures = 0  # of requests, in a row
        self.ejected_until = 0.0


class AddressBook:
    """The addresses of one controller, best first."""

    __slots__ = ("_ejection", "_states")

    def __init__(self, addresses: Iterable[Address], ejection: EjectionConfig) -> None:
        self._ejection = ejection
        self._states = [AddressState(address) for address in addresses]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Return them all, best first, whatever their state."""
        return tuple(state.address for state in self._states)

    def replace(self, addresses: Iterable[Address]) -> None:
        """Take the answer to a name: known addresses keep their order and state, new ones follow.

        A name server may shuffle its answers; people's sessions must not move with them.
        """
        new = list(dict.fromkeys(addresses))
        kept = [state for state in self._states if state.address in new]
        known = {state.address for state in kept}
        self._states = kept + [AddressState(address) for address in new if address not in known]

    def prefer(self, address: Address) -> None:
        """Put an address first: among a name server's answers the one that works is the best."""
        self._states.sort(key=lambda state: state.address != address)

    def in_order(self, now: float) -> list[Address]:
        """Return the addresses in the order in which to try them."""
        states = self._states
        if len(states) > 1:
            states = sorted(states, key=lambda state: (not state.up, state.ejected_until > now))
        return [state.address for state in states]

    def succeeded(self, address: Address) -> None:
        """Note a request that was answered."""
        state = self._find(address)
        if state is not None:
            state.failures = 0

    def failed(self, address: Address, now: float) -> bool:
        """Note a request that got no connection or no usable answer; say whether that ejects."""
        state = self._find(address)
        if state is None or state.ejected_until > now:
            return False
        state.failures += 1
        if state.failures < self._ejection.failures or len(self._states) < 2:
            return False
        state.failures = 0
        state.ejected_until = now + self._ejection.duration
        return True

    def checked(self, address: Address, config: HealthCheckConfig, *, passed: bool) -> bool:
        """Note an active check; say whether the address went up or down by it."""
        state = self._find(address)
        if state is None or passed is state.up:
            if state is not None:
                state.checks = 0
            return False
        state.checks += 1
        if state.checks < (config.rise if passed else config.fall):
            return False
        state.up, state.checks = passed, 0
        if passed:
            state.failures, state.ejected_until = 0, 0.0
        return True

    def as_fields(self, now: float) -> list[dict[str, object]]:
        """Return what is known of each address, best first, as JSON objects."""
        return [
            {
                "address": str(state.address),
                "up": state.up,
                "ejected": state.ejected_until > now,
                "failures": state.failures,
            }
            for state in self._states
        ]

    def _find(self, address: Address) -> AddressState | None:
        for state in self._states:
            if state.address == address:
                return state
        return None  # a name server took it back meanwhile
