"""The CLI's two ways: /cli/ws with its Origin, and full-duplex HTTP, which buffering breaks.

Owns: what jenkins-cli.jar asks for, up to one harmless command (``who-am-i``).

Must not know: agents. Sources: PROTOCOLS E.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Final

import h11
import trio

from gateway.demo.agent_http import Answer
from gateway.demo.stream import ConnectionEnded, Wire
from gateway.doctor import answers
from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.check_agent import stripped
from gateway.doctor.client import (
    Unanswered,
    basic,
    connected,
    dial,
    get_request,
    send,
    translated,
)
from gateway.doctor.findings import Finding, Setting, Severity, warning
from gateway.doctor.remedies import GATEWAY, JENKINS, NO_BUFFERING, UPGRADE
from gateway.doctor.websocket import new_key

# What Jenkins says at once arrives within this, unless somebody keeps it, seconds; a Jenkins whose
# login page takes long has so many times as long.
_PATIENCE: Final = 3.0
_TIMES: Final = 5
_MOST_PATIENCE: Final = 10.0
# Of an answer to who-am-i, bytes.
_MOST: Final = 64 * 1024
_UNEXPECTED: Final = "Unexpected request origin"
_FRAMES: Final = (
    b"\0\0\0\x0a\0" + b"\0\x08who-am-i"  # ARG
    b"\0\0\0\x07\x02" + b"\0\x05UTF-8"  # ENCODING
    b"\0\0\0\x07\x01" + b"\0\x05en_US"  # LOCALE
    b"\0\0\0\0\x03"  # START
)


async def check_origin(case: Case) -> list[Finding]:
    """Ask for the CLI's WebSocket as jenkins-cli.jar does; leave as soon as it is open."""
    question = case.question
    path = f"{question.target.path}cli/ws"
    fields = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", new_key()),
        ("Origin", question.origin),
        *basic(question),
    ]
    answer = await send(question, get_request(question, path, fields), case.address, upgrade=True)
    case.note(_said(answer))
    evidence = answers.status_line(answer, f"GET {path}, Origin: {question.origin}")
    if answer.status == 400 and "ccepted here" in answers.text_of(answer):
        # Whether it is so everywhere is for the agent's own upgrade to say, if there is to be one.
        if question.plays_agent:
            return [_upgrade(evidence)]
        return [stripped(evidence, answers.text_of(answer))]
    if answer.status >= 500:
        known = answers.by_status(question, answer, f"GET {path}")
        return [] if known is None else [replace(known, severity=Severity.WARNING)]
    reason = answer.header("X-CLI-Error")
    if answer.status != 403 or (reason is not None and "disabled" in reason):
        return []
    if answers.gateway_error(answer) is not None:
        return [_by_gateway(case, evidence)] if _UNEXPECTED in (reason or "") else []
    if reason is None and not answers.by_jenkins(answer):
        return []
    return [_origin(case, evidence, reason)]


def _said(answer: Answer) -> str:
    if answer.status == 101:
        return "101: open to this origin"
    reason = answer.header("X-CLI-Error") or answers.gateway_error(answer) or answer.reason
    return f"{answer.status}: {answers.printable(reason)}"


def _upgrade(evidence: str) -> Finding:
    return warning(
        Cause.CLI_UPGRADE,
        "the Upgrade header is stripped on /cli/ws",
        seen=evidence,
        meaning="jenkins-cli.jar fails with 400 (handshake failed) and exit status 15.",
        remedy="Let the proxy in front pass on Upgrade and Connection there, too.",
        settings=UPGRADE,
    )


