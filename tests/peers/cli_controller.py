"""A controller's CLI, both transports (PROTOCOLS E.1 to E.4), with commands of its own.

Owns: the frames in both forms, the order of things and the timeouts: 15 s for the upload, 15 s for
START, 1 s after EXIT. Written from the protocol's description alone. What it was asked is kept for
tests to look at.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import h11
import trio
import wsproto
from wsproto.events import BytesMessage, CloseConnection, Ping, Request

ARG, LOCALE, ENCODING, START, EXIT, STDIN, END_STDIN, STDOUT, STDERR = range(9)
UPLOAD_TIMEOUT = 15.0
START_TIMEOUT = 15.0
AFTER_EXIT = 1.0
UNEXPECTED_ORIGIN = "Unexpected request origin (check your reverse proxy settings)"
Frame = tuple[int, bytes]


class Gone(Exception):
    """The client has left."""


@dataclass
class Run:
    """One command as the controller saw it."""

    user: str | None
    transport: str
    address: int = 0  # the controller's own port
    args: list[bytes] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)  # all but STDIN
    encoding: bytes | None = None
    locale: bytes | None = None
    input_bytes: int = 0
    output_bytes: int = 0
    interrupted: bool = False
    code: int | None = None
    ended: trio.Event = field(default_factory=trio.Event)


class Side:
    """One client, whichever its transport: frames in, frames out."""

    def __init__(
        self, send: Callable[[int, bytes], Awaitable[None]], input_limit: int = 16
    ) -> None:
        self.send = send
        self._in, self._out = trio.open_memory_channel[Frame](input_limit)

    async def give(self, frame: Frame) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._in.send(frame)

    def end(self) -> None:
        """No more frames: the client is gone."""
        self._in.close()

    async def take(self) -> Frame:
        try:
            return await self._out.receive()
        except trio.EndOfChannel:
            raise Gone from None

    def stop_taking(self) -> None:
        self._out.close()


@dataclass
class Answer:
    """What a test wants instead of the usual answer."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)


