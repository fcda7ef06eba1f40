"""/wsagents/ as an agent uses it: the upgrade, the refusals told apart, and what the 101 carries.

Owns: the upgrade request, what each answer means, and the judgement of a secret without a session.

Must not know: what happens in the session (``check_hold``).

Without a session. Jenkins judges name and secret before it looks for ``Upgrade`` (PROTOCOLS A.3),
so a request without that header is told 403 or ``no such agent``, or, with the right secret, that
only WebSockets are accepted: nobody is connected. This gateway looks for ``Upgrade`` first and
dials nobody without it; behind it the TCP agent port is asked, where a client may refuse after the
verdict. No cookie is ever sent, since one that fits would end the living session.
"""

from __future__ import annotations

from gateway.demo.agent_http import Answer, is_newer
from gateway.demo.wire import WireError, capability_mask
from gateway.doctor import answers, jnlp4
from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.check_port import agent_too_old, port_address
from gateway.doctor.client import Unanswered, dial, send
from gateway.doctor.findings import Finding, Setting, error, warning
from gateway.doctor.remedies import AGENT, APACHE, GATEWAY, HAPROXY, JENKINS, NGINX, UPGRADE
from gateway.doctor.websocket import agent_request, new_key, upgrade

_ONLY_WEBSOCKETS = ("only ws connections accepted here", "did not manage to upgrade")
_NOT_FOR_YOU = "only for use from agent.jar"
# From an agent's request to its answer: agent.jar gives up after 30 s.
HANDSHAKE = 30.0


async def check_endpoint(case: Case) -> list[Finding]:
    """Ask /wsagents/ without a name: whether it is there can be told without a secret."""
    what = f"GET {case.question.target.path}wsagents/"
    key = new_key()
    request = _without(agent_request(case.question, key, node="", secret=""))
    answer = await send(case.question, request, case.address, upgrade=True)
    case.note(f"{answer.status} {answers.printable(answer.reason)}".rstrip())
    if _NOT_FOR_YOU in answers.text_of(answer):
        case.note("there, and wants to know who asks")
        return []
    if answer.status == 400:
        return []  # Jenkins' sentence may be hidden behind a proxy's own error page
    return [judge(case, answer, what)] if answer.status != 101 else []


def _without(request: bytes) -> bytes:
    """Return a request without the fields that say who asks."""
    names = (b"node-name:", b"secret-key:", b"x-remoting-capability:")
    lines = [line for line in request.split(b"\r\n") if not line.lower().startswith(names)]
    return b"\r\n".join(lines)


async def check_upgrade(case: Case) -> list[Finding]:
    """Connect as the agent; the session stays open for the checks that follow."""
    question = case.question
    assert question.node is not None
    assert question.secret is not None
    key = new_key()
    request = agent_request(question, key, node=question.node, secret=question.secret.reveal())
    wire = await dial(question, case.address)
    socket = None
    try:
        found = await upgrade(question, request, key, wire, within=HANDSHAKE)
        answer = found.answer
        if answer.status == 101:
            socket = case.socket = found.open()
    except Unanswered as problem:
        case.note(str(problem))
        return [_no_answer(str(problem))]
    finally:
        if socket is None:
            wire.abandon()
    if answer.status != 101:
        case.note(f"{answer.status} {answers.printable(answer.reason)}".rstrip())
        return [judge(case, answer, f"GET {question.target.path}wsagents/")]
    case.note(_summary(answer))
    findings = [] if found.is_accepted else [_bad_accept()]
    lost = capability_lost(answer)
    return [*findings, *([] if lost is None else [lost]), *_minimum(case, answer)]


def _summary(answer: Answer) -> str:
    minimum = answer.header("X-Remoting-Minimum-Version")
    known = answer.header("X-Remoting-Capability") is not None
    parts = ["101: connected", "capability" if known else "NO capability"]
    if minimum is not None:
        parts.append(f"agents {answers.printable(minimum)} or newer")
    return ", ".join(parts)


