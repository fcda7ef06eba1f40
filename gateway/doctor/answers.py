"""What an HTTP answer gives away: who wrote it, and whether it is a login page, a redirect, a wait.

Owns: reading answers, and the findings that are the same wherever such an answer comes.

Must not know: requests, connections.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin, urlsplit

from gateway.demo.agent_http import Answer
from gateway.doctor.causes import Cause
from gateway.doctor.findings import Finding, Setting, error
from gateway.doctor.question import Question
from gateway.doctor.remedies import AGENT, APACHE, GATEWAY, HAPROXY, JENKINS, NGINX, NO_SSO

_STARTING: Final = ("getting ready to work", "jenkins is restarting", "is starting up")
_SSO_PATH: Final = re.compile(
    r"oauth|openid|oidc|saml|authorize|sso\b|signin|sign_in|adfs|/cas/|/auth/|login|idp", re.I
)
_TAGS: Final = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.S | re.I)
_PASSWORD: Final = re.compile(
    r"type=[\"']?password|<form[^>]{1,500}(saml|login|signin|oauth)", re.I
)
# Only Jenkins' own login page has these; its name alone is also in a portal's "you wanted to see".
_JENKINS_PAGE: Final = re.compile(
    rb"data-rooturl=|j_(spring|acegi)_security_check|<title>[^<]{0,100}jenkins", re.I
)
# What is read of a page: the patterns take a time that grows with the square of it.
_MOST_TEXT: Final = 16 * 1024  # characters


def gateway_error(answer: Answer) -> str | None:
    """Return what this gateway says of a refusal, or None where it is not its own."""
    return answer.header("X-Gateway-Error")


def text_of(answer: Answer) -> str:
    """Return everything an answer says in words, headers made for that included."""
    body = answer.body.decode("utf-8", "replace")
    said = (answer.header("X-Gateway-Error"), answer.header("X-CLI-Error"), body)
    return "\n".join(each for each in said if each)


def words_of(answer: Answer, most: int = 200) -> str:
    """Return the beginning of what an answer says, without the tags of a page."""
    text = " ".join(_TAGS.sub(" ", text_of(answer)[:_MOST_TEXT]).split())
    return printable(text, most) or "nothing"


def by_jenkins(answer: Answer) -> bool:
    """Say whether Jenkins wrote an answer, as far as that shows."""
    return answer.header("X-Jenkins") is not None or answer.header("X-Hudson") is not None


def status_line(answer: Answer, what: str) -> str:
    """Return the evidence of an answer: ``GET /login: 403 Forbidden (Server: nginx)``."""
    server = answer.header("Server")
    who = f" (Server: {printable(server)})" if server else ""
    said = gateway_error(answer)
    more = f", X-Gateway-Error: {printable(said, 400)}" if said else ""
    return f"{what}: {answer.status} {printable(answer.reason)}".rstrip() + who + more


def printable(text: str, most: int = 200) -> str:
    """Return a stranger's text in a form that cannot drive a terminal."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= most else f"{shown[:most]}..."


def is_starting(answer: Answer) -> bool:
    """Say whether this is Jenkins' page for while it starts."""
    return answer.status == 503 and any(each in text_of(answer).lower() for each in _STARTING)


def shows_jenkins(answer: Answer) -> bool:
    """Say whether a page is Jenkins' own, where a proxy dropped its headers."""
    return bool(_JENKINS_PAGE.search(answer.body))


def is_login_page(answer: Answer) -> bool:
    """Say whether an answer with status 200 is somebody else's login page."""
    return not by_jenkins(answer) and bool(_PASSWORD.search(text_of(answer)))


def starting(evidence: str) -> Finding:
    """Return the finding for a controller that is not up yet."""
    return error(
        Cause.CONTROLLER_STARTING,
        "Jenkins is starting",
        seen=(evidence, '"Please wait while Jenkins is getting ready to work"'),
        meaning="The path is fine as far as Jenkins; agents wait at /login and come by themselves.",
        remedy="Wait until Jenkins is up. If it takes longer than usual, read its log.",
        settings=(Setting(JENKINS, "journalctl -u jenkins -f, or kubectl logs -f POD"),),
    )


