"""How many processes serve, and how they end.

Owns: the keys ``workers`` and ``shutdown``, their defaults and the reasons.

Must not know: processes, signals, how many processors there are.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from gateway.config.base import Model
from gateway.config.values import Duration, Wait

MOST_WORKERS: Final = 64


def _read_workers(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_WORKERS:
        return value
    raise ValueError(f'allowed: a number from 1 to {MOST_WORKERS}, or "auto"')


Workers = Annotated[
    int | Literal["auto"],
    BeforeValidator(_read_workers),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "auto"},
                {"type": "integer", "minimum": 1, "maximum": MOST_WORKERS},
            ]
        }
    ),
]


class ShutdownConfig(Model):
    """How the gateway stops, and how the workers of before an upgrade end."""

    pre_stop: Wait = Field(
        default=0.0,
        description=(
            "From SIGTERM, when the gateway says that it is not ready, until it stops accepting:"
            " the time that balancers need to notice. 0s, because without one nobody looks; 10s"
            " suits Kubernetes."
        ),
    )
    drain_spread: Wait = Field(
        default=10.0,
        description=(
            "Sessions are ended with 1012 one after another over this time, so that their agents do"
            " not all come back at once. 10s, as long as an agent waits between its tries."
        ),
    )
    drain_timeout: Duration = Field(
        default=300.0,
        description=(
            "From the last accepted connection until what is still open is cut. 300s, so that large"
            " downloads end (ingress controllers have 300 s of grace, too)."
        ),
    )
    upgrade_linger: Duration = Field(
        default=86400.0,
        description=(
            "How long a worker from before an upgrade keeps its sessions; then they end with 1012."
            " 24h, because builds are to end by themselves."
        ),
    )
