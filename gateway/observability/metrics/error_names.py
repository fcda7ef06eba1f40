"""The names that errors have as label values.

Owns: that they are few: those of the error table and of nothing else.

Must not know: who counts them.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.errors import OUTCOMES, GatewayError

INTERNAL: Final = "internal_error"
_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")
_NAMES: Final[dict[type[BaseException], str]] = {
    error: _CAPITAL.sub("_", error.__name__).lower() for error in OUTCOMES
}


def error_name(error: BaseException) -> str:
    """Return the name of the error's row in the error table, such as ``controller_timeout``."""
    if isinstance(error, GatewayError):
        for kind in type(error).__mro__:
            if kind in _NAMES:
                return _NAMES[kind]
    return INTERNAL
