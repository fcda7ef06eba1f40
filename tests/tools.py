"""Programs that tests use where they are installed: nginx, curl and the like.

Owns: whether a test without its program is skipped or fails.
"""

from __future__ import annotations

import os
import shutil
from typing import Final

import pytest

# What .ci/run sets: there everything is installed, and a test that is skipped would go unnoticed.
REQUIRE: Final = "GATEWAY_TESTS_REQUIRE_TOOLS"
# Names of those that could not be had there after all, and why is in its output.
WITHOUT: Final = "GATEWAY_TESTS_WITHOUT"
# Debian keeps servers where only root looks.
_SYSTEM: Final = "/usr/sbin:/usr/local/sbin"


def require_tool(name: str) -> str:
    """Return the path of a program; skip the test if it is not installed, or fail under REQUIRE."""
    path = shutil.which(name) or shutil.which(name, path=_SYSTEM)
    if path is not None:
        return path
    may_skip = name in os.environ.get(WITHOUT, "").split()
    if os.environ.get(REQUIRE, "") not in {"", "0"} and not may_skip:
        pytest.fail(f"{name} is not installed, and {REQUIRE} is set")
    pytest.skip(f"{name} is not installed")
