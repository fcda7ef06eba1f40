"""Connect to a controller: TCP, and TLS with verification where it is asked for.

Owns: the one way out of the gateway, its timeout, and what its failures are called.

Must not know: what is spoken on the connection. JNLP4 starts TLS later on the same stream
(``Stream.start_tls``), so it dials without.
"""

from __future__ import annotations

import os
import socket
from typing import Final

import trio

from gateway.config.networks import is_ip_address
from gateway.config.values import Address
from gateway.errors import ControllerTimeout, ControllerUnreachable
from gateway.transport.stream import Stream, StreamBroken
from gateway.transport.tls import TlsEngine
from gateway.transport.tls_context import ClientTls, verify_server_name

# Bytes that wait to be sent to a controller; what it does not take soon is not taken from clients.
_UNSENT: Final = 1024 * 1024


async def dial(
    address: Address,
    *,
    timeout: float,  # noqa: ASYNC109 - running out of it has a name here: ControllerTimeout
    tls: ClientTls | None = None,
    greeting: bytes = b"",
) -> Stream:
    """Connect to ``address`` within ``timeout`` seconds, TLS handshake included.

    ``greeting``, such as a PROXY header, is the first that is sent, before TLS.
    Raises ControllerTimeout when the time is up, ControllerUnreachable for everything else.
    """
    stream: Stream | None = None
    try:
        with trio.fail_after(timeout):
            stream = Stream(await _connect(address))
            stream.limit_unsent(_UNSENT)
            await stream.send_all(greeting)
            if tls is not None:
                await _start_tls(stream, tls)
        return stream
    except trio.TooSlowError:
        _abort(stream)
        raise ControllerTimeout(detail=f"{address} within {timeout:g} s") from None
    except (OSError, StreamBroken, UnicodeError) as error:
        _abort(stream)
        raise ControllerUnreachable(detail=f"{address}: {_reason(error)}") from None
    except BaseException:
        _abort(stream)
        raise


async def _connect(address: Address) -> trio.socket.SocketType:
    if not is_ip_address(address.host):
        return (await trio.open_tcp_stream(address.host, address.port)).socket
    # One address is no race between several, which would cost two tasks: 5 % of a set-up.
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    connection = trio.socket.socket(family)
    try:
        await connection.connect((address.host, address.port))
    except BaseException:
        connection.close()
        raise
    return connection


async def _start_tls(stream: Stream, tls: ClientTls) -> None:
    # RFC 6066 section 3: an IP address is no server name; the certificate is checked for it all the
    # same.
    name = None if tls.server_name is None or is_ip_address(tls.server_name) else tls.server_name
    engine = TlsEngine(tls.context, server_side=False, server_name=name)
    await stream.start_tls(engine)
    if not tls.verify or tls.server_name is None:
        return
    problem = verify_server_name(engine.connection, tls.server_name)
    if problem is not None:
        raise StreamBroken(problem)


def _abort(stream: Stream | None) -> None:
    if stream is not None:
        stream.abort()


def _reason(error: Exception) -> str:
    # trio raises a plain OSError "all attempts to connect to h:p failed" from a group of the real
    # ones.
    causes = [error, *getattr(error.__cause__, "exceptions", ())]
    for cause in reversed(causes):
        # UnicodeError: a name that has no IDNA form, such as one with a label of 64 characters.
        if isinstance(cause, socket.gaierror | UnicodeError):
            return "name does not resolve"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()  # trio's strerror repeats the address
    return str(error)
