"""The causes that the doctor knows, in the order of the path, and which one explains which.

Owns: the names, which programs may rely on (``--json``), and the ranking: what is nearer to the
operator's end of the path comes first, since nothing behind it can work.

Must not know: how a cause is found.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Cause(Enum):
    """One thing that can be wrong. Declared from the near end of the path to the far one."""

    CONFIGURATION = "configuration"
    STATE_DIR = "state-dir"
    LISTENER_TAKEN = "listener-taken"
    GATEWAY_TROUBLE = "gateway-trouble"
    NAME_UNKNOWN = "name-unknown"
    CONNECTION_REFUSED = "connection-refused"
    CONNECTION_TIMEOUT = "connection-timeout"
    NOT_TLS = "not-tls"
    TLS_TOO_OLD = "tls-too-old"
    TLS_FAILED = "tls-failed"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_YET_VALID = "certificate-not-yet-valid"
    INTERMEDIATE_MISSING = "intermediate-missing"
    AUTHORITY_UNKNOWN = "authority-unknown"
    CERTIFICATE_UNFIT = "certificate-unfit"
    WRONG_NAME = "wrong-name"
    CLIENT_CERTIFICATE = "client-certificate"
    NOT_HTTP = "not-http"
    NO_ANSWER = "no-answer"
    REDIRECT_TO_HTTPS = "redirect-to-https"
    USE_HTTPS = "use-https"
    SSO = "sso"
    REDIRECT_ELSEWHERE = "redirect-elsewhere"
    HOST_NOT_SERVED = "host-not-served"
    WRONG_PREFIX = "wrong-prefix"
    NOT_JENKINS = "not-jenkins"
    FORBIDDEN_IN_FRONT = "forbidden-in-front"
    CONTROLLER_STARTING = "controller-starting"
    IDENTITY_MISMATCH = "identity-mismatch"
    TCP_PORT_DISABLED = "tcp-port-disabled"
    PORT_BLOCKED = "port-blocked"
    PORT_NOT_JENKINS = "port-not-jenkins"
    CONTROLLER_DOWN = "controller-down"
    CONTROLLER_ERROR = "controller-error"
    GATEWAY_NOT_READY = "gateway-not-ready"
    UPGRADE_STRIPPED = "upgrade-stripped"
    AGENT_HEADERS_STRIPPED = "agent-headers-stripped"
    NO_WEBSOCKET_ENDPOINT = "no-websocket-endpoint"
    NODE_BLOCKED = "node-blocked"
    UNKNOWN_NODE = "unknown-node"
    WRONG_SECRET = "wrong-secret"
    NOT_INBOUND = "not-inbound"
    ALREADY_CONNECTED = "already-connected"
    REFUSED = "refused"
    AGENT_TOO_OLD = "agent-too-old"
    CAPABILITY_LOST = "capability-lost"
    SECRET_UNTOLD = "secret-untold"
    NO_PONG = "no-pong"
    IDLE_CUT = "idle-cut"
    AGE_CUT = "age-cut"
    SESSION_ENDED = "session-ended"
    ADDRESS_DOWN = "address-down"
    CERTIFICATE_ENDS_SOON = "certificate-ends-soon"
    PING_INTERVAL = "ping-interval"
    SLASH_DECODED = "slash-decoded"
    SLASH_REFUSED = "slash-refused"
    FORWARDED_WRONG = "forwarded-wrong"
    FORWARDED_DOUBLED = "forwarded-doubled"
    CLI_ORIGIN = "cli-origin"
    CLI_UPGRADE = "cli-upgrade"
    HEADER_LIMIT = "header-limit"
    BUFFERED_DOWNLOAD = "buffered-download"
    BUFFERED_UPLOAD = "buffered-upload"
    CLOCK_SKEW = "clock-skew"
    SECRET_IN_CLEAR = "secret-in-clear"
    CHECK_FAILED = "check-failed"


# Cause -> what it brings about. Where both are found, the second is folded under the first.
EXPLAINS: Final[dict[Cause, frozenset[Cause]]] = {
    Cause.CONTROLLER_STARTING: frozenset(
        {
            Cause.GATEWAY_NOT_READY,
            Cause.TCP_PORT_DISABLED,
            Cause.PORT_BLOCKED,
            Cause.CONTROLLER_DOWN,
            Cause.CONTROLLER_ERROR,
        }
    ),
    Cause.CONTROLLER_DOWN: frozenset({Cause.GATEWAY_NOT_READY, Cause.PORT_BLOCKED}),
    Cause.IDENTITY_MISMATCH: frozenset(
        {Cause.GATEWAY_NOT_READY, Cause.REFUSED, Cause.SECRET_UNTOLD}
    ),
    Cause.TCP_PORT_DISABLED: frozenset(
        {Cause.GATEWAY_NOT_READY, Cause.NO_WEBSOCKET_ENDPOINT, Cause.SECRET_UNTOLD}
    ),
    Cause.PORT_BLOCKED: frozenset({Cause.GATEWAY_NOT_READY, Cause.SECRET_UNTOLD}),
    Cause.PORT_NOT_JENKINS: frozenset(
        {Cause.GATEWAY_NOT_READY, Cause.REFUSED, Cause.SECRET_UNTOLD}
    ),
    # A path that was decoded does not come back from Jenkins' self-test whole.
    Cause.SLASH_DECODED: frozenset({Cause.FORWARDED_WRONG}),
    Cause.SLASH_REFUSED: frozenset({Cause.FORWARDED_WRONG}),
    # Up to 2.554 Jenkins compares the CLI's Origin with what these headers say.
    Cause.FORWARDED_WRONG: frozenset({Cause.CLI_ORIGIN, Cause.FORWARDED_DOUBLED}),
    Cause.FORWARDED_DOUBLED: frozenset({Cause.CLI_ORIGIN}),
    Cause.UPGRADE_STRIPPED: frozenset({Cause.CLI_UPGRADE}),
    Cause.NODE_BLOCKED: frozenset({Cause.WRONG_SECRET, Cause.REFUSED}),
    Cause.CERTIFICATE_EXPIRED: frozenset({Cause.CERTIFICATE_ENDS_SOON}),
    Cause.REDIRECT_TO_HTTPS: frozenset({Cause.SECRET_IN_CLEAR}),
    Cause.USE_HTTPS: frozenset({Cause.SECRET_IN_CLEAR}),
}


def rank(cause: Cause) -> int:
    """Return where a cause comes among findings of one severity; the smallest first."""
    return _RANKS[cause]


_RANKS: Final = {cause: number for number, cause in enumerate(Cause)}
