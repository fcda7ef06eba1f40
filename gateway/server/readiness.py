"""Whether the gateway is ready for clients, and why not.

Owns: what ready means, and the words for it.

Must not know: controllers, and it asks no worker: a dead Jenkins, or a worker that hangs, must
neither take the gateway away from everybody else nor make a probe wait.

Ready means: listening sockets are bound and a worker accepts on them, the configuration in force is
one that was checked, and the gateway is not about to end. A reload that was refused is told as a
warning, not as unready: the old configuration still serves, and a mistake in a file that all
replicas share would else take all of them away at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.server.fleet import Fleet
from gateway.server.reloader import Reload


@dataclass(frozen=True, slots=True)
class Readiness:
    """What health is judged by, at one moment."""

    listening: bool
    serving: bool
    draining: bool
    configured: bool
    reload_failed: bool

    @classmethod
    def of(cls, fleet: Fleet, *, draining: object, last_reload: Reload | None) -> Readiness:
        """Look at everything, without asking anybody."""
        return cls(
            listening=bool(fleet.addresses),
            serving=fleet.is_serving,
            draining=bool(draining),
            configured=fleet.is_configured,
            reload_failed=last_reload is not None and not last_reload.ok,
        )

    def as_fields(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        reasons = []
        if self.draining:
            reasons.append("draining")
        if not self.listening:
            reasons.append("no listener is bound")
        elif not self.serving:
            reasons.append("no worker serves yet")
        elif not self.configured:
            reasons.append("no worker serves by the configuration in force yet")
        warnings = ["the last reload was refused"] if self.reload_failed else []
        return {
            "ready": not reasons,
            "reasons": reasons,
            "warnings": warnings,
            "checks": {
                "listeners": self.listening and self.serving,
                "configuration": self.configured,
                "not_draining": not self.draining,
            },
        }