def redirected(question: Question, answer: Answer, what: str) -> Finding:
    """Return the finding for a redirect where an agent needs an answer."""
    location = answer.header("Location") or ""
    there = urlsplit(urljoin(question.url, location))
    evidence = f"{status_line(answer, what)}, Location: {printable(location)}"
    same_host = there.hostname == question.target.host
    if same_host and there.scheme == "https" and question.target.scheme == "http":
        return _to_https(f"https://{printable(there.netloc)}{question.target.path}", evidence)
    prefix = re.fullmatch(r"(/.*?)/?login/?", there.path)
    if same_host and prefix is not None and not _SSO_PATH.search(prefix[1]):
        path = prefix[1].rstrip("/") + "/"
        if path != question.target.path:
            return wrong_prefix(question, path, evidence)
    if _SSO_PATH.search(there.path) or _SSO_PATH.search(there.hostname or ""):
        return sso(evidence)
    better = f"{there.scheme}://{there.netloc}/"
    return error(
        Cause.REDIRECT_ELSEWHERE,
        f"{what} leads elsewhere",
        seen=evidence,
        meaning="Agents follow no redirect on /wsagents/, so they never get to Jenkins.",
        remedy=f"Give agents the address itself in -url, perhaps {better}",
        settings=(Setting(AGENT, f"-url {better}"),),
    )


def _to_https(better: str, evidence: str) -> Finding:
    return error(
        Cause.REDIRECT_TO_HTTPS,
        "http is redirected to https, which agents do not follow",
        seen=evidence,
        meaning="Java never follows from http to https: the agent sees a 301 instead of 200 and"
        " tries again for ever.",
        remedy=f"Start agents with -url {better}",
        settings=(
            Setting(AGENT, f"-url {better}"),
            Setting(JENKINS, f"Manage Jenkins > System > Jenkins URL: {better}"),
        ),
    )


def sso(*evidence: str) -> Finding:
    """Return the finding for a login that stands before Jenkins' own."""
    return error(
        Cause.SSO,
        "a login page (SSO) in front answers instead of Jenkins",
        seen=evidence,
        meaning="Agents have no browser and no cookies: they cannot log in there, and they cannot"
        " show their secret to Jenkins either.",
        remedy="Let the agents' paths through without that login.",
        settings=NO_SSO,
    )


def wrong_prefix(question: Question, path: str | None, *evidence: str) -> Finding:
    """Return the finding for a context path that is not Jenkins'; ``path`` is the right one."""
    if path is None:
        return error(
            Cause.WRONG_PREFIX,
            f"there is no Jenkins at {question.target.path}",
            seen=evidence,
            meaning="The path in -url is not Jenkins' context path (--prefix), or the proxy does"
            " not pass it on unchanged.",
            remedy="Open Jenkins in a browser and use its address, down to the prefix, in -url.",
            settings=_PREFIX,
        )
    better = f"{question.origin}{path}"
    return error(
        Cause.WRONG_PREFIX,
        f"Jenkins is at {path}, not at {question.target.path}",
        seen=evidence,
        meaning="The path in -url is not Jenkins' context path (--prefix).",
        remedy=f"Start agents with -url {better}",
        settings=(Setting(AGENT, f"-url {better}"), *_PREFIX),
    )


_PREFIX: Final = (
    Setting(JENKINS, "--prefix=/PATH must be the path that people see: it cannot be rewritten"),
    Setting(NGINX, "location /PATH/ { proxy_pass http://BACKEND; }  (no path after BACKEND)"),
    Setting(HAPROXY, "no http-request replace-path"),
    Setting(APACHE, "ProxyPass /PATH http://BACKEND/PATH"),
    Setting(GATEWAY, "controllers: {NAME: {url: http://BACKEND/PATH/}}"),
)


