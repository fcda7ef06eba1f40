"""The rules across the keys that concern the way of agents' sessions to a controller.

Owns: which of them mean something with which ``transport``, and secrets that nothing protects.

Must not know: what a transport does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.config.keys import PublicKey

if TYPE_CHECKING:
    from gateway.config.checks import Findings
    from gateway.config.document import Location
    from gateway.config.models import ControllerConfig

# What describes the TCP agent port, and what is done on the way to it.
_FOR_JNLP4: Final = ("protocol", "allow_plaintext", "address", "identity", "chunks_per_message")


def check_transport(controller: ControllerConfig, here: Location, findings: Findings) -> None:
    """Check one controller; ``here`` is the place of its ``agents``."""
    agents = controller.agents
    if agents.transport == "auto":
        # A configured key is never given up for plain http.
        if controller.in_clear and not isinstance(agents.identity, PublicKey):
            findings.warn(
                (*here, "transport"),
                "where the agent port cannot be used, auto goes on to WebSocket, and agents'"
                " secrets go to the controller's url without encryption, and to whoever answers"
                " there (JNLP4-connect proves the controller's key first, and once one is pinned"
                " auto stays with it); where the network in between is not yours, use an https url,"
                " or transport: jnlp4",
            )
        return
    if agents.transport != "websocket":
        return
    if controller.url is None:
        findings.error(
            (*here, "transport"),
            'found "websocket"; allowed: only for a controller with url, where /wsagents/ is.',
        )
    elif controller.in_clear:
        findings.warn(
            (*here, "transport"),
            "agents' secrets go to the controller's url without encryption, and to whoever answers"
            " there; use an https url where the network in between is not yours",
        )
    for key in _FOR_JNLP4:
        if key in agents.model_fields_set:
            findings.error(
                (*here, key),
                "allowed: only with transport: jnlp4 or auto, since it is about the TCP agent port."
                " Remove it.",
            )
