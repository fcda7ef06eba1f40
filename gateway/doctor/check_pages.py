"""The pages that agents ask for first: /login, which must be 200 and Jenkins', and the clock in it.

Owns: an agent's probe (a bare Java client), the second look as a browser where it fails, and the
search for the right prefix.

Must not know: /wsagents/, secrets.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urljoin, urlsplit

import trio

from gateway.demo.agent_http import Answer, Target, login_request
from gateway.doctor import answers
from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.check_tls import client_certificate
from gateway.doctor.client import Unanswered, get, send
from gateway.doctor.findings import Finding, Setting, error, warning
from gateway.doctor.remedies import AGENT, FORWARDED, GATEWAY

_SKEW: Final = 300.0  # seconds: below it nothing that agents do depends on the time
_JAVA: Final = "Java/17.0.15"
_MOST_REDIRECTS: Final = 5
# Of the addresses of a name, how many are asked.
_PLACES: Final = 4
_PREFIXES: Final = ("/jenkins/", "/ci/", "/")
_READY: Final = b"ready for agents"
_AGENT_PORT: Final = b"Jenkins-Agent-Protocols:"  # PROTOCOLS B.2


async def check_login(case: Case) -> list[Finding]:
    """Ask as agents do before every connection: anything but 200 and they never go on."""
    question = case.question
    what = f"GET {question.target.path}login"
    begun = trio.current_time()
    try:
        answer = await send(question, login_request(question.target), case.address)
    except Unanswered as problem:
        case.note(f"{what}: {problem}")
        return [_unanswered(case, problem, what)]
    case.login, case.login_at = answer, datetime.now(UTC)
    case.login_took = trio.current_time() - begun
    case.note(_summary(answer))
    if 300 <= answer.status < 400 and _is_followed(case, answer):
        return await _follow(case, answer, what)
    if answer.status != 200:
        return [await _refused(case, answer, what)]
    ours = answer.body.startswith(_READY) or answers.by_jenkins(answer)
    if not ours and answers.is_login_page(answer):
        return [answers.sso(f"{what}: 200, but it is a login page without X-Jenkins")]
    # A proxy may drop Jenkins' headers; agents do not need them here.
    if ours or answers.shows_jenkins(answer):
        case.is_ready = True
        return await _elsewhere(case)
    return [
        error(
            Cause.NOT_JENKINS,
            "what answers is not Jenkins",
            seen=(
                f"{answers.status_line(answer, what)}, without X-Jenkins",
                f"the page says: {answers.words_of(answer)}",
            ),
            meaning="An agent believes the 200 and then fails at /wsagents/. Perhaps a portal that"
            " wants a login or consent, a page for maintenance, or another program.",
            remedy="Mend the host or path in -url, or the rule of the proxy that leads here; if the"
            " page is a portal's, let this machine through it.",
        )
    ]


async def _elsewhere(case: Case) -> list[Finding]:
    """Ask at the other addresses of the name, too: one that answers otherwise is hard to find."""
    other = []
    for address in case.addresses[1:_PLACES]:
        try:
            answer = await send(case.question, login_request(case.question.target), address)
        except Unanswered as problem:
            other.append(f"{address[0]}: {problem}")
        else:
            if answer.status != 200:
                other.append(answers.status_line(answer, f"{address[0]}: GET /login"))
    if not other:
        return []
    return [
        warning(
            Cause.ADDRESS_DOWN,
            "not all addresses of the name are ready for agents",
            seen=other,
            meaning="An agent that picks the bad one waits and tries again: now and then it takes"
            " long to connect.",
            remedy="Take that address out of DNS, or mend what is behind it.",
        )
    ]


def _is_followed(case: Case, answer: Answer) -> bool:
    """Say whether Java gets on by following: Jenkins itself leads on, or only a slash is added."""
    there = _location(case, answer)
    if there is None or there.scheme != case.question.target.scheme:
        return False
    own = there.path.rstrip("/") == f"{case.question.target.path}login"
    return answers.by_jenkins(answer) or (own and there.host == case.question.target.host)


def _location(case: Case, answer: Answer) -> Target | None:
    """Return where an answer leads to; the path is whole, and so is no prefix."""
    there = urljoin(case.question.url_of("login"), answer.header("Location") or "")
    try:
        parsed = Target.parse(there)
    except ValueError:
        return None
    parts = urlsplit(there)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return replace(parsed, path=path or "/")


async def _follow(case: Case, answer: Answer, what: str) -> list[Finding]:
    """Follow redirects as ``HttpURLConnection`` does: within one scheme, wherever they lead.

    Jenkins with a plug-in for SSO sends /login on to the provider; agents are content with the 200
    that they get there.
    """
    evidence = [answers.status_line(answer, what)]
    for _ in range(_MOST_REDIRECTS):
        there = _location(case, answer)
        if there is None or there.scheme != case.question.target.scheme:
            break
        evidence.append(f"leads to {answers.printable(there.host_header + there.path)}")
        same = (there.host, there.port) == (case.question.target.host, case.question.target.port)
        question = replace(case.question, target=there, connect_to=None, node=None, secret=None)
        try:
            answer = await get(
                question, there.path, [("User-Agent", _JAVA)], case.address if same else None
            )
        except Unanswered as problem:
            evidence.append(str(problem))
            break
        evidence.append(f"{answer.status} there")
        if answer.status == 200:
            case.is_ready = True
            case.note("200, where Jenkins' own login leads to")
            return []
        if not 300 <= answer.status < 400:
            break
        if same and urlsplit(there.path).path == urlsplit(case.question.url_of("login")).path:
            return [_endless(evidence)]
    return [answers.sso(*evidence)]


def _endless(evidence: list[str]) -> Finding:
    return error(
        Cause.REDIRECT_ELSEWHERE,
        "/login is redirected to itself, again and again",
        seen=evidence,
        meaning="Java gives up after 20 redirects: the agent never sees a 200.",
        remedy="Find out who redirects: often a proxy behind another one that ends TLS takes every"
        " request for http, for want of X-Forwarded-Proto.",
        settings=FORWARDED,
    )


def _summary(answer: Answer) -> str:
    version = answer.header("X-Jenkins")
    if version is not None:
        return f"{answer.status}, Jenkins {answers.printable(version)}"
    if answer.body.startswith(_READY):
        return f"{answer.status}: the gateway is ready for agents"
    return answers.status_line(answer, "/login")


def _unanswered(case: Case, problem: Unanswered, what: str) -> Finding:
    port = case.question.target.port
    if problem.tls and "ertificate" in str(problem).lower():
        return client_certificate(f"{what}: {problem}")
    if not problem.http or (not case.question.is_https and problem.tls):
        return error(
            Cause.NOT_HTTP,
            f"port {port} does not speak HTTP",
            seen=f"{what}: {problem}",
            meaning="Something else listens there: TLS, where -url says http, or the TCP agent"
            " port.",
            remedy="Use https:// in -url if that port speaks TLS; else mend the port.",
            settings=(Setting(AGENT, "-url https://...; the TCP agent port never goes into -url"),),
        )
    return error(
        Cause.NO_ANSWER,
        "the connection is made, and no answer comes",
        seen=f"{what}: {problem}",
        meaning="Something on the way accepts connections and does nothing with them: a balancer"
        " without a healthy backend, a proxy that wants the PROXY protocol, or a stuck process.",
        remedy="Look at the backend's health in the balancer, and whether both sides agree about"
        " the PROXY protocol.",
        settings=(
            Setting(GATEWAY, "listeners: [{proxy_protocol: required}] only behind what sends it"),
            Setting("HAProxy", "server ... send-proxy-v2, or without it, to fit the gateway"),
        ),
    )


async def _refused(case: Case, answer: Answer, what: str) -> Finding:
    question = case.question
    if answer.status in (502, 503, 504, 500) and not answers.is_starting(answer):
        page = await _as_browser(case)
        if page is not None and answers.is_starting(page):
            return answers.starting(answers.status_line(page, f"{what} as a browser"))
    if answer.status == 404:
        return await _not_found(case, answer, what)
    known = answers.by_status(question, answer, what)
    if known is not None:
        return known
    if answer.status == 403 and answers.gateway_error(answer) is not None:
        return _kept_out(answer, what)
    if answer.status == 403:
        return error(
            Cause.FORBIDDEN_IN_FRONT,
            "something in front of Jenkins forbids the way",
            seen=(answers.status_line(answer, what), answers.words_of(answer)),
            meaning="Jenkins shows /login to everybody, so this is a firewall (WAF), an address"
            " list, or a rule against unknown clients.",
            remedy="Allow this machine's address, and clients whose User-Agent is Java/...",
            settings=(
                Setting("nginx", "allow ADDRESS;  in the location that has deny"),
                Setting("WAF", "an exception for PREFIX/login and PREFIX/wsagents/"),
            ),
        )
    if answer.status == 400 and "no required ssl certificate" in answers.text_of(answer).lower():
        return client_certificate(f"{answers.status_line(answer, what)}: No required certificate")
    if answer.status == 400 and "https port" in answers.text_of(answer).lower():
        return error(
            Cause.NOT_HTTP,
            f"port {question.target.port} speaks TLS, and -url says http",
            seen=answers.status_line(answer, what),
            meaning="The proxy answers plain requests on its TLS port with 400.",
            remedy="Use https:// in -url.",
        )
    return error(
        Cause.NOT_JENKINS,
        f"/login is answered with {answer.status}, which Jenkins does not do",
        seen=(
            answers.status_line(answer, what),
            answers.words_of(answer, 200),
        ),
        meaning="An agent wants exactly 200 and waits until it comes.",
        remedy="Look for this request in the log of the proxy in front.",
    )


def _kept_out(answer: Answer, what: str) -> Finding:
    return error(
        Cause.FORBIDDEN_IN_FRONT,
        "the gateway does not let this address in",
        seen=answers.status_line(answer, what),
        meaning="allow_from of the route, or of agents or ui in its expose, does not hold the"
        " address that the gateway sees: this machine's, or that of a proxy it does not believe.",
        remedy="Add this machine's network to allow_from. If the gateway sees a proxy's address"
        " instead (its access log says which), add the proxy to trusted_proxies.",
        settings=(
            Setting(GATEWAY, "routes: [{..., allow_from: [NETWORK]}]"),
            Setting(GATEWAY, "routes: [{..., expose: [{set: agents, allow_from: [NETWORK]}]}]"),
            Setting(GATEWAY, "trusted_proxies: [NETWORK OF THE PROXY IN FRONT]"),
        ),
    )


def _not_routed(case: Case, evidence: str) -> Finding:
    path = case.question.target.path
    return error(
        Cause.WRONG_PREFIX,
        f"the gateway serves no agents at {path}",
        seen=evidence,
        meaning="The route for this host is for another path, or its expose leaves agents out.",
        remedy="Mend the path in -url, or add agents to the expose of the gateway's route.",
        settings=(
            Setting(
                GATEWAY,
                f"routes: [{{host: {case.question.target.host}, expose: [agents, ...], ...}}]",
            ),
            Setting(GATEWAY, "remoting-gateway check -c gateway.yaml shows each route's path"),
        ),
    )


async def _as_browser(case: Case) -> Answer | None:
    try:
        case.page = await get(
            case.question, f"{case.question.target.path}login", address=case.address
        )
    except Unanswered:
        return None
    return case.page


async def _not_found(case: Case, answer: Answer, what: str) -> Finding:
    """Look where Jenkins is: 404 is said by everything but Jenkins' own prefix."""
    question = case.question
    evidence = answers.status_line(answer, what)
    said = answers.gateway_error(answer) or ""
    if "host is not served" in said:
        known = answers.by_status(question, answer, what)
        assert known is not None
        return known
    front = await _front(case)
    if front is not None and _AGENT_PORT in front.body:
        return _agent_port(case, evidence)
    for path in _candidates(case, front):
        try:
            found = await get(question, f"{path}login", address=case.address)
        except Unanswered:
            continue
        if found.status == 200 and answers.by_jenkins(found):
            return answers.wrong_prefix(
                question, path, evidence, f"GET {path}login: 200, with X-Jenkins"
            )
    if said:
        return _not_routed(case, evidence)
    return answers.wrong_prefix(question, None, evidence)


