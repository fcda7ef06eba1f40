"""One command of a WebSocket client, run at a controller by full-duplex HTTP (PROTOCOLS E.5).

Owns: the tasks of a session, its timers, the last words to the client, its log lines.

Must not know: how either side was opened, what may be run (``policy``).

The client's WebSocket has no handler for being closed: its program waits for EXIT for ever. So
whatever ends a session here, a client that still listens is told why on STDERR, gets an EXIT, and
only then a Close frame. There is no queue between the sides: receive, send, receive.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from gateway.config.models import KeepaliveConfig
from gateway.errors import (
    ControllerClosed,
    ControllerUnreachable,
    Draining,
    GatewayError,
    PeerLost,
    RemoteProtocolError,
    RequestTimeout,
    Stalled,
)
from gateway.http.websocket_accept import AcceptedWebSocket, ClientClosed
from gateway.jenkins_cli.audit import Caller, CommandAudit
from gateway.jenkins_cli.full_duplex import FullDuplex
from gateway.jenkins_cli.policy import Command
from gateway.observability.logs import LEVELS, get_logger
from gateway.protocol.plain_cli import (
    CliFrame,
    Op,
    Sender,
    exit_code,
    exit_frame,
    read_message,
    text_frame,
)
from gateway.protocol.websocket import CloseCode
from gateway.runtime.session_end import How, SessionEnd, Side
from gateway.runtime.session_loop import STALL_AFTER

_log = get_logger("session")

# As controllers have it since 2.541 (PROTOCOLS E.1).
START_TIMEOUT: Final = 15.0
# As clients do since 2.199 (PROTOCOLS E.3): Jetty cuts an upload that is idle for 30 s.
UPLOAD_KEEPALIVE: Final = 3.0
# Between the end of the upload and that of the download, when the client has left.
_INTERRUPT: Final = 2.0
# A client may stop reading for a moment: what it is to be told last waits for it so long.
_LAST_WORDS: Final = 5.0
_LOOK: Final = 5.0  # how often it is looked whether the client lives
# What the gateway gives for its own failures; 2 is what controllers give for what they do not run.
EXIT_FAILED: Final = 1
EXIT_REFUSED: Final = 2


@dataclass(frozen=True, slots=True)
class Ended:
    """How a session ended. ``code``: of the EXIT; None: the client has left.

    ``text``: for the client's STDERR; None: the controller has said EXIT itself.
    """

    end: SessionEnd
    code: int | None
    text: str | None = None


class TranslatedSession:
    """One command from 101 to EXIT."""

    def __init__(
        self,
        client: AcceptedWebSocket,
        controller: FullDuplex,
        command: Command,
        *,
        caller: Caller,
        audit: CommandAudit,
        keepalive: KeepaliveConfig,
        route: str,
    ) -> None:
        self._client = client
        self._controller = controller
        self._command = command
        self._caller = caller
        self._audit = audit
        self._keepalive = keepalive
        self._route = route
        self._encoding = text_frame(Op.ENCODING, "UTF-8")
        self._sent_at = self._began = trio.current_time()
        self._started = trio.Event()
        self._input_open = True
        self._ended: Ended | None = None
        self._scope: trio.CancelScope | None = None
        self._from_client = self._to_client = 0

    def end(self, end: SessionEnd) -> None:
        """End the session from outside; the client is told, and the controller interrupts."""
        self._finish(Ended(end, EXIT_FAILED, end.reason))

    def _finish(self, ended: Ended) -> None:
        self._ended = self._ended or ended
        if self._scope is not None:
            self._scope.cancel()

    async def run(self) -> None:
        """Run it to its end, and tell the client; closes the controller's connections."""
        self._log_start()
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                for task in (
                    self._pass_input,
                    self._pass_output,
                    self._keep_upload_alive,
                    self._watch_upload,
                    self._ping_client,
                    self._watch_client,
                    self._await_start,
                ):
                    nursery.start_soon(self._until_it_ends, task)
                if self._ended is not None:
                    nursery.cancel_scope.cancel()
            assert self._ended is not None, "no task leaves without a reason"
            await self._say_farewell(self._ended)
        finally:
            self._controller.close()
            self._log_end(self._ended)

    async def _until_it_ends(self, task: Callable[[], Awaitable[Ended]]) -> None:
        try:
            ended = await task()
        except ClientClosed:
            ended = _gone()
        except ControllerUnreachable as error:
            end = SessionEnd.of(Side.CONTROLLER, error)
            ended = Ended(end, EXIT_FAILED, "the connection to the controller was lost")
        except GatewayError as error:
            ended = Ended(SessionEnd.of(Side.CLIENT, error), EXIT_FAILED, error.public)
        except Exception as error:  # a bug ends its session, and not without a word to the client
            end = SessionEnd.of(Side.GATEWAY, error)
            ended = Ended(end, EXIT_FAILED, end.reason)
        self._finish(ended)

    # -- from client to controller -----------------------------------------------------------------

    async def _pass_input(self) -> Ended:
        while True:
            message = await self._client.receive()
            frame = read_message(message, Sender.CLIENT)
            if frame is None:
                _log.debug("cli message skipped", **self._caller.fields(), operation=message[0])
                continue
            began = self._command.started
            passed = self._command.take(frame)
            if frame.op is Op.ENCODING:
                self._encoding = frame
            if self._command.started and not began:
                self._started.set()
                self._audit.started(self._command)
                if self._command.refusal is not None:
                    return self._refused(self._command.refusal)
            for each in passed:
                await self._send(each)

    async def _send(self, frame: CliFrame) -> None:
        if not self._input_open:
            return
        self._from_client += len(frame.payload)
        self._sent_at = trio.current_time()
        try:
            await self._controller.send(frame)
        except ControllerUnreachable:
            # It does not listen any more; the download says what there is to say.
            self._input_open = False

    def _refused(self, refusal: str) -> Ended:
        reason = f"command refused: {refusal}"
        end = SessionEnd(Side.GATEWAY, reason, CloseCode.NORMAL, "info")
        text = f"{self._command.name[:100]!a}: {refusal}"
        return Ended(end, EXIT_REFUSED, text)

    async def _await_start(self) -> Ended:
        with trio.move_on_after(START_TIMEOUT):
            await self._started.wait()
        if self._started.is_set():
            return await _never()
        text = f"no command within {START_TIMEOUT:g} s"
        return Ended(SessionEnd.of(Side.CLIENT, RequestTimeout(text)), EXIT_REFUSED, text)

    # -- from controller to client -----------------------------------------------------------------

    async def _pass_output(self) -> Ended:
        while frames := await self._controller.receive():
            for frame in frames:
                self._to_client += len(frame.payload)
                if frame.op is Op.EXIT:
                    return await self._pass_exit(frame)
                await self._client.send(frame.as_message())
        text = "the controller closed the connection before the command had ended"
        error = ControllerClosed(text)
        return Ended(SessionEnd.of(Side.CONTROLLER, error), EXIT_FAILED, text)

    async def _pass_exit(self, frame: CliFrame) -> Ended:
        try:
            code = exit_code(frame)
        except RemoteProtocolError as error:
            raise ControllerUnreachable(detail=str(error)) from None
        self._audit.ended(code)
        await self._client.send(frame.as_message())
        end = SessionEnd(
            Side.CONTROLLER, f"exit code {code}", CloseCode.NORMAL, "info", how=How.CLOSED
        )
        # Who pauses its output has all of it in front of the EXIT still to come, and must not be
        # cut off there; ``_watch_client`` judges it. Whatever happens now, this is how it ended.
        self._ended = Ended(end, code)
        await self._client.wait_acknowledged(STALL_AFTER)
        return self._ended

    # -- keeping both sides alive ------------------------------------------------------------------

    async def _keep_upload_alive(self) -> Ended:
        while True:
            due = self._sent_at + UPLOAD_KEEPALIVE
            if trio.current_time() < due:
                await trio.sleep_until(due)
            elif self._input_open and not self._controller.sending:
                await self._send(self._encoding)
            else:
                await trio.sleep(UPLOAD_KEEPALIVE)

    async def _watch_upload(self) -> Ended:
        """Give the reason where the controller refuses the upload; its download may only stop."""
        try:
            status = await self._controller.wait_for_upload_answer()
        except ControllerUnreachable:
            return await _never()  # the download is what counts
        if status == 200:
            return await _never()  # the command is over, and its EXIT on the way
        text = f"the controller answered {status} to the upload"
        error = ControllerUnreachable(text)
        return Ended(SessionEnd.of(Side.CONTROLLER, error), EXIT_FAILED, text)

    async def _ping_client(self) -> Ended:
        interval: float = self._keepalive.interval
        await trio.sleep(interval)
        while True:
            with trio.move_on_after(interval):  # an answer that is late is none of its business
                await self._client.ping()
                await trio.sleep(interval)

    async def _watch_client(self) -> Ended:
        """Find a client dead that is silent, or takes nothing, for as long as a person may pause
        its output: the client is not heard then, either.
        """
        limit: float = self._keepalive.controller_dead_after
        taken: int | None = None
        progress_at = trio.current_time()
        error: GatewayError | None = None
        while error is None:
            await trio.sleep(_LOOK)
            if self._client.gone:  # a ping found nobody, while the command read no input
                return _gone()
            if self._client.silence >= limit:
                error = PeerLost(f"nothing was heard of the client for {limit:g} s")
                continue
            before, taken = taken, self._client.acknowledged()
            if taken is None or taken != before:
                progress_at = trio.current_time()
            elif trio.current_time() - progress_at >= STALL_AFTER:
                error = Stalled(detail=f"the client took nothing for {STALL_AFTER:g} s")
        return Ended(SessionEnd.of(Side.CLIENT, error), EXIT_FAILED, error.public)

    # -- the end -----------------------------------------------------------------------------------

    async def _say_farewell(self, ended: Ended) -> None:
        deadline = trio.current_time() + _LAST_WORDS
        with trio.CancelScope(shield=True, deadline=deadline):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._leave_controller)
                if ended.code is not None:
                    nursery.start_soon(self._tell_client, ended.code, ended.text)

    async def _leave_controller(self) -> None:
        """End the upload, and give the controller a moment to end its side."""
        try:
            await self._controller.end_upload()
            with trio.move_on_after(_INTERRUPT):
                while await self._controller.receive():
                    pass
        except Exception:
            return  # that is an end, too; and whatever it is, the client must get its EXIT

    async def _tell_client(self, code: int, text: str | None) -> None:
        try:
            if text is not None:
                line = text.encode("ascii", "replace") + b"\n"
                await self._client.send(CliFrame(Op.STDERR, line).as_message())
                await self._client.send(exit_frame(code).as_message())
            await self._client.close(CloseCode.NORMAL)  # whatever it was: PROTOCOLS K.4
        except ClientClosed:
            return  # nobody is there to be told

    # -- logs --------------------------------------------------------------------------------------

    def _names(self) -> dict[str, object]:
        caller = self._caller
        return {
            "session": caller.session,
            "controller": caller.controller,
            "route": self._route,
            "client": caller.client,
            "transport": caller.transport,
        }

    def _log_start(self) -> None:
        address = str(self._controller.address)
        _log.info("session started", **self._names(), controller_address=address)

    def _log_end(self, ended: Ended | None) -> None:
        """Write how it ended; ``ended`` None: it was cut."""
        end = SessionEnd.of(Side.GATEWAY, Draining()) if ended is None else ended.end
        code = None if ended is None else ended.code
        self._audit.ended(code)
        _log.log(
            LEVELS[end.level],
            "session ended",
            **self._names(),
            by=end.side.value,
            how=end.how.value,
            reason=end.reason,
            exit_code=code,
            duration_s=round(trio.current_time() - self._began, 3),
            bytes_from_client=self._from_client,
            bytes_to_client=self._to_client,
            exc_info=end.error if end.side is Side.GATEWAY and end.close_code == 1011 else None,
        )


async def _never() -> Ended:
    await trio.sleep_forever()


def _gone() -> Ended:
    end = SessionEnd(
        Side.CLIENT, "the client closed the connection", CloseCode.NORMAL, "info", how=How.CLOSED
    )
    return Ended(end, None)
