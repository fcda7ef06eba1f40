"""The discovery document and the TCP agent port: what is published, and whether it is true.

Owns: an agent's way to the TCP port, and the comparison of the key there with the published one.

Must not know: secrets, sessions. Agents over WebSocket need none of this; a gateway does. So what
is wrong here is a finding where a gateway holds agents back, or the agent comes over TCP; else it
is only said what was seen.
"""

from __future__ import annotations

import base64
import binascii

from gateway.config.keys import fingerprint
from gateway.demo.agent_http import Answer, is_newer
from gateway.doctor import answers, jnlp4
from gateway.doctor.case import AgentPort, Case
from gateway.doctor.causes import Cause
from gateway.doctor.client import Address, Unanswered, get
from gateway.doctor.findings import Finding, Setting, error
from gateway.doctor.remedies import AGENT, GATEWAY, JENKINS

_JAVA = "Java/17.0.15"


async def check_discovery(case: Case) -> list[Finding]:
    """Read the discovery document as agents over TCP do, and as the gateway does."""
    question = case.question
    path = f"{question.target.path}tcpSlaveAgentListener/"
    headers = [("User-Agent", _JAVA), *([("Node-Name", question.node)] if question.node else [])]
    answer = case.discovery = await get(question, path, headers, case.address)
    what = f"GET {path}"
    if answer.status == 404:
        return _absent(case, answers.status_line(answer, what), hidden=bool(_said(case)))
    if answer.status != 200:
        case.note(answers.status_line(answer, what))
        known = answers.by_status(question, answer, what)
        return [known] if known is not None and (question.tcp or case.held_back) else []
    port = case.agent_port = read_document(answer, question.target.host)
    if port is None:
        case.note("200, but no agent port in it")
        return [_no_port(answers.status_line(answer, what))] if question.tcp else []
    case.note(_summary(port))
    return [*_version(case, port.minimum_version), *_protocols(case, port)]


def _said(case: Case) -> str:
    return (answers.gateway_error(case.discovery) or "") if case.discovery is not None else ""


def read_document(answer: Answer, host: str) -> AgentPort | None:
    """Return what a discovery document says; None where it names no port."""
    number = answer.header("X-Jenkins-JNLP-Port") or answer.header("X-Hudson-JNLP-Port") or ""
    if not (number.isascii() and number.isdigit() and 0 < int(number[:6]) < 65536):
        return None
    offered = answer.header("X-Jenkins-Agent-Protocols")
    names = None if offered is None else tuple(each.strip() for each in offered.split(","))
    stated = (answer.header("X-Jenkins-JNLP-Host") or host).removeprefix("[").removesuffix("]")
    minimum = answer.header("X-Remoting-Minimum-Version")
    return AgentPort(stated, int(number), key_of(answer), names, minimum)


