"""TLS towards a controller's url: whom to trust, what to show, which name to check.

Owns: from ``controllers.*.tls`` to an OpenSSL context, built once per setting and contents of the
files that it names.

Must not know: addresses, connections. JNLP4 has a context of its own (``tls_context``): there the
key is pinned and certificates mean nothing.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from OpenSSL import SSL

from gateway.config.models import ControllerConfig
from gateway.config.upstream import ClientCertificateConfig, ControllerTlsConfig
from gateway.errors import ConfigError
from gateway.transport.tls_context import ClientTls, signing_key, verifying_client_context


def client_tls(controller: ControllerConfig) -> ClientTls | None:
    """Return how to speak TLS to the controller's url; None for http.

    Raises ConfigError when a file cannot be used.
    """
    url = controller.url
    if url is None or url.scheme != "https":
        return None
    tls = controller.tls or ControllerTlsConfig()
    context = _context(tls, _contents(tls))
    return ClientTls(context, tls.server_name or url.host, verify=tls.verify_name)


def _contents(tls: ControllerTlsConfig) -> bytes:
    """Return a digest of the files that are named: after a reload, others may be in their place."""
    paths = [tls.ca_file]
    if tls.client_certificate is not None:
        paths += [tls.client_certificate.certificate, tls.client_certificate.key]
    digest = hashlib.sha256()
    for path in paths:
        data = b""
        with contextlib.suppress(OSError):  # whoever uses it says what is wrong with it
            data = b"" if path is None else path.read_bytes()
        digest.update(b"%d:" % len(data) + data)
    return digest.digest()


# Loading the system's authorities takes tens of milliseconds.
@functools.lru_cache(maxsize=64)
def _context(tls: ControllerTlsConfig, contents: bytes) -> SSL.Context:
    context = verifying_client_context(tls.ca_file)
    if tls.client_certificate is not None:
        _show(context, tls.client_certificate)
    return context


def _show(context: SSL.Context, pair: ClientCertificateConfig) -> None:
    try:
        context.use_certificate_chain_file(str(pair.certificate))
        context.use_privatekey(signing_key(pair.key))
        context.check_privatekey()
    except (SSL.Error, ValueError, TypeError, UnsupportedAlgorithm, OSError) as error:
        raise ConfigError(
            f"{pair.certificate}: cannot be used with key {pair.key}: {type(error).__name__}"
        ) from None
