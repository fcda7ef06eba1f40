"""What proxies do to requests besides passing them on: paths, sizes of heads, forwarded headers.

Owns: ``%2F`` kept, decoded or refused; the largest head that comes through; whether Jenkins sees
the address that people use (its own "reverse proxy setup" test, PROTOCOLS I.2).

Must not know: agents' sessions.

None of it needs an account. Where Jenkins' self-test is for its users alone, a redirect shows the
same: Jenkins writes its own idea of its address into ``Location``.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

from gateway.demo.agent_http import Answer
from gateway.doctor import answers
from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.client import Headers, Unanswered, basic, get
from gateway.doctor.findings import Finding, error, warning
from gateway.doctor.remedies import FORWARDED, HEADER_SIZES, RAW_PATHS

_MONITOR: Final = "administrativeMonitor/hudson.diagnosis.ReverseProxySetupMonitor"
_MOST_TEXT: Final = 64 * 1024  # characters of a page that are searched
_VERSUS: Final = re.compile(r"(https?://[^\s<>\"]{1,1000}) vs\. ([^\s<>\"]{0,2000})")
# Jenkins' own limit is 8192 bytes for the whole head; proxies on the way add some.
_JENKINS_LIMIT: Final = 8192
_TRIED: Final = 7168
_SMALLEST: Final = 256
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


async def check_slashes(case: Case) -> list[Finding]:
    """Find out whether ``%2F`` in a path arrives as it was sent."""
    question, known = case.question, case.discovery
    if known is not None and known.status == 200:
        path = f"{question.target.path}tcpSlaveAgentListener%2F"
        answer = await get(question, path, address=case.address)
        if answer.status == 200 and answer.header("X-Jenkins-JNLP-Port") is not None:
            case.note("decoded on the way")
            return [decoded(f"GET {path} was answered like tcpSlaveAgentListener/")]
    path = f"{question.target.path}login%2F"
    answer = await get(question, path, address=case.address)
    if answer.status == 200 and answers.by_jenkins(answer):
        case.note("decoded on the way")
        return [decoded(f"GET {path} was answered like login/")]
    return await _refused(case)


def decoded(evidence: str) -> Finding:
    """Return the finding for a proxy that decodes paths."""
    return warning(
        Cause.SLASH_DECODED,
        "a proxy in front decodes %2F in paths",
        seen=evidence,
        meaning='Branch jobs such as feature%2Fx are 404, and Jenkins says "It appears that your'
        ' reverse proxy set up is broken".',
        remedy="Let the proxy pass on the path as it came.",
        settings=RAW_PATHS,
    )


async def _refused(case: Case) -> list[Finding]:
    """Compare two pages that nobody has: one with ``%2F`` in its name, one without."""
    question = case.question
    base = f"{question.target.path}remoting-gateway"
    plain = await get(question, f"{base}-doctor", address=case.address)
    coded = await get(question, f"{base}%2Fdoctor", address=case.address)
    if answers.gateway_error(plain) or answers.gateway_error(coded):
        case.note("the route does not show such pages")
        return []
    if _kind(plain) == _kind(coded):
        case.note("%2F arrives as it was sent")
        return []
    case.note(f"refused on the way: {coded.status}")
    return [
        warning(
            Cause.SLASH_REFUSED,
            "a proxy in front refuses %2F in paths",
            seen=(
                answers.status_line(plain, f"GET {base}-doctor"),
                answers.status_line(coded, f"GET {base}%2Fdoctor"),
            ),
            meaning="Branch jobs such as feature%2Fx cannot be opened.",
            remedy="Let the proxy pass on the path as it came.",
            settings=RAW_PATHS,
        )
    ]


def _kind(answer: Answer) -> tuple[object, ...]:
    media = (answer.header("Content-Type") or "").partition(";")[0].strip()
    return answer.status, media, answers.by_jenkins(answer)


# -- sizes -----------------------------------------------------------------------------------------


async def check_header_limit(case: Case) -> list[Finding]:
    """Find the largest request head that comes through, up to a little less than Jenkins' limit."""
    expected = await _with_padding(case, 0)
    big = await _with_padding(case, _TRIED)
    if big.status == expected.status:
        case.note(f"{_TRIED} bytes come through")
        return []
    good, bad = _SMALLEST, _TRIED
    while bad - good > 128:
        middle = (good + bad) // 2
        answer = await _with_padding(case, middle)
        good, bad = (middle, bad) if answer.status == expected.status else (good, middle)
    case.note(f"heads above some {good} bytes are refused")
    return [
        warning(
            Cause.HEADER_LIMIT,
            f"request headers above {good / 1024:.1f} KiB are refused on the way",
            seen=(
                answers.status_line(big, f"a head of {_TRIED} bytes"),
                answers.words_of(big, 160),
            ),
            meaning=f"Jenkins itself takes {_JENKINS_LIMIT} bytes. People with large cookies (SSO)"
            " and tokens are refused with 400 or 431; agents' requests are small.",
            remedy="Raise the limit of the proxy in front to 16 KiB.",
            settings=HEADER_SIZES,
        )
    ]


