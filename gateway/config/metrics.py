"""What is said in metrics.

Owns: the keys of ``metrics``, their defaults and the reasons.

Must not know: how anything is counted.
"""

from __future__ import annotations

from pydantic import Field, StrictBool

from gateway.config.base import Model


class MetricsConfig(Model):
    """What is said in metrics."""

    per_node: StrictBool = Field(
        default=False,
        description=(
            "Also say of each node's live session since when it lasts, its bytes and its round"
            " trip. false: node names as labels make as many time series as there are nodes."
        ),
    )
    nodes: int = Field(
        default=1000,
        ge=1,
        le=2000,
        description=(
            "With per_node, how many nodes are shown, those connected for longest. 1000: four"
            " thousand time series, which any Prometheus bears."
        ),
    )
