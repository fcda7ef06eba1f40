"""The configuration as it comes over the control stream.

Owns: reading it, and saying what is wrong without showing it.

Must not know: files, what the configuration is for.
"""

from __future__ import annotations

from pydantic import ValidationError

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError


def read_snapshot(data: object) -> GatewayConfig:
    """Return the configuration in a message. Raises ConfigError naming the keys that are wrong."""
    try:
        return GatewayConfig.model_validate(data)
    except ValidationError as error:
        # The supervisor runs an older program than the one that is installed now. pydantic's own
        # text would show values, which may be secrets.
        keys = ", ".join(".".join(map(str, each["loc"])) for each in error.errors())
        raise ConfigError(
            f"the supervisor's configuration is not understood ({keys}); was the program replaced"
            " while it ran? Restart it."
        ) from None