def _by_gateway(case: Case, evidence: str) -> Finding:
    """Return the finding for a gateway that takes the URL for none of its own."""
    url = case.question.url
    return warning(
        Cause.CLI_ORIGIN,
        "the gateway refuses the CLI's Origin: this URL is none that it knows as its own",
        seen=evidence,
        meaning="jenkins-cli.jar fails with 403 (Unexpected request origin). A route for every host"
        " does not say which names are its own, so pages of strangers could use the CLI.",
        remedy=f"Set controllers.NAME.jenkins_url to {url} in the gateway's configuration, if that"
        " is the Jenkins URL that is set in Jenkins; else add it to controllers.NAME.cli.origins.",
        settings=(
            Setting(GATEWAY, f"controllers: {{NAME: {{jenkins_url: {url}}}}}"),
            Setting(GATEWAY, f"routes: [{{host: {case.question.target.host}, ...}}] does it, too"),
            Setting("jenkins-cli.jar", "-http, which has no Origin"),
        ),
    )


def _origin(case: Case, evidence: str, reason: str | None) -> Finding:
    url = case.question.url
    advice = reason.partition("; gateway: ")[2] if reason is not None else ""
    if advice:
        return _behind_gateway(evidence, reason or "", answers.printable(advice))
    return warning(
        Cause.CLI_ORIGIN,
        "the CLI's Origin is refused: this is not the URL that is set in Jenkins",
        seen=(evidence, f"X-CLI-Error: {answers.printable(reason or 'none')}"),
        meaning="jenkins-cli.jar fails with 403 (Unexpected request origin) and exit status 15."
        " Jenkins compares Origin with its configured URL (since 2.555), or with what the forwarded"
        " headers say (since 2.442).",
        remedy=f"Set Manage Jenkins > System > Jenkins URL to {url}, or have people use the one"
        f" that"
        " is set there.",
        settings=(
            Setting(JENKINS, f"JCasC: unclassified: {{location: {{url: {url}}}}}"),
            Setting(
                JENKINS,
                "-Dhudson.cli.CLIAction.ACCEPT_URL_FROM_REQUEST=true, where several URLs are"
                " needed",
            ),
            Setting("jenkins-cli.jar", "-http, which has no Origin"),
            Setting(GATEWAY, "controllers: {NAME: {jenkins_url: THE ONE THAT IS SET IN JENKINS}}"),
        ),
    )


def _behind_gateway(evidence: str, reason: str, advice: str) -> Finding:
    """Return the finding for a controller that a gateway did not tell the origin it wants."""
    return warning(
        Cause.CLI_ORIGIN,
        "the controller refuses the Origin that the gateway gives it for the CLI",
        seen=(evidence, f"X-CLI-Error: {answers.printable(reason, 400)}"),
        meaning="jenkins-cli.jar fails with 403 (Unexpected request origin) and exit status 15."
        " Jenkins compares Origin with its configured URL (since 2.555), and the gateway sends that"
        " of controllers.NAME.jenkins_url, or else of the address that the client came by.",
        remedy=f"In the gateway's configuration: {advice} (Manage Jenkins > System > Jenkins URL).",
        settings=(
            Setting(GATEWAY, "controllers: {NAME: {jenkins_url: THE ONE THAT IS SET IN JENKINS}}"),
            Setting("jenkins-cli.jar", "-http, which has no Origin"),
        ),
    )


# -- full-duplex HTTP ------------------------------------------------------------------------------


class _Download:
    """The download side: what has come of it so far."""

    def __init__(self, wire: Wire, patience: float) -> None:
        self.patience = patience
        self._wire = wire
        self._http = h11.Connection(h11.CLIENT)
        self._http.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        self._http.send(h11.EndOfMessage())
        self.status: int | None = None
        self.is_duplex = False
        self.body = b""
        self.changed = trio.Event()

    async def run(self) -> None:
        """Read until the end."""
        try:
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(await self._wire.read_some())
                    continue
                if isinstance(event, h11.Response):
                    self.status = event.status_code
                    self.is_duplex = any(name == b"hudson-duplex" for name, _ in event.headers)
                elif isinstance(event, h11.Data) and len(self.body) < _MOST:
                    self.body += event.data
                elif not isinstance(event, h11.InformationalResponse):
                    return
                self.changed.set()
                self.changed = trio.Event()
        except (ConnectionEnded, h11.RemoteProtocolError):
            return

    @property
    def is_refused(self) -> bool:
        """Say whether something else than the beginning of a command's output came."""
        return self.status not in (None, 200) or (self.status == 200 and not self.is_duplex)

    async def has(self, size: int) -> bool:
        """Wait for a body of ``size`` bytes, or another status than 200; False if none comes."""
        with trio.move_on_after(self.patience):
            while len(self.body) < size and self.status in (None, 200):
                await self.changed.wait()
        return len(self.body) >= size


