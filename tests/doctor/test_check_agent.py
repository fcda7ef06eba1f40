from __future__ import annotations

import pytest

from gateway.config.values import Secret
from gateway.demo.agent_http import Answer, Target
from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.check_agent import capability_lost, check_endpoint, judge
from gateway.doctor.question import Question
from tests.doctor.conftest import Asking
from tests.peers.raw_origin import answering
from tests.peers.ws_controller import CAPABILITY

SECRET = "5ec7e7" * 10
QUESTION = Question(Target("https", "ci.example.com", 443, "/"), "a", Secret(SECRET))


def refusal(status: int, body: str = "", **fields: str) -> Answer:
    headers = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return Answer(status, "-", headers, body.encode())


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (refusal(400, "<p>only WS connections accepted here</p>"), Cause.UPGRADE_STRIPPED),
        (refusal(400, "did not manage to upgrade"), Cause.UPGRADE_STRIPPED),
        (refusal(400, X_Gateway_Error="only WS connections accepted here"), Cause.UPGRADE_STRIPPED),
        (refusal(200, "<title>Dashboard [Jenkins]"), Cause.NOT_JENKINS),
        (refusal(200, '<input type="password">'), Cause.SSO),
        (refusal(302, Location="https://idp.example.com/authorize"), Cause.SSO),
        (refusal(301, Location="https://ci.example.com/x/wsagents/"), Cause.REDIRECT_ELSEWHERE),
        (refusal(401), Cause.SSO),
        (refusal(400, "no such agent"), Cause.UNKNOWN_NODE),
        (refusal(403), Cause.WRONG_SECRET),
        (refusal(403, X_Gateway_Error="not authorized"), Cause.WRONG_SECRET),
        (refusal(403, "<h1>Request blocked</h1>"), Cause.FORBIDDEN_IN_FRONT),
        (
            refusal(400, "a is already connected to this controller. Rejecting this connection."),
            Cause.ALREADY_CONNECTED,
        ),
        # Before 2.511 Jenkins says it so.
        (refusal(500, "a is already connected to this master."), Cause.ALREADY_CONNECTED),
        (refusal(400, "a is not an inbound agent"), Cause.NOT_INBOUND),
        (refusal(400, "a is not a JNLP agent"), Cause.NOT_INBOUND),
        (
            refusal(400, "This endpoint is only for use from agent.jar in WebSocket mode"),
            Cause.AGENT_HEADERS_STRIPPED,
        ),
        (refusal(404), Cause.NO_WEBSOCKET_ENDPOINT),
        (refusal(500, "java.lang.NullPointerException"), Cause.CONTROLLER_ERROR),
        (refusal(400, "No listeners interested in connection"), Cause.REFUSED),
        (refusal(502), Cause.CONTROLLER_DOWN),
    ],
)
def test_refusals_are_told_apart(answer: Answer, cause: Cause) -> None:
    found = judge(Case(question=QUESTION), answer, "GET /wsagents/")
    assert found.cause is cause
    assert found.remedy
    assert SECRET not in repr(found)


def test_a_gateway_has_more_reasons_for_403() -> None:
    answer = refusal(403, X_Gateway_Error="not authorized")
    assert "its log says which" in judge(Case(question=QUESTION), answer, "x").meaning


def test_a_capability_that_is_lost() -> None:
    assert capability_lost(refusal(101, X_Remoting_Capability=CAPABILITY)) is None
    for answer in (refusal(101), refusal(101, X_Remoting_Capability="rO0")):
        found = capability_lost(answer)
        assert found is not None
        assert found.cause is Cause.CAPABILITY_LOST


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Cause.NO_WEBSOCKET_ENDPOINT),
        (
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 28\r\n\r\nonly for use from agent.jar.",
            None,
        ),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", None),
    ],
)
async def test_the_endpoint_is_looked_for_without_a_name(
    asking: Asking, answer: bytes, cause: Cause | None
) -> None:
    async with asking(answering(answer)) as case:
        found = await check_endpoint(case)
    assert [each.cause for each in found] == ([] if cause is None else [cause])
