"""The program's way from start to end: what a supervisor begins with, and the one after it.

Owns: reading the configuration, state folder, listeners and sockets before the first worker; what
is taken from the program before, after an upgrade; and that this program goes on with what it had
where the next one cannot be started.

Must not know: what a supervisor does while it runs.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import trio

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError
from gateway.observability import logs
from gateway.observability.logs import get_logger
from gateway.server import control_socket, handover, service_manager
from gateway.server.admin.binding import bind_admin
from gateway.server.admin.binding import take_over as take_over_admin
from gateway.server.admin.listener import AdminTerms
from gateway.server.aside import Aside
from gateway.server.handover import Handover
from gateway.server.reloader import Reload, Source
from gateway.server.slots import bind_slots
from gateway.server.snapshot import read_snapshot
from gateway.server.supervisor import Admin, Supervisor
from gateway.server.surroundings import prepare_state_dir, raise_descriptor_limit
from gateway.server.upgrade import replace_program
from gateway.server.worker_count import worker_count

_log = get_logger("system")


def run_supervisor(
    source: Source, *, announce: Callable[[], None] | None = None, inherited: int | None = None
) -> int:
    """Run the gateway until SIGTERM, SIGINT or SIGQUIT; return the exit status.

    0 after an orderly stop; 1 when a worker had to be killed or a first one never became ready.
    ``announce`` is called once, when every listener accepts. ``inherited``: where the program that
    ran in this process before left what it had. Raises ConfigError when the configuration cannot be
    used, an address cannot be bound, or the state folder is not to be had.
    """
    heritage = None if inherited is None else handover.read(inherited)
    if inherited is not None:
        os.close(inherited)
    while True:
        supervisor = _first(source, announce) if heritage is None else _successor(source, heritage)
        status = trio.run(supervisor.run)
        if status is not None:
            supervisor.close()
            return status
        heritage = supervisor.leave()
        reason = replace_program(source, heritage)  # returns only if that failed
        _log.error("the program cannot be replaced; going on with this one", reason=reason)


def _first(source: Source, announce: Callable[[], None] | None) -> Supervisor:
    files: set[Path] = set()
    config = source.load(files).config
    logs.apply(config.log)
    prepare_state_dir(config)
    with ExitStack() as undo:
        lock = control_socket.lock(config.state_dir)
        undo.callback(os.close, lock)
        raise_descriptor_limit()
        passed = service_manager.adopt(service_manager.passed_sockets(), config.listeners)
        slots = bind_slots(config.listeners, worker_count(config), kept=passed)
        undo.callback(slots.close)
        control = control_socket.bind(config.state_dir)
        undo.callback(control.close)
        admin = AdminTerms.read(config.admin), bind_admin(config)
        undo.pop_all()
    return Supervisor(source, config, files, slots, lock, control, admin=admin, announce=announce)


def _successor(source: Source, heritage: Handover) -> Supervisor:
    """Go on with what the program before left: whatever is wrong now, its workers must live."""
    handover.keep_private(heritage.descriptors)
    files: set[Path] = set()
    kept = handover.take_listeners(heritage.listeners)
    reason: str | None = None
    try:
        # Aside, since signals are held back until this is done.
        config = trio.run(Aside().run, partial(source.load, files)).config
        logs.apply(config.log)
        slots = bind_slots(config.listeners, worker_count(config), kept=kept)
    except Exception as error:  # it was usable a moment ago, for the probe
        is_known = isinstance(error, ConfigError | TimeoutError)
        # Anything else might show values, which may be secrets.
        reason = str(error) if is_known else f"internal error ({type(error).__name__})"
        _log.error("configuration not loaded; the old one stays in force", reason=reason)
        config = read_snapshot(heritage.config)
        logs.apply_or_complain(config.log)
        slots = bind_slots(config.listeners, 1, kept=kept)
    return Supervisor(
        source,
        config,
        files,
        slots,
        heritage.lock,
        socket.socket(fileno=heritage.control_socket),
        admin=_admin_after(heritage, config),
        heritage=heritage,
        last=Reload.now("upgrade", heritage.generation + 1, reason),
    )


def _admin_after(heritage: Handover, config: GatewayConfig) -> Admin:
    """Go on with the admin listener, or make another; without one, rather than not at all."""
    kept = None if heritage.admin is None else take_over_admin(heritage.admin)
    if kept is not None and kept.listen != str(config.admin.listen):
        kept.close()
        kept = None
    try:
        terms = trio.run(Aside().run, partial(AdminTerms.read, config.admin))
        return terms, kept or bind_admin(config)
    except (ConfigError, TimeoutError) as error:
        _log.error("there is no admin listener until the next upgrade", reason=str(error))
        if kept is not None:
            kept.close()  # rather than let clients wait in its backlog
        return None, None