def key_of(answer: Answer) -> bytes | None:
    """Return the published key, DER; None where there is none that can be read."""
    try:
        return base64.b64decode(answer.header("X-Instance-Identity") or "", validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _summary(port: AgentPort) -> str:
    names = "every protocol" if port.protocols is None else ", ".join(port.protocols)
    key = "no identity" if port.identity is None else "with an identity"
    minimum = f", agents {port.minimum_version} or newer" if port.minimum_version else ""
    return answers.printable(f"{port.host}:{port.port}, {names}, {key}{minimum}")


def _absent(case: Case, evidence: str, *, hidden: bool) -> list[Finding]:
    if hidden or not (case.held_back or case.question.tcp):
        case.note("404: agents over TCP cannot come this way; those over WebSocket need not")
        return []
    case.note(evidence)
    return [
        error(
            Cause.TCP_PORT_DISABLED,
            "Jenkins' TCP agent port is disabled",
            seen=evidence,
            meaning="Jenkins publishes no agent port, and it has no usable /wsagents/: there is no"
            " way in for agents."
            if case.held_back
            else "Agents without -webSocket have no way in.",
            remedy='Manage Jenkins > Security > Agents > "TCP port for inbound agents": Fixed,'
            " 50000.",
            settings=(
                Setting(JENKINS, "JCasC: jenkins: {slaveAgentPort: 50000}"),
                Setting(GATEWAY, "where WebSocket is meant: agents: {transport: websocket}"),
                Setting(AGENT, "-webSocket, where /wsagents/ works"),
            ),
        )
    ]


def _no_port(evidence: str) -> Finding:
    return error(
        Cause.NOT_JENKINS,
        "the discovery document names no agent port",
        seen=(evidence, "no X-Jenkins-JNLP-Port"),
        meaning='Agents say "is not Jenkins" and try again for ever.',
        remedy="Let the proxy in front pass on Jenkins' response headers (X-Jenkins-...,"
        " X-Hudson-...,"
        " X-Instance-Identity).",
    )


def _version(case: Case, minimum: str | None) -> list[Finding]:
    ours = case.question.remoting
    if ours is None or minimum is None or not is_newer(minimum, ours):
        return []
    return [agent_too_old(ours, minimum)]


def agent_too_old(ours: str, minimum: str) -> Finding:
    """Return the finding for an agent that this controller tells to stop."""
    return error(
        Cause.AGENT_TOO_OLD,
        f"agent.jar {ours} is too old for this controller",
        seen=f"X-Remoting-Minimum-Version: {answers.printable(minimum)}",
        meaning='The agent says "Agent version ... or newer is required" and its process ends.',
        remedy="Take agent.jar from this controller: curl -O URL/jnlpJars/agent.jar",
    )


def _protocols(case: Case, port: AgentPort) -> list[Finding]:
    if port.protocols is None or "JNLP4-connect" in port.protocols:
        return []
    if not (case.held_back or case.question.tcp):
        return []
    return [
        error(
            Cause.TCP_PORT_DISABLED,
            "Jenkins does not offer JNLP4-connect",
            seen=f"X-Jenkins-Agent-Protocols: {answers.printable(', '.join(port.protocols))}",
            meaning="Today's agents, and gateways, speak nothing else there.",
            remedy="Manage Jenkins > Security > Agent protocols: switch on Inbound TCP Agent"
            " Protocol/4.",
        )
    ]


def port_address(case: Case) -> Address | None:
    """Return where the published agent port is, seen from here."""
    port = case.agent_port
    if port is None:
        return None
    if case.question.agent_port is not None:
        return case.question.agent_port
    elsewhere = case.question.connect_to
    if elsewhere is not None and port.host == case.question.target.host:
        return elsewhere[0], port.port
    return port.host, port.port


async def check_agent_port(case: Case) -> list[Finding]:
    """Ask the published port whether it is there: ``Protocol:Ping``."""
    address = port_address(case)
    assert address is not None  # else the check is left out
    try:
        answer = await jnlp4.ping(address)
    except Unanswered as problem:
        case.port_trouble = str(problem)
        case.note(f"{address[0]}:{address[1]}: {problem}; agents over WebSocket do not need it")
        return [_blocked(address, problem)] if case.held_back or case.question.tcp else []
    # Core before 1.653 knows no Ping, and says so: alive all the same.
    if answer.startswith((b"Ping", b"Unknown protocol")):
        case.note(f"{address[0]}:{address[1]} answers")
        return []
    case.port_trouble = "it does not answer as Jenkins does"
    case.note(f"{address[0]}:{address[1]}: {case.port_trouble}")
    if not (case.held_back or case.question.tcp):
        return []
    return [
        error(
            Cause.PORT_NOT_JENKINS,
            f"what listens at the agent port {address[1]} is not Jenkins",
            seen=f"Protocol:Ping was answered with {answer[:60]!r}",
            meaning="The port leads to something else, or to a proxy that expects HTTP or TLS"
            " there.",
            remedy=f"Pass TCP port {address[1]} through to Jenkins as it is (mode tcp, stream), not"
            " as HTTP.",
        )
    ]


def _blocked(address: Address, problem: Unanswered) -> Finding:
    host, port = address
    refused = "refused" in str(problem)
    return error(
        Cause.PORT_BLOCKED,
        f"Jenkins' TCP agent port {port} cannot be reached",
        seen=f"{host}:{port}, which Jenkins publishes: {problem}",
        meaning="Nothing listens there: Jenkins runs in a container or behind an address that does"
        " not pass the port on, or another port is published than the one that is open."
        if refused
        else "A firewall or security group drops the packets.",
        remedy=f"Open TCP port {port} from the gateway (and from agents without -webSocket) to"
        " Jenkins.",
        settings=(
            Setting("firewall", f"allow TCP {port} from the gateway's address to {host}"),
            Setting("containers", f"docker run -p {port}:{port}, or a Service port {port}"),
            Setting(GATEWAY, f"agents: {{address: HOST:{port}}}, where it is reached elsewhere"),
            Setting(
                JENKINS,
                "-Dhudson.TcpSlaveAgentListener.hostName=HOST, .port=PORT: what is published",
            ),
        ),
    )


async def check_identity(case: Case) -> list[Finding]:
    """Compare the key that the agent port shows with the published one."""
    address, port = port_address(case), case.agent_port
    assert address is not None
    assert port is not None
    if port.identity is None:
        case.note("nothing is published to compare with")
        return []
    try:
        shown = await jnlp4.identity(address)
    except Unanswered as problem:
        case.note(str(problem))
        return []
    if shown == port.identity:
        case.note(f"{fingerprint(shown)}, as published")
        return []
    case.note("another one than published")
    return [
        answers.identity_mismatch(
            f"published at {case.question.url_of('tcpSlaveAgentListener/')}:"
            f" {fingerprint(port.identity)}",
            f"shown at {address[0]}:{address[1]}: {fingerprint(shown)}",
        )
    ]
