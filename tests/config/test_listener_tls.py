"""TLS of listeners: what a file may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config.listener_tls import HstsConfig, TlsConfig
from gateway.config.values import FileContext

PAIR = {"certificate": "a.crt", "key": "a.key"}


def read(**more: Any) -> TlsConfig:
    return TlsConfig.model_validate(
        {"certificates": [PAIR], **more}, context=FileContext(base=Path("/etc/gw"))
    )


def test_defaults() -> None:
    tls = read()
    assert tls.minimum_version == "1.2"
    assert tls.client_certificates.mode == "off"
    assert (tls.ciphers, tls.hsts) == (None, None)


def test_everything_survives_json() -> None:
    tls = read(
        minimum_version="1.3",
        client_certificates={"mode": "require", "ca_file": "ca.pem"},
        hsts={"max_age": "1d", "include_subdomains": True},
    )
    assert tls.client_certificates.ca_file == Path("/etc/gw/ca.pem")
    assert TlsConfig.model_validate(tls.model_dump(mode="json")) == tls


@pytest.mark.parametrize(
    "wrong",
    [
        {"minimum_version": "1.1"},
        {"minimum_version": 1.2},
        {"client_certificates": {"mode": "on"}},
        {"client_certificates": {"mode": True}},
        {"hsts": True},
        {"hsts": {"max_age": "0s"}},
    ],
)
def test_mistakes(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        read(**wrong)


def test_hsts_is_written_in_whole_seconds() -> None:
    assert HstsConfig().value == "max-age=31536000"
    assert HstsConfig(max_age=1.5, include_subdomains=True).value == "max-age=1; includeSubDomains"