class CliController:
    """Listens on 127.0.0.1. ``websocket``: has ``/cli/ws``; ``full_duplex``: has ``POST /cli``.

    ``root_url``: what the Origin of WebSockets is compared with; None: every one will do.
    """

    def __init__(
        self, *, websocket: bool = True, full_duplex: bool = True, root_url: str | None = None
    ) -> None:
        self.websocket = websocket
        self.full_duplex = full_duplex
        self.root_url = root_url
        self.users: dict[str, str] = {"alice": "a-token", "bob": "b-token"}
        self.runs: list[Run] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.answers: dict[str, Answer] = {}  # "download", "upload", "websocket" -> instead
        self.page_headers: list[tuple[str, str]] = [("X-Jenkins", "2.53")]
        self.first_byte = b"\0"
        self.cut_after_101 = False
        self.port = 0
        self._downloads: dict[str, Side] = {}
        self._uploads: dict[str, trio.Event] = {}
        self._streams: set[trio.SocketStream] = set()
        self._changed = trio.Event()
        self._listeners: list[trio.SocketListener] = []
        self._nursery: trio.Nursery

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def run(self, *, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._nursery:
            await self.resume()
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                for listener in self._listeners:
                    listener.socket.close()

    async def pause(self) -> None:
        """Refuse connections; those that there are go on."""
        for listener in self._listeners:
            await listener.aclose()

    async def resume(self) -> None:
        """Accept connections, at the same port as before."""
        self._listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = self._listeners[0].socket.getsockname()[1]
        self._nursery.start_soon(self._listen)

    async def _listen(self) -> None:
        with suppress(trio.ClosedResourceError):
            async with trio.open_nursery() as nursery:
                for listener in self._listeners:
                    nursery.start_soon(self._accept, listener)

    async def _accept(self, listener: trio.SocketListener) -> None:
        with suppress(trio.ClosedResourceError):
            while True:
                self._nursery.start_soon(self._serve, await listener.accept())

    def kill(self) -> None:
        """Lose all connections, as a process that is killed does."""
        for stream in list(self._streams):
            stream.socket.setsockopt(
                trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            stream.socket.close()

    async def wait_for_run(self, number: int = 1) -> Run:
        while len(self.runs) < number:
            await self._changed.wait()
        return self.runs[number - 1]

    # -- HTTP --------------------------------------------------------------------------------------

    async def _serve(self, stream: trio.SocketStream) -> None:
        self._streams.add(stream)
        try:
            async with stream:
                connection = h11.Connection(h11.SERVER)
                with suppress(
                    trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError
                ):
                    while await self._serve_one(connection, stream):
                        connection.start_next_cycle()
        finally:
            self._streams.discard(stream)

    async def _serve_one(self, connection: h11.Connection, stream: trio.SocketStream) -> bool:
        event = await _next(connection, stream)
        if not isinstance(event, h11.Request):
            return False
        headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        method, target = event.method.decode(), event.target.decode()
        self.requests.append((method, target, headers))
        path, _, query = target.partition("?")
        refused = not self._knows(headers)
        if path.rstrip("/").endswith("/cli/ws") and "upgrade" in headers:
            kind = "websocket"
        elif method == "POST" and path == "/cli":
            kind = headers.get("side", "none")
        else:
            kind = "page"
        instead = self.answers.get(kind)
        if instead is not None:
            return await self._answer(connection, stream, instead.status, instead.headers)
        if refused:
            challenge = [("WWW-Authenticate", 'Basic realm="Jenkins user"')]
            return await self._answer(connection, stream, 401, challenge)
        if kind == "websocket":
            return await self._serve_websocket(connection, stream, headers, target)
        if kind == "page" or not self.full_duplex:
            status = 200 if path in ("/", "/login") else 404
            return await self._answer(connection, stream, status, self.page_headers)
        if query != "remoting=false":
            return await self._answer(connection, stream, 403, [])
        if kind == "download":
            return await self._serve_download(connection, stream, headers)
        if kind == "upload":
            return await self._serve_upload(connection, stream, headers)
        return await self._answer(connection, stream, 500, [])

    def _knows(self, headers: dict[str, str]) -> bool:
        given = headers.get("authorization")
        if given is None or not given.lower().startswith("basic "):
            return True
        name, _, token = base64.b64decode(given[6:]).decode().partition(":")
        return self.users.get(name.lower()) == token

    def _user(self, headers: dict[str, str]) -> str | None:
        given = headers.get("authorization")
        if given is None or not given.lower().startswith("basic "):
            return None
        return base64.b64decode(given[6:]).decode().partition(":")[0]

    async def _answer(
        self,
        connection: h11.Connection,
        stream: trio.SocketStream,
        status: int,
        headers: list[tuple[str, str]],
    ) -> bool:
        response = h11.Response(status_code=status, headers=[*headers, ("Content-Length", "0")])
        await _send(connection, stream, response, h11.EndOfMessage())
        if connection.their_state is h11.SEND_BODY:
            with trio.move_on_after(1):
                while not isinstance(await _next(connection, stream), h11.EndOfMessage):
                    pass
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    # -- full-duplex HTTP --------------------------------------------------------------------------

    async def _serve_download(
        self, connection: h11.Connection, stream: trio.SocketStream, headers: dict[str, str]
    ) -> bool:
        session = headers["session"]
        lock = trio.Lock()

        async def send(op: int, payload: bytes) -> None:
            frame = struct.pack("!iB", len(payload), op) + payload
            async with lock:
                await _send(connection, stream, h11.Data(data=frame))

        side = self._downloads[session] = Side(send)
        arrived = self._uploads[session] = trio.Event()
        try:
            response = h11.Response(
                status_code=200,
                headers=[("Hudson-Duplex", "true"), ("Transfer-Encoding", "chunked")],
            )
            await _send(connection, stream, response, h11.Data(data=self.first_byte))
            with trio.move_on_after(UPLOAD_TIMEOUT):
                await arrived.wait()
            if not arrived.is_set():
                return False  # the answer is cut
            await self._run_for(side, stream, Run(self._user(headers), "http"))
            await _send(connection, stream, h11.EndOfMessage())
        finally:
            del self._downloads[session], self._uploads[session]
        return False

    async def _serve_upload(
        self, connection: h11.Connection, stream: trio.SocketStream, headers: dict[str, str]
    ) -> bool:
        side = self._downloads.get(headers["session"])
        if side is None:
            return await self._answer(connection, stream, 500, [])
        self._uploads[headers["session"]].set()
        data = b""
        try:
            while True:
                event = await _next(connection, stream)
                if not isinstance(event, h11.Data):
                    break
                data += event.data
                while len(data) >= 5:
                    length, op = struct.unpack_from("!iB", data)
                    if len(data) < 5 + length:
                        break
                    frame = data[5 : 5 + length]
                    data = data[5 + length :]
                    await side.give((op, frame))
        finally:
            side.end()
        return await self._answer(connection, stream, 200, [])

    # -- WebSocket ---------------------------------------------------------------------------------

    async def _serve_websocket(
        self,
        connection: h11.Connection,
        stream: trio.SocketStream,
        headers: dict[str, str],
        target: str,
    ) -> bool:
        if not self.websocket:
            return await self._answer(connection, stream, 404, [])
        if self.root_url is not None and headers.get("origin") != self.root_url:
            error = [("X-CLI-Error", UNEXPECTED_ORIGIN)]
            return await self._answer(connection, stream, 403, error)
        ws = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        ws.initiate_upgrade_connection(
            [(name.encode(), value.encode()) for name, value in headers.items()], target
        )
        (request,) = ws.events()
        assert isinstance(request, Request)
        await stream.send_all(ws.send(wsproto.events.AcceptConnection()))
        if self.cut_after_101:
            return False
        lock = trio.Lock()

        async def send(op: int, payload: bytes) -> None:
            data = ws.send(BytesMessage(data=bytes((op,)) + payload))
            async with lock:
                await stream.send_all(data)

        side = Side(send)

        async def receive() -> None:
            try:
                message = b""
                while data := await stream.receive_some():
                    ws.receive_data(data)
                    for event in ws.events():
                        if isinstance(event, BytesMessage):
                            message += event.data
                            if event.message_finished:
                                await side.give((message[0], message[1:]))
                                message = b""
                        elif isinstance(event, (Ping, CloseConnection)):
                            with suppress(wsproto.utilities.LocalProtocolError):
                                reply = ws.send(event.response())
                                async with lock:
                                    await stream.send_all(reply)
                            if isinstance(event, CloseConnection):
                                return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                side.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await self._run_for(side, stream, Run(self._user(headers), "websocket"))
            with suppress(
                wsproto.utilities.LocalProtocolError,
                trio.BrokenResourceError,
                trio.ClosedResourceError,
            ):
                await stream.send_all(ws.send(CloseConnection(code=1000)))
            nursery.cancel_scope.cancel()
        return False

    # -- commands ----------------------------------------------------------------------------------

    async def _run_for(self, side: Side, stream: trio.SocketStream, run: Run) -> None:
        run.address = self.port
        self.runs.append(run)
        changed, self._changed = self._changed, trio.Event()
        changed.set()
        try:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                run.code = await self._run(side, run)
                if run.code is not None:
                    await side.send(EXIT, struct.pack("!i", run.code))
                    with trio.move_on_after(AFTER_EXIT):
                        while True:
                            await side.take()
        except Gone:
            run.interrupted = run.code is None
        finally:
            side.stop_taking()
            run.ended.set()

    async def _run(self, side: Side, run: Run) -> int | None:
        started = False
        with trio.move_on_after(START_TIMEOUT):
            while True:
                op, payload = await side.take()
                run.frames.append((op, payload))
                if op == ARG:
                    run.args.append(_utf(payload))
                elif op == LOCALE:
                    run.locale = _utf(payload)
                elif op == ENCODING:
                    run.encoding = _utf(payload)
                elif op == START:
                    started = True
                    break
        if not started:
            return None  # closed without EXIT
        if not run.args:
            await side.send(STDERR, b"Connection closed before arguments received\n")
            return 2
        command = _COMMANDS.get(run.args[0])
        if command is None:
            await side.send(STDERR, b"No such command %b\n" % run.args[0])
            return 2
        return await self._interruptible(command, side, run)

    async def _interruptible(self, command: Command, side: Side, run: Run) -> int:
        """Run a command; losing the client interrupts it, whatever it does."""
        code: int | None = None
        into, out = trio.open_memory_channel[bytes](0)

        async def feed(scope: trio.CancelScope) -> None:
            async with into:
                while True:
                    try:
                        op, payload = await side.take()
                    except Gone:
                        scope.cancel()
                        return
                    if op == STDIN:
                        run.input_bytes += len(payload)
                        await into.send(payload)
                    else:
                        run.frames.append((op, payload))
                    if op == END_STDIN:
                        await into.aclose()

        async def output(data: bytes, op: int = STDOUT) -> None:
            await side.send(op, data)
            run.output_bytes += len(data)

        with suppress(trio.ClosedResourceError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feed, nursery.cancel_scope)
                code = await command(run, out, output)
                nursery.cancel_scope.cancel()
        if code is None:
            raise Gone
        return code


Output = Callable[..., Awaitable[None]]
Command = Callable[[Run, "trio.MemoryReceiveChannel[bytes]", Output], Awaitable[int]]


def _utf(payload: bytes) -> bytes:
    (length,) = struct.unpack_from("!H", payload)
    return payload[2 : 2 + length]


async def _who_am_i(run: Run, stdin: trio.MemoryReceiveChannel[bytes], output: Output) -> int:
    await output(f"Authenticated as: {run.user or 'anonymous'}\n".encode())
    return 0


async def _echo(run: Run, stdin: trio.MemoryReceiveChannel[bytes], output: Output) -> int:
    await output(b" ".join(run.args[1:]) + b"\n")
    return 0


async def _cat(run: Run, stdin: trio.MemoryReceiveChannel[bytes], output: Output) -> int:
    async for data in stdin:
        await output(data)
    return 0


async def _count(run: Run, stdin: trio.MemoryReceiveChannel[bytes], output: Output) -> int:
    """Read all of STDIN, say how long it was."""
    size = 0
    async for data in stdin:
        size += len(data)
    await output(b"%d\n" % size)
    return 0


async def _yes(run: Run, stdin: trio.MemoryReceiveChannel[bytes], output: Output) -> int:
    """Write so many bytes, in frames of so many."""
    size, piece = int(run.args[1]), int(run.args[2])
    while size > 0:
        await output(b"y" * min(piece, size))
        size -= piece
    return 0


async def _sleep(run: Run, stdin: trio.MemoryReceiveChannel[bytes], output: Output) -> int:
    await output(b"sleeping\n")
    await trio.sleep(float(run.args[1]))
    return 0


async def _exit(run: Run, stdin: trio.MemoryReceiveChannel[bytes], output: Output) -> int:
    await output(b"bad\n", STDERR)
    return int(run.args[1])


_COMMANDS: dict[bytes, Command] = {
    b"who-am-i": _who_am_i,
    b"echo": _echo,
    b"cat": _cat,
    b"count": _count,
    b"yes": _yes,
    b"sleep": _sleep,
    b"exit": _exit,
    b"groovy": _echo,
    b"help": _echo,
}


async def _next(connection: h11.Connection, stream: trio.SocketStream) -> object:
    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            return event
        connection.receive_data(await stream.receive_some(65536))


async def _send(connection: h11.Connection, stream: trio.SocketStream, *events: h11.Event) -> None:
    await stream.send_all(b"".join(connection.send(event) or b"" for event in events))
