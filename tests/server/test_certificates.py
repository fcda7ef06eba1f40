"""What is told of certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.config.models import GatewayConfig
from gateway.server.certificates import certificates
from tests.certificates import tls_config


def config(folder: Path) -> GatewayConfig:
    tls = tls_config(folder, "localhost", "b.example")
    listener = {"address": "127.0.0.1:0", "tls": tls}
    return GatewayConfig.model_validate(
        {
            "state_dir": str(folder),
            "listeners": [listener, {"address": "127.0.0.1:0"}],
            "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
            "admin": {"listen": "127.0.0.1:0", "tls": tls_config(folder, "admin.example")},
        }
    )


def test_all_of_them(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    found = certificates(config(tmp_path), now)
    assert {(each["used_by"], *each["names"]) for each in found} == {
        ("listeners[0]", "localhost"),
        ("listeners[0]", "b.example"),
        ("admin", "admin.example"),
    }
    for each in found:
        assert each["problem"] is None
        assert each["expires_in_s"] > 0
        assert datetime.fromisoformat(each["expires"]) > now


def test_one_that_has_expired(tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(days=400_000)
    for each in certificates(config(tmp_path), later):
        assert each["problem"] == "it is not valid now"
        assert each["expires_in_s"] < 0


def test_one_that_cannot_be_read(tmp_path: Path) -> None:
    made = config(tmp_path)
    (tmp_path / "localhost.crt").unlink()
    first = certificates(made, datetime.now(UTC))[0]
    assert "no such file" in first["problem"]
    assert first["expires"] is None
