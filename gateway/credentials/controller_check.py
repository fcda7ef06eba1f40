"""Mode ``controller``: the controller judges.

Owns: nothing but the decision to decide nothing. The controller checks name, secret and cookie, in
that order (PROTOCOLS A.3, C.3), and its refusals become the statuses that Jenkins itself would
give.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.credentials.policy import Granted, Presented


class ControllerCheck:
    """Recognise every secret, prove none."""

    async def verify(self, presented: Presented, failures: Sequence[str] = ()) -> Granted:
        return Granted(presented.secret, proved=False)