def _no_answer(reason: str) -> Finding:
    return error(
        Cause.NO_ANSWER,
        "the agent's upgrade is not answered, though ordinary requests are",
        seen=f"GET wsagents/ with Upgrade: {reason}",
        meaning="Something in front drops requests that want to become a WebSocket, or what is"
        " behind the gateway says nothing at all.",
        remedy="Let the proxy or firewall in front (WAF, inspection of TLS) pass WebSockets.",
        settings=UPGRADE,
    )


def _bad_accept() -> Finding:
    return error(
        Cause.UPGRADE_STRIPPED,
        "the 101 does not fit the request",
        seen="Sec-WebSocket-Accept is not what RFC 6455 wants for the key that was sent",
        meaning="Something on the way answers from a cache or makes up WebSocket answers.",
        remedy="Keep /wsagents/ out of caches and rewriting rules of the proxy in front.",
    )


def capability_lost(answer: Answer) -> Finding | None:
    """Return the finding for a 101 without the header that Jenkins always sends, or with another's.

    Sessions work with whatever a controller can do; here it only counts that it can be read.
    """
    stated = answer.header("X-Remoting-Capability")
    if stated is None:
        title, seen = "the proxy drops X-Remoting-Capability from the 101", "101 without it"
    else:
        try:
            capability_mask(stated)
        except WireError as problem:
            title, seen = "X-Remoting-Capability is changed on the way", str(problem)
        else:
            return None
    return warning(
        Cause.CAPABILITY_LOST,
        title,
        seen=f"{seen}; Jenkins always sends it",
        meaning="Agents older than remoting 3131 end with a NullPointerException; newer ones"
        " guess.",
        remedy="Let the proxy pass on all response headers of /wsagents/ as they are.",
    )


def _minimum(case: Case, answer: Answer) -> list[Finding]:
    minimum, ours = answer.header("X-Remoting-Minimum-Version"), case.question.remoting
    if ours is None or minimum is None or not is_newer(minimum, ours):
        return []
    return [agent_too_old(ours, minimum)]


def judge(case: Case, answer: Answer, what: str) -> Finding:
    """Return what a refusal at /wsagents/ means."""
    question = case.question
    evidence, text = answers.status_line(answer, what), answers.text_of(answer)
    low = text.lower()
    node = question.node or "NODE"
    if answer.status == 200 and answers.is_login_page(answer):
        return answers.sso(evidence)
    if any(each in low for each in _ONLY_WEBSOCKETS):
        return stripped(evidence, text)
    if answer.status == 200:
        return _page(evidence, answers.words_of(answer))
    if "already connected" in low:
        return _already_connected(node, evidence, text)
    if "no such agent" in low:
        return _unknown_node(node, evidence)
    if "not an inbound agent" in low or "not a jnlp agent" in low:
        return _not_inbound(node, evidence)
    if _NOT_FOR_YOU in text:
        return _headers_stripped(evidence)
    if answer.status == 403:
        return _forbidden(node, answer, evidence)
    if answer.status == 404:
        return _no_endpoint(evidence, by_gateway=answers.gateway_error(answer) is not None)
    known = answers.by_status(question, answer, what)
    if known is not None:
        return known
    return error(
        Cause.REFUSED,
        "the agent is refused",
        seen=(evidence, answers.words_of(answer, 300)),
        meaning="The reason is in the words above, or in the log of who wrote them.",
        remedy="Look for this moment in Jenkins' log (logger jenkins.agents) or in the gateway's:"
        " remoting-gateway sessions NODE",
    )


def _page(evidence: str, words: str) -> Finding:
    return error(
        Cause.NOT_JENKINS,
        "a page answers at /wsagents/, not the endpoint for agents",
        seen=(evidence, words),
        meaning="Jenkins never says 200 there: a portal, a page of the proxy, or another path.",
        remedy="Let the proxy in front pass PREFIX/wsagents/ on to Jenkins, as it does /login.",
    )


def stripped(evidence: str, text: str) -> Finding:
    """Return the finding for an upgrade that did not arrive as one."""
    sentence = next((each for each in text.splitlines() if "ccepted here" in each), "")
    return error(
        Cause.UPGRADE_STRIPPED,
        "a proxy in front strips the Upgrade header, so no WebSocket comes through",
        seen=evidence if sentence in evidence else (evidence, answers.printable(sentence)),
        meaning="The request arrives as an ordinary GET. Upgrade and Connection are for one hop"
        " only:"
        " every proxy has to be told to pass them on.",
        remedy="Let the proxy in front pass on Upgrade and Connection, over HTTP/1.1.",
        settings=UPGRADE,
    )


