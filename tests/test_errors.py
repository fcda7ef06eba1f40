"""Tests of ``gateway.errors``: the table is complete, and says what ARCHITECTURE section 6 says."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import gateway
from gateway import errors
from gateway.errors import (
    OUTCOMES,
    AlreadyConnected,
    Blocked,
    BodyTooBig,
    ClientGone,
    ConfigError,
    ControllerClosed,
    ControllerRefused,
    ControllerTimeout,
    ControllerUnreachable,
    CredentialsUnavailable,
    Draining,
    GatewayError,
    HostNotServed,
    IdentityMismatch,
    Kicked,
    LimitExceeded,
    LockedOut,
    MessageTooBig,
    MethodRefused,
    MissingAgentHeaders,
    NotAuthorized,
    NotImplementedHere,
    Outcome,
    PeerLost,
    RemoteProtocolError,
    RequestTimeout,
    RouteNotFound,
    Stalled,
    TakenOver,
    UnknownNode,
    UnsupportedMessage,
    UpgradeRefused,
    outcome_of,
    public_text,
)

# ARCHITECTURE section 6, row by row: status before 101, close code after it, level.
TABLE: list[tuple[type[GatewayError], int | None, int | None, str]] = [
    (RemoteProtocolError, 400, 1002, "info"),
    (UpgradeRefused, 400, 1002, "info"),
    (MethodRefused, 405, None, "info"),
    (NotImplementedHere, 501, None, "info"),
    (UnsupportedMessage, None, 1003, "info"),
    (MessageTooBig, 413, 1009, "warning"),
    (BodyTooBig, 413, 1009, "warning"),
    (MissingAgentHeaders, 400, None, "info"),
    (UnknownNode, 400, None, "warning"),
    (NotAuthorized, 403, 1008, "warning"),
    (LockedOut, 403, 1008, "warning"),
    (Blocked, 403, 1008, "warning"),
    (Kicked, None, 1008, "warning"),
    (CredentialsUnavailable, 503, 1011, "error"),
    (AlreadyConnected, 400, None, "warning"),
    (TakenOver, None, 1008, "warning"),
    (RouteNotFound, 404, None, "info"),
    (HostNotServed, 421, None, "info"),
    (RequestTimeout, 408, None, "info"),
    (LimitExceeded, 503, 1013, "info"),
    (Draining, 503, 1012, "info"),
    (ControllerUnreachable, 502, 1011, "error"),
    (ControllerTimeout, 504, 1011, "error"),
    (ControllerRefused, 400, None, "warning"),
    (IdentityMismatch, 502, None, "error"),
    (ControllerClosed, None, 1000, "info"),
    (PeerLost, None, 1011, "warning"),
    (Stalled, None, 1011, "warning"),
    (ClientGone, 499, None, "info"),
]


def all_errors(base: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    """Yield every subclass in the package, all of which is imported first."""
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    pending = list(base.__subclasses__())
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if cls.__module__.startswith("gateway."):  # other tests have subclasses of their own
            yield cls


def test_every_error_has_a_row() -> None:
    """A subclass without one would fall to its parent's, or to 500, without anybody deciding so."""
    assert [cls.__name__ for cls in all_errors() if cls not in OUTCOMES] == []


def test_every_error_lives_in_one_place() -> None:
    assert {cls.__module__ for cls in all_errors()} == {errors.__name__}


def test_the_table_has_nothing_else() -> None:
    assert set(OUTCOMES) == {row[0] for row in TABLE} == set(all_errors())


@pytest.mark.parametrize(("cls", "status", "close_code", "level"), TABLE)
def test_rows(
    cls: type[GatewayError], status: int | None, close_code: int | None, level: str
) -> None:
    outcome = outcome_of(cls())
    assert (outcome.status, outcome.close_code, outcome.level) == (status, close_code, level)


@pytest.mark.parametrize("cls", [row[0] for row in TABLE])
def test_values_can_be_sent_and_logged(cls: type[GatewayError]) -> None:
    outcome = outcome_of(cls())
    assert outcome.status is None or 400 <= outcome.status <= 599
    assert outcome.close_code is None or 1000 <= outcome.close_code <= 1014
    assert outcome.status or outcome.close_code
    assert outcome.level in {"info", "warning", "error"}
    text = cls.default_public  # goes into a header
    assert text == text.strip()
    assert text.isascii()
    assert text.isprintable()
    assert cls is RemoteProtocolError or text != RemoteProtocolError.default_public
    assert text != GatewayError.default_public


def test_only_judged_secrets_are_answered_in_silence() -> None:
    """Nobody learns why, and LockedOut looks like NotAuthorized in every way."""
    silent = {cls for cls, outcome in OUTCOMES.items() if outcome.silent}
    assert silent == {NotAuthorized, LockedOut, Blocked}
    assert outcome_of(NotAuthorized()) == outcome_of(LockedOut())
    assert outcome_of(Blocked()) == outcome_of(NotAuthorized())
    assert public_text(Blocked()) == public_text(NotAuthorized())
    assert public_text(NotAuthorized()) == public_text(LockedOut())


def test_subclasses_inherit_their_parents_row() -> None:
    class Odd(NotAuthorized):
        pass

    assert outcome_of(Odd()) == OUTCOMES[NotAuthorized]


@pytest.mark.parametrize("status", [400, 414, 431, 501, 505])
@pytest.mark.parametrize("code", [1002, 1007])
def test_protocol_errors_bring_their_hints(status: int, code: int) -> None:
    error = RemoteProtocolError("x", status_hint=status, close_hint=code)
    assert outcome_of(error) == Outcome(status, code, "info")


def test_hints_do_not_override_a_row() -> None:
    assert outcome_of(MessageTooBig("x", status_hint=431, close_hint=1002)).close_code == 1009
    assert outcome_of(UnsupportedMessage(close_hint=1002)).close_code == 1003


def test_agents_wait_for_a_controller() -> None:
    """They wait at 503; anybody else is told 502."""
    assert outcome_of(ControllerUnreachable()).status == 502
    assert outcome_of(ControllerUnreachable(for_agents=True)) == Outcome(503, 1011, "error")


@pytest.mark.parametrize(
    "error",
    [ValueError("secret"), KeyError("secret"), AssertionError("secret"), OSError(5, "secret")],
)
def test_everything_else_is_an_internal_error(error: Exception) -> None:
    assert outcome_of(error) == Outcome(500, 1011, "error")
    assert public_text(error) == "internal error"


def test_a_configuration_error_is_no_gateway_error() -> None:
    """It ends a start, not an exchange."""
    assert not issubclass(ConfigError, GatewayError)


def test_texts() -> None:
    error = UnknownNode(detail="Unknown client name: x")
    assert error.public == "no such agent"
    assert str(error) == "no such agent: Unknown client name: x"
    assert str(UnknownNode()) == "no such agent"
    assert str(UnknownNode("gone")) == public_text(UnknownNode("gone")) == "gone"
    assert public_text(error) == "no such agent", "the detail is for the log"
    assert ControllerRefused("").public == "", "an empty reason is a reason"


def test_jenkins_own_sentences() -> None:
    """Agents' operators know them, and search for them (PROTOCOLS A.3)."""
    assert (
        MissingAgentHeaders().public
        == "This endpoint is only for use from agent.jar in WebSocket mode"
    )
    assert UnknownNode().public == "no such agent"
    assert UpgradeRefused().public == "did not manage to upgrade"