async def check_buffering(case: Case) -> list[Finding]:
    """Run ``who-am-i`` as jenkins-cli.jar -http does, and see which half waits for which."""
    question = case.question
    session = str(uuid.uuid4())
    patience = min(_MOST_PATIENCE, max(_PATIENCE, _TIMES * case.login_took))
    found: list[Finding] = []
    problem: Unanswered | None = None
    async with connected(question, case.address) as wire, trio.open_nursery() as nursery:
        download = _Download(wire, patience)
        try:
            with translated():
                await wire.send(_post(case, session, "download", ("Content-Length", "0")))
            nursery.start_soon(download.run)
            at_once = await download.has(1)
            if download.is_refused:
                case.note(f"not offered here ({download.status})")
            else:
                found = await _upload(case, session, download, at_once=at_once)
        except Unanswered as failure:  # out of the nursery it would be a group
            problem = failure
        nursery.cancel_scope.cancel()
    if problem is not None:
        raise problem
    return found


async def _upload(case: Case, session: str, download: _Download, *, at_once: bool) -> list[Finding]:
    begun = trio.current_time()
    wire = await dial(case.question, case.address)
    try:
        await wire.send(_post(case, session, "upload", ("Transfer-Encoding", "chunked")))
        await wire.send(b"%x\r\n" % len(_FRAMES) + _FRAMES + b"\r\n")
        came = await download.has(2)
        if came and at_once:
            case.note("both halves flow")
            return []
        await wire.send(b"0\r\n\r\n")
        if not came:
            came = await download.has(2)
    except ConnectionEnded:
        case.note("the upload was refused")
        return []
    finally:
        wire.abandon()
    took = trio.current_time() - begun + (download.patience if not at_once else 0)
    if not at_once and came:
        case.note("the download is held back")
        return [
            _held(
                Cause.BUFFERED_DOWNLOAD,
                "answers",
                f"the first byte came after {took:.1f} s,"
                " with the end of the command; Jenkins sends it at once",
            )
        ]
    if at_once and came:
        case.note("the upload is held back")
        return [
            _held(
                Cause.BUFFERED_UPLOAD,
                "uploads",
                f"the command began after {took:.1f} s, when"
                " its upload had ended; jenkins-cli.jar keeps it open",
            )
        ]
    if not at_once and download.status is None:
        case.note("no answer at all")
        return [
            _held(
                Cause.BUFFERED_DOWNLOAD,
                "answers",
                f"no byte of the answer within {took:.1f} s; Jenkins sends the first one at once",
            )
        ]
    case.note("the command said nothing")
    return []


def _post(case: Case, session: str, side: str, framing: tuple[str, str]) -> bytes:
    path = f"{case.question.target.path}cli?remoting=false"
    fields = [("Session", session), ("Side", side), *basic(case.question), framing]
    return get_request(case.question, path, fields, method="POST")


def _held(cause: Cause, what: str, evidence: str) -> Finding:
    return warning(
        cause,
        f"a proxy in front buffers {what}",
        seen=f"POST /cli?remoting=false: {evidence}",
        meaning="jenkins-cli.jar -http hangs or says `No download side found`; consoles that stream"
        " stand still.",
        remedy="Switch buffering off in the proxy in front.",
        settings=NO_BUFFERING,
    )
