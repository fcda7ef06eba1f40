"""What one client connection may take.

Owns: the limits that ``http`` itself enforces on clients, configured ones and others.

Must not know: who enforces which.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.config.limits import LimitsConfig
from gateway.protocol.http_head import HeadLimits


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Times in seconds, sizes in bytes. What an operator may set is described in ``config.limits``.

    ``drain``: body bytes that are read and dropped so that a connection can live on, within
    ``drain_timeout``. ``linger``: bytes that are read and dropped after the last answer, because
    closing with unread bytes resets the connection and may take the answer with it (RFC 9112
    section 9.6). 64 MiB, because both kernels hold up to 10 MiB by themselves, and many clients
    look for an answer only when they have sent everything; with 1 MiB curl lost one 413 in twenty
    on loopback. ``early``: bytes kept that came too early.
    """

    head: HeadLimits = field(default_factory=HeadLimits)
    head_warning: int = 7 * 1024
    head_timeout: float = 15.0
    idle_timeout: float = 75.0
    body: int | None = None
    body_timeout: float = 60.0
    send_timeout: float = 60.0
    drain: int = 64 * 1024
    drain_timeout: float = 5.0
    linger: int = 64 * 1024 * 1024
    linger_timeout: float = 5.0
    linger_time: float = 30.0
    early: int = 64 * 1024

    @classmethod
    def of(cls, config: LimitsConfig) -> ClientLimits:
        """Take what the configuration says, and the rest by default."""
        return cls(
            head=HeadLimits(
                total=config.head, line=config.request_line, fields=config.header_fields
            ),
            head_warning=config.head_warning,
            head_timeout=config.head_timeout,
            idle_timeout=config.idle_timeout,
            body=config.body,
            body_timeout=config.body_timeout,
            send_timeout=config.send_timeout,
            linger_timeout=config.linger_timeout,
            linger_time=config.linger_time,
        )