def _already_connected(node: str, evidence: str, text: str) -> Finding:
    who = next((line for line in text.splitlines() if "already connected" in line), "")
    return error(
        Cause.ALREADY_CONNECTED,
        f"{node} is already connected",
        seen=evidence if who in evidence else (evidence, answers.printable(who, 400)),
        meaning="The secret is right, and somebody holds the node. If its agent runs and is online,"
        " all is well. If not, Jenkins still believes in a connection that the network has"
        " forgotten, for 2 to 6 minutes.",
        remedy="Ask with the node of an agent that does not run, or look who it is: Jenkins > Nodes"
        f" > {node}, or remoting-gateway sessions {node}",
        settings=(
            Setting(GATEWAY, "agents: {takeover: when-dead}: dead sessions end within seconds"),
            Setting(JENKINS, f"Nodes > {node} > Disconnect ends the old connection"),
            Setting(AGENT, "two machines with one name: give one of them a node of its own"),
        ),
    )


def _unknown_node(node: str, evidence: str) -> Finding:
    return error(
        Cause.UNKNOWN_NODE,
        f"Jenkins knows no node {node}",
        seen=(evidence, "no such agent"),
        meaning="The name in -name is not that of a node here, case counts; or this is another"
        " controller than the one meant.",
        remedy=f"Create the node {node} in Jenkins (Nodes > New Node), or mend -name.",
        settings=(
            Setting(
                JENKINS, "Nodes > New Node > Permanent Agent, launch by connecting it to Jenkins"
            ),
            Setting(AGENT, f"-name {node}"),
        ),
    )


def _not_inbound(node: str, evidence: str) -> Finding:
    return error(
        Cause.NOT_INBOUND,
        f"{node} is not an inbound agent",
        seen=evidence,
        meaning="Jenkins starts this node itself, over SSH for example.",
        remedy=f'Nodes > {node} > Configure > Launch method: "Launch agent by connecting it to the'
        ' controller".',
    )


def _headers_stripped(evidence: str) -> Finding:
    return error(
        Cause.AGENT_HEADERS_STRIPPED,
        "a proxy in front drops the agent's headers",
        seen=(evidence, "Node-Name, Secret-Key and X-Remoting-Capability were sent"),
        meaning="One of the three did not arrive, so Jenkins takes the agent for a browser.",
        remedy="Let the proxy pass on Node-Name, Secret-Key, X-Remoting-Capability and"
        " Connection-Cookie.",
        settings=(
            Setting(NGINX, "no proxy_pass_request_headers off;"),
            Setting(HAPROXY, "no http-request del-header for them"),
            Setting(APACHE, "no RequestHeader unset for them"),
        ),
    )


def _forbidden(node: str, answer: Answer, evidence: str) -> Finding:
    said = answers.gateway_error(answer)
    if answer.body and said is None and not answers.by_jenkins(answer):
        return error(
            Cause.FORBIDDEN_IN_FRONT,
            "something in front of Jenkins forbids /wsagents/",
            seen=(evidence, answers.words_of(answer, 200)),
            meaning="Jenkins says 403 without a word; this answer has a page of its own: a firewall"
            " (WAF) or a rule of the proxy.",
            remedy="Allow PREFIX/wsagents/ in it, with the headers Node-Name and Secret-Key.",
        )
    return wrong_secret(node, evidence, by_gateway=said is not None)


