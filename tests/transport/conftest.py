"""What tests of the transport share."""

from __future__ import annotations

import pytest

from gateway.transport.tls_context import ServerContexts
from tests import certificates


@pytest.fixture(scope="session")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> ServerContexts:
    """A listener's TLS contexts with a certificate for ``localhost``."""
    return ServerContexts(certificates.tls_config(tmp_path_factory.mktemp("tls"), "localhost"))
