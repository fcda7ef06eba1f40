"""What every part of the configuration is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.config.base import CertificateConfig
from gateway.config.values import FileContext

PAIR = {"certificate": "tls.crt", "key": "/k/tls.key"}


def test_relative_paths_start_at_the_file() -> None:
    made = CertificateConfig.model_validate(PAIR, context=FileContext(base=Path("/etc/gw")))
    assert (made.certificate, made.key) == (Path("/etc/gw/tls.crt"), Path("/k/tls.key"))
    assert CertificateConfig.model_validate(PAIR).certificate == Path("tls.crt")


def test_models_are_frozen_and_know_their_keys() -> None:
    made = CertificateConfig.model_validate(PAIR)
    with pytest.raises(ValidationError, match="frozen"):
        made.key = Path("/other")  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        CertificateConfig.model_validate({**PAIR, "passphrase": "x"})
