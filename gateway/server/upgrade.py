"""One program in the place of another, in the same process.

Owns: starting the next program, first to see whether it could take over (``--probe``), then for
good (``os.execv``, ``--inherited``).

Must not know: what is done with what was left, and what has to rest meanwhile.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import trio

from gateway.errors import ConfigError
from gateway.observability.logs import close_writers, reopen_writers
from gateway.server import handover
from gateway.server.admin.binding import check_admin_free
from gateway.server.handover import Handover
from gateway.server.processes import Process, python, start
from gateway.server.reloader import Source
from gateway.server.snapshot import read_snapshot
from gateway.transport.listeners import check_free

# What a new program may take to load the configuration and say that it can go on.
PROBE_TIMEOUT: Final = 60.0


def probe(source: Source, inherited: int) -> None:
    """See whether this program could take over from the one that runs. Raises ConfigError."""
    # What workers need must be there, too.
    from gateway.server import worker_process  # noqa: F401

    heritage = handover.read(inherited)
    files: set[Path] = set()
    config = source.load(files).config
    running = read_snapshot(heritage.config)
    if config.state_dir != running.state_dir:
        raise ConfigError(
            f"state_dir: {config.state_dir} instead of {running.state_dir}: that takes a restart"
        )
    known = {each["address"] for each in heritage.listeners}
    for i, listener in enumerate(config.listeners):
        if str(listener.address) not in known:
            check_free(listener, earlier=config.listeners[:i])
    if heritage.admin is None or heritage.admin["listen"] != str(config.admin.listen):
        check_admin_free(config)


async def refusal_of_successor(source: Source, left: Handover) -> str | None:
    """Have the program that is installed now say why it cannot take over, or None if it can."""
    try:
        process, reading = _start_probe(source, left)
    except OSError as error:
        return f"the new program cannot be started: {error}"
    said = bytearray()
    status: int | None = None
    try:
        async with trio.lowlevel.FdStream(reading) as output:
            with trio.move_on_after(PROBE_TIMEOUT):
                async for data in output:
                    said += data
                    del said[:-4096]
                status = await process.wait()
    finally:
        if status is None:
            process.kill()
    if status is None:
        await process.wait()
        return f"the new program did not say within {PROBE_TIMEOUT:g} s that it can go on"
    text = said.decode(errors="replace").strip()
    return None if status == 0 else f"the new program cannot go on (status {status}): {text}"


def _start_probe(source: Source, left: Handover) -> tuple[Process, int]:
    """Start the new program; return it and what it says. Raises OSError."""
    with ExitStack() as stack:
        memory = left.write()
        stack.callback(os.close, memory)
        reading, writing = os.pipe()
        stack.callback(os.close, writing)
        command = _command(source, "--probe", memory)
        try:
            return start(command, pass_fds=(memory,), stderr=writing), reading
        except BaseException:
            os.close(reading)
            raise


def replace_program(source: Source, heritage: Handover) -> str:
    """Become the program that is installed now; return why that cannot be."""
    memory: int | None = None
    try:
        memory = heritage.write()
        handover.keep_open([*heritage.descriptors, memory])
    except (OSError, ValueError) as error:
        if memory is not None:
            os.close(memory)
        return f"nothing can be left to it: {error}"
    command = _command(source, "--inherited", memory)
    # Nothing of this program runs after the exec, its atexit functions included.
    close_writers()
    try:
        os.execv(command[0], command)
    except OSError as error:
        reopen_writers()
        os.close(memory)
        return f"{command[0]}: {error.strerror or type(error).__name__}"


def _command(source: Source, option: str, descriptor: int) -> list[str]:
    return python("gateway", *source.arguments, option, str(descriptor))
