from __future__ import annotations

import pytest

from gateway.demo.agent_http import Answer, Target
from gateway.doctor import answers
from gateway.doctor.causes import Cause
from gateway.doctor.question import Question

HTTPS = Question(Target("https", "ci.example.com", 443, "/"))
HTTP = Question(Target("http", "ci.example.com", 80, "/"))


def answer(status: int, body: str = "", **fields: str) -> Answer:
    headers = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return Answer(status, "-", headers, body.encode())


@pytest.mark.parametrize(
    ("question", "location", "cause"),
    [
        (HTTP, "https://ci.example.com/login", Cause.REDIRECT_TO_HTTPS),
        (HTTPS, "https://sso.example.com/realms/x/protocol/openid-connect/auth", Cause.SSO),
        (HTTPS, "/oauth2/sign_in?rd=/login", Cause.SSO),
        (HTTPS, "https://login.microsoftonline.com/t/saml2", Cause.SSO),
        (HTTPS, "/jenkins/login", Cause.WRONG_PREFIX),
        (HTTPS, "https://www.example.com/", Cause.REDIRECT_ELSEWHERE),
        (HTTPS, "http://ci.example.com/", Cause.REDIRECT_ELSEWHERE),
    ],
)
def test_redirects_are_told_apart(question: Question, location: str, cause: Cause) -> None:
    found = answers.redirected(question, answer(302, Location=location), "GET /login")
    assert found.cause is cause
    assert location in found.seen[0]


def test_a_better_url_is_named() -> None:
    found = answers.redirected(HTTP, answer(301, Location="https://ci.example.com/login"), "x")
    assert found.remedy == "Start agents with -url https://ci.example.com/"
    found = answers.redirected(HTTPS, answer(302, Location="/jenkins/login"), "x")
    assert found.remedy == "Start agents with -url https://ci.example.com/jenkins/"


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (answer(503, "Please wait while Jenkins is getting ready"), None),
        (
            answer(503, "<p>Please wait while Jenkins is getting ready to work</p>"),
            Cause.CONTROLLER_STARTING,
        ),
        (answer(401, WWW_Authenticate='Basic realm="x"'), Cause.SSO),
        (answer(400, X_Gateway_Error="use https"), Cause.USE_HTTPS),
        (answer(421), Cause.HOST_NOT_SERVED),
        (answer(404, X_Gateway_Error="this host is not served here"), Cause.HOST_NOT_SERVED),
        (
            answer(502, X_Gateway_Error="the controller's identity is not the expected one"),
            Cause.IDENTITY_MISMATCH,
        ),
        (
            answer(503, X_Gateway_Error="the controller is not ready for agents"),
            Cause.GATEWAY_NOT_READY,
        ),
        (
            answer(503, X_Gateway_Error="too many connections, try again later"),
            Cause.GATEWAY_NOT_READY,
        ),
        (answer(502, "<h1>502 Bad Gateway</h1>", Server="nginx"), Cause.CONTROLLER_DOWN),
        (answer(504), Cause.CONTROLLER_DOWN),
        (answer(500, "java.lang.NullPointerException"), Cause.CONTROLLER_ERROR),
        (answer(418), None),
    ],
)
def test_a_status_has_its_cause(given: Answer, cause: Cause | None) -> None:
    found = answers.by_status(HTTPS, given, "GET /login")
    if given.status == 503 and cause is None:
        cause = Cause.CONTROLLER_DOWN  # not Jenkins' whole sentence
    assert (None if found is None else found.cause) is cause


def test_strangers_words_lose_control_characters() -> None:
    line = answers.status_line(answer(403, Server="x\x1b[2J"), "GET /")
    assert "\x1b" not in line
    assert len(answers.printable("x" * 1000)) < 250


def test_a_page_is_quoted_without_its_tags() -> None:
    page = "<html><style>b {}</style><h1>Request\n blocked</h1><p>\x1b[2Jid 7</p></html>"
    assert answers.words_of(answer(403, page)) == "Request blocked  [2Jid 7"
    assert answers.words_of(answer(403)) == "nothing"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer(200, '<form action="/saml/x"><input type="password">'), True),
        (answer(200, '<input type="password">', X_Jenkins="2.516"), False),
        (answer(200, "Sign in"), False),
    ],
)
def test_login_pages_of_others(given: Answer, expected: bool) -> None:
    assert answers.is_login_page(given) is expected