async def _with_padding(case: Case, size: int) -> Answer:
    """Ask for the login page with a head of about ``size`` bytes."""
    path = f"{case.question.target.path}login"
    more = [("X-Doctor-Padding", "p" * (size - 200))] if size > 200 else []
    try:
        return await get(case.question, path, more, case.address)
    except Unanswered as problem:
        if not size:
            raise
        return Answer(0, f"no answer: {problem}", ())


# -- forwarded headers -----------------------------------------------------------------------------


async def check_forwarded(case: Case) -> list[Finding]:
    """Find out which address Jenkins believes to have been asked by."""
    truth = await _seen_address(case)
    if truth is None:
        case.note("Jenkins does not show it to strangers (--user and --token-file may help)")
        return []
    inferred, how = truth
    wanted = case.question.url
    if _normal(inferred) == _normal(wanted):
        case.note(f"Jenkins sees {answers.printable(inferred)}")
        return await _doubled(case)
    if not inferred:
        case.note("the path of the self-test did not arrive whole")
        return [decoded(how)]
    case.note(f"Jenkins sees {answers.printable(inferred)}, not {wanted}")
    return [_wrong(case, inferred, how)]


async def _seen_address(case: Case, headers: Headers = ()) -> tuple[str, str] | None:
    """Return the root URL that Jenkins infers, and how that shows; None where it does not.

    An empty URL: the page's address in the path did not arrive whole.
    """
    question = case.question
    page = f"{question.url}manage/"
    path = f"{question.target.path}{_MONITOR}/testForReverseProxySetup/{quote(page, safe='')}/"
    more = [*basic(question), ("Referer", page), *headers]
    answer = await get(question, path, more, case.address)
    if answer.status == 200 and (answers.by_jenkins(answer) or not answer.body):
        return question.url, "Jenkins' self-test passes"
    versus = _VERSUS.search(answers.text_of(answer)[:_MOST_TEXT]) if answer.status == 404 else None
    if versus is not None:
        how = f"Jenkins' self-test: {answers.printable(versus[0], 400)}"
        whole = page.startswith(versus[2].rstrip("/")) and len(versus[2]) >= len(question.url)
        return (versus[1].removesuffix("manage") if whole else ""), how
    answer = await get(
        question, f"{question.target.path}tcpSlaveAgentListener", headers, case.address
    )
    location = answer.header("Location") or ""
    if 300 <= answer.status < 400 and location.endswith("tcpSlaveAgentListener/"):
        if not location.startswith(("http://", "https://")):
            return None
        return location.removesuffix("tcpSlaveAgentListener/"), f"Location: {location}"
    return None


def _normal(url: str) -> tuple[str, str, int, str]:
    """Return what two spellings of one address have in common."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:  # a port that is none, such as "443, 8080"
        return (url, "", 0, "")
    return parts.scheme, (parts.hostname or "").lower(), port, parts.path.rstrip("/")


def _wrong(case: Case, inferred: str, how: str) -> Finding:
    ours, theirs = _normal(case.question.url), _normal(inferred)
    if "," in inferred:
        title, what = "a forwarded header arrives twice", "a list where one value belongs"
    elif ours[0] != theirs[0]:
        title = "X-Forwarded-Proto does not reach Jenkins"
        what = f"{theirs[0]}, where people use {ours[0]}"
    elif ours[1] != theirs[1]:
        title = "the Host that people use does not reach Jenkins"
        what = f"the host {theirs[1]}"
    else:
        title = "the port that people use does not reach Jenkins"
        what = f"port {theirs[2]}"
    return error(
        Cause.FORWARDED_WRONG,
        title,
        seen=(how, f"Jenkins believes to be asked as {answers.printable(inferred)}: {what}"),
        meaning='Redirects and links lead astray, the CLI may be refused ("Unexpected request'
        ' origin"), and Jenkins says that the reverse proxy set up is broken.',
        remedy="Have the proxy that ends TLS set X-Forwarded-Proto and pass Host on, and have what"
        " is behind it believe that proxy.",
        settings=FORWARDED,
    )


async def _doubled(case: Case) -> list[Finding]:
    """Lie about the scheme: where the proxy adds its word to ours, ours is believed."""
    if not case.question.is_https:
        return []
    found = await _seen_address(case, [("X-Forwarded-Proto", "http")])
    if found is None or _normal(found[0]) == _normal(case.question.url):
        return []
    return [
        warning(
            Cause.FORWARDED_DOUBLED,
            "X-Forwarded-Proto is added, not set: what clients send arrives as well",
            seen=("a request with X-Forwarded-Proto: http of our own", found[1]),
            meaning="Jenkins believes the first of several values, so any client, or a proxy before"
            " this one, decides what Jenkins takes for its address.",
            remedy="Have the outermost proxy set these headers, replacing what came.",
            settings=FORWARDED,
        )
    ]