def wrong_secret(node: str, *evidence: str, by_gateway: bool = False) -> Finding:
    """Return the finding for a secret that is not the node's."""
    also = (
        " The gateway says the same where the node is blocked, an address or condition does not"
        " fit, or after too many wrong secrets: its log says which, and so does the doctor there,"
        " with -c."
        if by_gateway
        else ""
    )
    return error(
        Cause.WRONG_SECRET,
        f"the secret of {node} is wrong" + (", or the gateway keeps it out" if by_gateway else ""),
        seen=evidence,
        meaning=f"The node is known, its secret is another one.{also}",
        remedy=f"Take the secret from Jenkins > Nodes > {node} and give it to the agent.",
        settings=(
            Setting(AGENT, "-secret @FILE, with the 64 characters and nothing else in it"),
            Setting(
                JENKINS,
                "after a restore or move secrets/ may be another one: then all secrets are new",
            ),
            Setting(
                GATEWAY,
                f"remoting-gateway sessions {node}; where it issues secrets: nodes show, nodes"
                f" issue",
            ),
        ),
    )


def _no_endpoint(evidence: str, *, by_gateway: bool) -> Finding:
    return error(
        Cause.NO_WEBSOCKET_ENDPOINT,
        "there is no /wsagents/ here, though there is a /login",
        seen=evidence,
        meaning="The gateway's route does not expose agents' paths."
        if by_gateway
        else "Jenkins is older than 2.216 or runs in a container without WebSocket support"
        " (Tomcat),"
        " or the proxy does not pass this path on.",
        remedy="Add agents to the route's expose."
        if by_gateway
        else "Let the proxy pass on PREFIX/wsagents/; if Jenkins has none, put this gateway in"
        " front:"
        " it needs the TCP agent port only.",
        settings=(
            Setting(GATEWAY, "expose: [agents, ...]; controllers: {NAME: {url: ...}}"),
            Setting(JENKINS, "run it with java -jar jenkins.war (Jetty)"),
        ),
    )


async def check_secret(case: Case) -> list[Finding]:
    """Have the secret judged without opening a session."""
    question = case.question
    assert question.node is not None
    assert question.secret is not None
    if question.tcp:
        return await _by_tcp(case)
    request = agent_request(
        question, new_key(), node=question.node, secret=question.secret.reveal()
    )
    kept = (b"upgrade:", b"connection:", b"sec-websocket-")
    lines = [line for line in request.split(b"\r\n") if not line.lower().startswith(kept)]
    answer = await send(question, b"\r\n".join(lines), case.address)
    what = f"GET {question.target.path}wsagents/ without Upgrade"
    early = answers.gateway_error(answer)
    if early is not None and any(each in early.lower() for each in _ONLY_WEBSOCKETS):
        return await _by_tcp(case)
    text = answers.text_of(answer).lower()
    if any(each in text for each in _ONLY_WEBSOCKETS) or "already connected" in text:
        case.note("right; no session was opened")
        return []
    case.note(f"{answer.status} {answers.printable(answer.reason)}".rstrip())
    return [judge(case, answer, what)]


async def _by_tcp(case: Case) -> list[Finding]:
    """Ask the TCP agent port, since the gateway asks nobody without an upgrade."""
    question, address, port = case.question, port_address(case), case.agent_port
    assert question.node is not None
    assert question.secret is not None
    if address is None or port is None or port.identity is None or case.port_trouble is not None:
        return [_untold(case, case.port_trouble or "no agent port with an identity is published")]
    try:
        verdict = await jnlp4.judge(address, port.identity, question.node, question.secret.reveal())
    except Unanswered as problem:
        return [_untold(case, str(problem))]
    case.note(f"{answers.printable(verdict)}; no session was opened")
    evidence = f"{address[0]}:{address[1]}: {answers.printable(verdict)}"
    if "Unknown client name" in verdict:
        return [_unknown_node(question.node, evidence)]
    if "Authorization failure" in verdict:
        return [wrong_secret(question.node, evidence)]
    if "not an inbound agent" in verdict:
        return [_not_inbound(question.node, evidence)]
    return []  # right; also where the node is connected already


def _untold(case: Case, why: str) -> Finding:
    case.note(f"cannot be told: {why}")
    return warning(
        Cause.SECRET_UNTOLD,
        "whether the secret is right cannot be told without a session",
        seen=f"the agent port: {why}"
        if case.question.tcp
        else f"the gateway in front judges only whole upgrades, and the agent port: {why}",
        meaning="Nothing is wrong with the path; the question has no answer from here.",
        remedy="Leave --no-session out, or ask from a machine that reaches Jenkins itself.",
    )
