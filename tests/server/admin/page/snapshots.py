"""Made-up moments of a gateway, for tests of the status page. Nothing here is random."""

from __future__ import annotations

from typing import Final

from gateway.server.admin.page.values import (
    CertificateRow,
    ControllerRow,
    EndRow,
    Health,
    ReloadRow,
    SessionRow,
    Snapshot,
    TimerRow,
    WorkerRow,
)

NOW: Final = 1_790_000_000.0
DAY: Final = 86400.0

# Names that agents may send, and what must never come of them.
HOSTILE: Final = (
    "<script>document.title='broken'</script>",
    '"><img src=x onerror="document.title=\'broken\'">',
    "</td></tr></table><h1>broken</h1>",
    "{{ 7 * 7 }}{% raw %}",
    "bell\x07 escape\x1b[31mred nul\x00 line\r\nfeed",
    "n" * 300,
    "\u202egnp.1-edon\u202c",  # right-to-left override: another order than it has
    "a\u2066b\u200bc\ufeffd",
    "\u05e1\u05d5\u05db\u05df \u05d4\u05d1\u05e0\u05d9\u05d9\u05d4 42",  # Hebrew, as it is
    "\u0639\u0627\u0645\u0644-7",  # Arabic
    "lone \ud800 surrogate",
    "javascript:alert(1)",
    "&lt;already&gt; &amp; 'quoted'",
    "\U0001f680 build \u2028 separator",
)


def session(number: int, **changes: object) -> SessionRow:
    """Return a session that differs from those of other numbers."""
    values: dict[str, object] = {
        "id": f"s{number:05d}",
        "controller": ("main", "team-a", "legacy")[number % 3],
        "node": f"build-linux-{number:04d}",
        "client": f"10.20.{number // 250 % 250}.{number % 250}:{40000 + number % 20000}",
        "transport": "websocket" if number % 3 == 1 else "jnlp4",
        "since": NOW - (number * 7919 % 900_000) - 4,
        "suspect": number % 97 == 5,
        "takeovers": 0,
        "from_agent": number * 1_234_567 % 9_876_543_210,
        "to_agent": number * 7_654_321 % 1_234_567_890,
        "round_trip": None if number % 41 == 7 else (number * 37 % 900 + 2) / 10_000,
        "worker": 4100 + number % 2,
    }
    return SessionRow(**(values | changes))  # type: ignore[arg-type]


def snapshot(count: int = 42, **changes: object) -> Snapshot:
    """Return a moment with something in every section."""
    values: dict[str, object] = {
        "at": NOW,
        "state": "serving",
        "ready": True,
        "version": "0.1.0",
        "started": NOW - 3 * DAY - 4000,
        "generation": 4,
        "restarts": 1,
        "connections": count + 11,
        "listeners": ("0.0.0.0:8443", "127.0.0.1:8080"),
        "sessions": tuple(session(i) for i in range(1, count + 1)),
        "ends": tuple(_end(i) for i in range(1, 9)),
        "timers": (_TIMER,),
        "controllers": (
            ControllerRow(
                "main", "https://jenkins.lan/", Health.GOOD, "up", "", "jnlp4", count // 3
            ),
            ControllerRow(
                "team-a",
                "http://team-a.lan:8080/jenkins/",
                Health.WARNING,
                "partly up",
                "10.0.0.1:443 is down",
                "websocket",
                (count + 2) // 3,
            ),
            ControllerRow(
                "legacy",
                "http://old.lan:8080/",
                Health.GOOD,
                "up",
                "",
                "jnlp4",
                (count + 1) // 3,
            ),
            ControllerRow(
                "spare", "http://10.0.0.9:8080/", Health.UNKNOWN, "nobody asked yet", "", "", 0
            ),
        ),
        "certificates": (
            CertificateRow(
                "0.0.0.0:8443",
                "/etc/gateway/tls.crt",
                ("jenkins.example.com", "*.agents.example.com"),
                NOW + 71.4 * DAY,
                None,
            ),
            CertificateRow(
                "0.0.0.0:8443",
                "/etc/gateway/old.crt",
                ("old.example.com",),
                NOW + 5.5 * DAY,
                None,
            ),
        ),
        "reloads": (
            ReloadRow(NOW - 7200, "SIGHUP", 4, None),
            ReloadRow(
                NOW - 9000, "file", 3, 'gateway.yaml:12: routes[0].host: "jenkins..com" is no host'
            ),
            ReloadRow(NOW - 2 * DAY, "control socket", 3, None),
        ),
        "workers": (
            WorkerRow(4100, 0, "serving", NOW - 3 * DAY, 4, count // 2, 30, answered=True),
            WorkerRow(4101, 1, "serving", NOW - DAY, 4, count - count // 2, 31, answered=True),
        ),
    }
    return Snapshot(**(values | changes))  # type: ignore[arg-type]


def hostile() -> Snapshot:
    """Return a moment in which every name is one that nobody should have."""
    return snapshot(
        0,
        sessions=tuple(session(i, node=name) for i, name in enumerate(HOSTILE)),
        ends=tuple(
            EndRow(NOW - i, "main", name, name[:40], "agent", name, 1011, 5.0, 1, 2)
            for i, name in enumerate(HOSTILE)
        ),
    )


def _end(number: int) -> EndRow:
    reasons = (
        ("agent", "the agent closed its connection", 1001),
        ("controller", "the controller closed the channel", 1000),
        ("gateway", "no sign of life from the agent for 60 s", 1011),
        ("agent", "connection reset by peer", None),
    )
    by, reason, code = reasons[number % 4]
    return EndRow(
        at=NOW - number * 431.0,
        controller=("main", "team-a", "legacy")[number % 3],
        node=f"build-mac-{number:02d}",
        client=f"192.0.2.{number}:5{number}210",
        by=by,
        reason=reason,
        close_code=code,
        duration=number * 3607.0,
        from_agent=number * 98_765_432,
        to_agent=number * 4_321_987,
    )


_TIMER: Final = TimerRow(
    controller="team-a",
    network="192.0.2.0/24",
    seconds=350.2,
    count=14,
    total=19,
    last_at=NOW - 431,
    sentence=(
        "14 of 19 cut sessions from 192.0.2.0/24 ended 350.2 s after the last byte: an idle timer"
        " of 350 s lies between agent and gateway (AWS NLB uses 350 s); our ping interval on that"
        " path is 20 s; it does not count our pings: raise it there"
    ),
)