def by_status(question: Question, answer: Answer, what: str) -> Finding | None:
    """Return the finding that a status alone brings about, wherever it comes; else None."""
    evidence = status_line(answer, what)
    said = gateway_error(answer) or ""
    if is_starting(answer):
        return starting(evidence)
    if answer.status in (301, 302, 303, 307, 308):
        return redirected(question, answer, what)
    if answer.status == 401:
        wanted = printable(answer.header("WWW-Authenticate") or "nothing named")
        return sso(f"{evidence}, WWW-Authenticate: {wanted}")
    if "use https" in said:
        return error(
            Cause.USE_HTTPS,
            "the gateway serves agents over https only",
            seen=evidence,
            meaning="A secret would cross the network in clear text.",
            remedy="Use https:// in -url. If a proxy in front ends TLS, believe it.",
            settings=(
                Setting(GATEWAY, "trusted_proxies: [NETWORK OF THE PROXY IN FRONT]"),
                Setting(NGINX, "proxy_set_header X-Forwarded-Proto $scheme;"),
                Setting(HAPROXY, "http-request set-header X-Forwarded-Proto https if { ssl_fc }"),
            ),
        )
    if answer.status == 421 or "host is not served" in said:
        return error(
            Cause.HOST_NOT_SERVED,
            f"the gateway has no route for the host {question.target.host_header}",
            seen=evidence,
            meaning="No route of the gateway has this host, or a proxy in front changes Host.",
            remedy=f"Add a route with host: {question.target.host}, or mend the name in -url.",
            settings=(
                Setting(
                    GATEWAY,
                    f"routes: [{{id: ..., host: {question.target.host}, controller: ...}}]",
                ),
                Setting(NGINX, "proxy_set_header Host $http_host;"),
                Setting(APACHE, "ProxyPreserveHost On"),
            ),
        )
    if (
        answer.status in (400, 431, 494)
        and "header" in text_of(answer).lower()
        and ("too large" in text_of(answer).lower())
    ):
        return None
    if answer.status in (500, 502, 503, 504):
        return _by_server_error(answer, evidence, said)
    return None


def _by_server_error(answer: Answer, evidence: str, said: str) -> Finding | None:
    if "identity" in said:
        return identity_mismatch(evidence)
    if "not ready for agents" in said or "cannot be used" in said:
        return error(
            Cause.GATEWAY_NOT_READY,
            "the gateway finds no way to the controller",
            seen=evidence,
            meaning="Nothing usable listens at the controller: its TCP agent port is disabled or"
            " out of reach, and it has no /wsagents/. Agents wait at /login.",
            remedy="On the gateway's machine: remoting-gateway doctor -c gateway.yaml",
        )
    if said:
        return error(
            Cause.GATEWAY_NOT_READY,
            f"the gateway refuses for now: {printable(said)}",
            seen=evidence,
            meaning="Agents come again by themselves.",
            remedy="On the gateway's machine: remoting-gateway doctor -c gateway.yaml",
        )
    if answer.status == 500:
        return error(
            Cause.CONTROLLER_ERROR,
            "Jenkins fails over the request",
            seen=(evidence, words_of(answer)),
            meaning="An exception in Jenkins or in a plugin.",
            remedy="Look for the exception in Jenkins' log, at this minute.",
        )
    return error(
        Cause.CONTROLLER_DOWN,
        "the proxy in front does not reach Jenkins",
        seen=evidence,
        meaning="The proxy is there, and what is behind it is not: stopped, restarting, or at"
        " another address than the proxy believes.",
        remedy="Start Jenkins, or mend the address that the proxy has for it.",
        settings=(
            Setting(NGINX, "proxy_pass; error.log says `connect() failed` and to where"),
            Setting(HAPROXY, "server; the log says <NOSRV> or a SC state"),
            Setting(APACHE, "ProxyPass; error_log says AH01114"),
        ),
    )


def identity_mismatch(*evidence: str) -> Finding:
    """Return the finding for a controller whose key is not the one it should have."""
    return error(
        Cause.IDENTITY_MISMATCH,
        "the agent port shows another key than Jenkins publishes or the gateway pinned",
        seen=evidence,
        meaning="Either Jenkins has got a new identity (restored, moved), or somebody else listens"
        " at its agent port. No secret was sent there.",
        remedy="Find out which: compare with X-Instance-Identity as Jenkins' own machine shows it."
        " If the new key is right, accept it.",
        settings=(
            Setting(GATEWAY, "remoting-gateway identity accept CONTROLLER"),
            Setting(
                JENKINS,
                "curl -sI http://localhost:8080/tcpSlaveAgentListener/ | grep -i identity",
            ),
            Setting("network", "X-Jenkins-JNLP-Port must lead to this Jenkins and to no other"),
        ),
    )