async def _front(case: Case) -> Answer | None:
    try:
        return await get(case.question, "/", address=case.address)
    except Unanswered:
        return None


def _agent_port(case: Case, evidence: str) -> Finding:
    return error(
        Cause.NOT_HTTP,
        f"port {case.question.target.port} is Jenkins' TCP agent port, not its web address",
        seen=(evidence, "GET / there names Jenkins-Agent-Protocols, as only the agent port does"),
        meaning="Agents ask the web address in -url first, which tells them the agent port.",
        remedy="Open Jenkins in a browser and use its address in -url.",
        settings=(Setting(AGENT, "-url is for http or https; the agent port never goes into it"),),
    )


def _candidates(case: Case, front: Answer | None) -> list[str]:
    """Return paths where Jenkins may be, the likely ones first; ``front`` is the page at ``/``."""
    question = case.question
    found: list[str] = []
    location = None if front is None else front.header("Location")
    if location is not None:
        with suppress(ValueError):  # a stranger's, and no URL
            there = urlsplit(urljoin(f"{question.origin}/", location))
            if there.hostname == question.target.host:
                path = there.path.removesuffix("login")
                found.append(path if path.endswith("/") else f"{path}/")
    parts = question.target.path.strip("/").split("/")
    parents = ["/" + "".join(f"{part}/" for part in parts[:n]) for n in range(len(parts), -1, -1)]
    wanted = dict.fromkeys([*found, *parents, *_PREFIXES])
    return [path for path in wanted if path != question.target.path][:8]


async def check_clock(case: Case) -> list[Finding]:
    """Compare the clocks: certificates and signatures depend on them."""
    answer = case.login
    stated = None if answer is None else answer.header("Date")
    if stated is None:
        case.note("the answer has no Date")
        return []
    try:
        there = parsedate_to_datetime(stated)
    except (ValueError, OverflowError):
        case.note("the answer's Date cannot be read")
        return []
    here = case.login_at or datetime.now(UTC)
    there = there if there.tzinfo is not None else there.replace(tzinfo=UTC)
    skew = (there - here).total_seconds()
    case.note(f"{abs(skew):.0f} s apart")
    if abs(skew) < _SKEW:
        return []
    way = "behind" if skew > 0 else "ahead of"
    return [
        warning(
            Cause.CLOCK_SKEW,
            f"this machine's clock is {abs(skew) / 60:.0f} minutes {way} the server's",
            seen=f"Date: {answers.printable(stated)}; here it is {here:%a, %d %b %Y %H:%M:%S} GMT",
            meaning="Certificates look expired or not valid yet, and logs do not fit together.",
            remedy="Let both machines take their time from the same NTP servers (timedatectl).",
        )
    ]
