"""What the program needs of its machine before it can begin: a folder, and enough descriptors.

Owns: making the state folder, and the limit of open files.

Must not know: what the folder holds, who opens files.
"""

from __future__ import annotations

import contextlib
import os
import resource
import stat
from typing import Final

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError
from gateway.observability.logs import get_logger

_log = get_logger("system")

# Two a session, for all the connections that a worker admits.
ENOUGH_DESCRIPTORS: Final = 65_536
# More serves nobody, and a billion (Docker's default) makes programs slow that visit each.
MOST_DESCRIPTORS: Final = 1_048_576


def prepare_state_dir(config: GatewayConfig) -> None:
    """Make the state folder, for this user alone. Raises ConfigError."""
    remedy = "set state_dir, or the variable STATE_DIRECTORY, to a folder that this user may write"
    try:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ConfigError(
            f"state_dir: {config.state_dir} cannot be made: {reason}; {remedy}"
        ) from None
    if not os.access(config.state_dir, os.W_OK | os.X_OK):
        raise ConfigError(f"state_dir: {config.state_dir} cannot be written; {remedy}")
    mode = config.state_dir.stat().st_mode
    # Not refused: it is how Kubernetes makes an emptyDir.
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        _log.warning(
            "others may write to state_dir, and put pins and a control socket of theirs there",
            state_dir=str(config.state_dir),
            mode_bits=f"{stat.S_IMODE(mode):04o}",
            remedy="chmod 0700, unless nobody else is on this machine",
        )


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one, as workers inherit it; warn of a low one.

    The soft limit is 1024 almost everywhere, for the sake of programs that use select().
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # forbidden: then the soft one it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft != resource.RLIM_INFINITY and soft < ENOUGH_DESCRIPTORS:
        _log.warning(
            "low limit of open files; a session needs two",
            limit=soft,
            recommended=ENOUGH_DESCRIPTORS,
            remedy="raise the hard limit: LimitNOFILE= (systemd), --ulimit nofile= (Docker)",
        )
