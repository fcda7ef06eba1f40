"""Every event that is logged, with its channel, level and meaning.

Owns: the list. ``event`` in a line is one of these sentences, or in channel ``system`` what a
library said; alerts may be built on them.

Must not know: who logs what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An event. ``levels``: those it is logged at."""

    channel: str
    event: str
    levels: str
    meaning: str


def _session(event: str, levels: str, meaning: str) -> LogEvent:
    return LogEvent("session", event, levels, meaning)


def _audit(event: str, levels: str, meaning: str) -> LogEvent:
    return LogEvent("audit", event, levels, meaning)


def _system(event: str, levels: str, meaning: str) -> LogEvent:
    return LogEvent("system", event, levels, meaning)


EVENTS: Final = (
    _session("session started", "info", "an agent, or a browser's WebSocket, is connected"),
    _session("session ended", "info, warning, error", "it is over; all that is known about it"),
    _session("cli transport chosen", "info", "how a controller's CLI clients are served"),
    _session("the controller refuses the origin of CLI clients", "warning", "see gateway.remedy"),
    _session("cli message skipped", "debug", "of a kind that nobody knows"),
    _session("node taken over", "info", "a newcomer got the node of a dead session"),
    _session("idle timer found", "warning", "something on the way cuts idle connections"),
    _session("transport chosen", "info, warning", "how a controller's agents are served"),
    _session("controller is ready for agents again", "info", "agents that wait are let in"),
    _session(
        "pinned the controller's key, first seen over http; compare its fingerprint",
        "warning",
        "nothing had proved that it is the controller's",
    ),
    _session(
        "the discovery document names another key than the pinned one; the pin holds",
        "warning",
        "a new key, or an attack",
    ),
    _session(
        "controller shows another key than the expected one; no secret was sent",
        "error",
        "a new key, or an attack; no agent gets in",
    ),
    _session("request refused", "warning", "the controller refused an agent's WebSocket"),
    _session(
        "damaged rows in cookies.db were deleted",
        "warning",
        "what they said of ended sessions is lost",
    ),
    _session("sessions' cookies are kept again", "info", "state_dir can be written again"),
    _session(
        "sessions' cookies cannot be kept: an agent whose old session the controller has not"
        " missed yet may have to wait for it",
        "error",
        "state_dir cannot be written",
    ),
    _audit("credential first used", "info", "an issued secret was presented the first time"),
    _audit("credential issued", "info", "`nodes issue`"),
    _audit("credential rotated", "info", "`nodes rotate`"),
    _audit("credential changed", "info", "`nodes change`: other conditions"),
    _audit("credential revoked", "info", "`nodes revoke`"),
    _audit("credential expiry set", "info", "`nodes expire`"),
    _audit("credential imported", "info", "`nodes import`"),
    _audit("credential unlocked", "info", "a node's failures were forgotten, by command"),
    _audit("unlocked", "info", "failures of an address, or all, were forgotten, by command"),
    _audit("key rotated", "info", "the store has a new key"),
    _audit("exported", "info", "`nodes export`"),
    _audit("cli command started", "info", "it is on its way (`cli.audit`)"),
    _audit("cli command ended", "info", "or its connection, then without an exit code"),
    _audit("cli command refused", "warning", "by `cli.policy`; also without `cli.audit`"),
    _audit("kick", "info", "sessions were ended, by command or API"),
    _audit("takeover", "info", "sessions were ended for a newcomer, by command or API"),
    _audit("block", "info", "a node is kept out"),
    _audit("unblock", "info", "it is let in again"),
    _audit("reload", "info", "by command or API"),
    _audit("drain", "info", "by command or API"),
    _audit("upgrade", "info", "by command; `details` say whether the new program can take over"),
    _audit("log level", "info", "another one, by command or API"),
    _audit("agent refused", "warning", "it was not let in; the same again: once a minute"),
    _audit("more agents refused", "warning", "beyond 1000 different ones a minute: the number"),
    _audit("locked out", "warning", "too many wrong secrets came from there"),
    _audit("session no longer allowed", "warning", "its credential was revoked or has ended"),
    _audit("worker has unlocked", "info", "a worker forgot failures, as an operator said"),
    _system("request refused", "info, warning", "the client's fault, or the controller is away"),
    _system("request failed", "error", "the gateway's or the controller's fault"),
    _system("internal error", "error", "a bug; please report it"),
    _system("connection broken", "info", "by the client, in the middle of something"),
    _system("connection refused", "warning", "`limits.connections` or `_per_address`"),
    _system("cannot accept connections", "warning", "no descriptors or no memory are left"),
    _system("tls handshake failed", "info", "of a client"),
    _system("proxy protocol failed", "info", "no header, or not from a trusted proxy"),
    _system(
        "request head is near the 8 KiB that Jenkins takes; beyond, it answers 431",
        "warning",
        "once a connection",
    ),
    _system("address is up", "info", "of a controller: checks pass"),
    _system("address is down", "warning", "of a controller: checks fail"),
    _system("address ejected", "warning", "of a controller: it fails requests"),
    _system("the node store can be used again", "info", "agents are judged again"),
    _system("the node store cannot be used", "error", "agents get 503 meanwhile"),
    _system("the node store was replaced by another file", "warning", "it is read anew"),
    _system(
        "the controller refuses the secret that it was given for a proved agent",
        "error",
        "the stored or made secret is wrong",
    ),
    _system("an entry of the audit trail is damaged", "error", "it could not be logged"),
    _system("a session could not be checked again", "warning", "it goes on"),
    _system("the controller has a new node-secret key", "warning", "secrets follow from it"),
    _system("the node-secret key cannot be read", "error", "see gateway.credentials.in_force"),
    _system("the use of a secret could not be noted", "warning", "the store is not writable"),
    _system("worker is serving", "info", "it accepts"),
    _system("worker is lingering", "info", "of before an upgrade: it keeps its sessions"),
    _system("worker is stopping", "info", "what is open then"),
    _system("worker has reloaded", "info", "it has the new configuration"),
    _system("worker crashed", "error", "a bug; another one is started"),
    _system("worker cannot start", "error", "something that it needs is missing"),
    _system("connections were cut", "warning", "`shutdown.drain_timeout` was over"),
    _system("the worker died; starting another", "error", "its sessions are lost"),
    _system("the worker did not become ready; giving up", "error", "the gateway ends"),
    _system("the worker does not stop; killing it", "error", "after `drain_timeout`"),
    _system("the worker cannot be understood; killing it", "error", "a bug"),
    _system("a worker takes no messages; killing it", "error", "it hangs"),
    _system("a worker cannot be started", "error", "the system refuses it; tried again"),
    _system("a worker cannot be taken over", "error", "in an upgrade"),
    _system("a worker from before the upgrade died", "error", "its sessions are lost"),
    _system("a worker did not take the new configuration; replacing it", "error", "it hangs"),
    _system(
        "a worker cannot take the new configuration; replacing it", "error", "a file vanished, say"
    ),
    _system("another worker's answer is not understood", "warning", "of another version"),
    _system("accepting on another worker's slot", "info", "until it is back"),
    _system("cannot accept on another worker's slot yet", "warning", "tried again"),
    _system("the supervisor is gone; stopping", "error", "a worker alone is of no use"),
    _system("the supervisor cannot be understood; stopping", "error", "a bug"),
    _system("configuration", "warning", "what `check` warns of"),
    _system("configuration reloaded", "info", "it is in force"),
    _system(
        "configuration not reloaded; the old one stays in force", "error", "see gateway.reason"
    ),
    _system("configuration not loaded; the old one stays in force", "error", "in an upgrade"),
    _system("stopping", "info", "the gateway was told to"),
    _system("stopping has a limit now", "info", "TERM after QUIT"),
    _system("asked to stop again; cutting short", "warning", "a second signal"),
    _system("replacing the program", "info", "an upgrade"),
    _system("upgraded", "info", "all new workers serve"),
    _system("the program cannot be replaced; going on with this one", "error", "exec failed"),
    _system("the new workers do not serve; the old ones go on", "error", "after an upgrade"),
    _system("not upgraded; this program goes on", "error", "see gateway.reason"),
    _system(
        "others may write to state_dir, and put pins and a control socket of theirs there",
        "warning",
        "its permissions are too wide",
    ),
    _system("low limit of open files; a session needs two", "warning", "see gateway.remedy"),
    _system("the record of a node is damaged", "error", "that node is refused; the others are not"),
    _system(
        "too many metrics to hand over; counters begin anew with the upgrade",
        "warning",
        "what is beyond the limit of a message between two programs",
    ),
    _system("logs reopened", "info", "SIGUSR1: files that were moved away are made anew"),
    _system("a log cannot be opened", "error", "lines go where they went before"),
    _system("admin request refused", "warning", "without a proof, or from another site"),
    _system("admin connection failed", "warning", "TLS, or what is no HTTP"),
    _system("status page: logged in", "info", "a browser showed the token"),
    _system("admin is serving", "info", "the admin listener accepts"),
    _system("there is no admin listener until the next upgrade", "error", "see gateway.reason"),
    _system("log level is as before", "info", "the time of an operator's own one is over"),
    _system(
        "the list of blocked nodes cannot be read; none is blocked", "error", "see gateway.remedy"
    ),
    _system("the list of blocked nodes cannot be kept", "error", "a restart would forget it"),
    _system(
        "lines of a log were dropped: its reader is too slow", "warning", "see gateway.log.lost"
    ),
    _system("a log has no reader any more", "warning", "its lines are discarded"),
)
