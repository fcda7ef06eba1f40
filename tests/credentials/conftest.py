"""What the tests of credentials share: what was logged."""

from __future__ import annotations

from tests.agents.conftest import log as log
