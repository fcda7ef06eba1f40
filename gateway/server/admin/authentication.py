"""Who may ask the admin listener.

Owns: the token (Bearer, or the password of Basic, which browsers can ask for), compared in constant
time, and what a client certificate is worth.

Must not know: what is asked for.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

from gateway.config.admin import AdminConfig
from gateway.errors import ConfigError
from gateway.http.exchange import Exchange
from gateway.protocol.http_headers import Field
from gateway.server.admin.messages import Problem

_CHALLENGES: Final[tuple[Field, ...]] = (
    (b"WWW-Authenticate", b'Bearer realm="Remoting Gateway"'),
    (b"WWW-Authenticate", b'Basic realm="Remoting Gateway", charset="UTF-8"'),
)
_MOST_NAMED: Final = 256  # characters of a certificate's subject


class Authentication:
    """What one configuration asks of callers."""

    __slots__ = ("_certificate_will_do", "_token", "is_over")

    def __init__(self, config: AdminConfig) -> None:
        """Read the token. Raises ConfigError where that is not to be had."""
        try:
            token = config.read_token()
        except ValueError as error:
            raise ConfigError(f"admin.token_file: {error}") from None
        self._token = None if token is None else token.reveal().encode()
        self.is_over = False  # who was let in by it is to be asked anew
        tls = config.tls
        # With ``require`` everybody has one; then the token is asked for, too, if there is one.
        self._certificate_will_do = tls is not None and tls.client_certificates.mode == "optional"

    @property
    def asks_for_token(self) -> bool:
        """Say whether a token is needed by whoever has nothing else."""
        return self._token is not None

    def asks_the_same(self, other: Authentication) -> bool:
        """Say whether whoever may come in here may there."""
        return (self._token, self._certificate_will_do) == (
            other._token,
            other._certificate_will_do,
        )

    def look(self, exchange: Exchange) -> tuple[str, str | None]:
        """Return who asks, and the token that is still to be shown; None where nothing is.

        A wrong Authorization is as good as none: the page asks for the token itself.
        """
        try:
            return self.caller(exchange), None
        except Problem:
            assert self._token is not None
            return exchange.client_address, self._token.decode("ascii")

    def caller(self, exchange: Exchange) -> str:
        """Return who asks, for the audit log. Raises Problem (401)."""
        subject = None if exchange.stream.tls is None else exchange.stream.tls.subject
        if self._token is not None and not (self._certificate_will_do and subject is not None):
            values = exchange.request.headers.get_all(b"authorization")
            given = _token_in(values[0]) if len(values) == 1 else None
            # Never skipped, so that a missing one takes as long as a wrong one.
            if not hmac.compare_digest(given or b"", self._token):
                detail = "this needs the token of admin.token_file, as Bearer or Basic password"
                raise Problem(401, "unauthorized", detail, headers=_CHALLENGES)
        client = exchange.client_address
        return client if subject is None else f"{client} {subject[:_MOST_NAMED]}"


def _token_in(value: bytes) -> bytes | None:
    """Return the token in an Authorization field, or None."""
    scheme, _, rest = value.partition(b" ")
    rest = rest.strip(b" ")
    if scheme.lower() == b"bearer":
        return rest
    if scheme.lower() != b"basic":
        return None
    try:
        _, colon, password = base64.b64decode(rest, validate=True).partition(b":")
    except (ValueError, binascii.Error):
        return None
    return password if colon else None
