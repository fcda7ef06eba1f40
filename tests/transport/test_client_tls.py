"""TLS towards a controller's url: from settings to contexts. What they verify: test_upstream."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from gateway.config.models import ControllerConfig
from gateway.errors import ConfigError
from gateway.transport.client_tls import client_tls


def controller(url: str | None = "https://jenkins.lan/", **tls: object) -> ControllerConfig:
    return ControllerConfig.model_validate({"url": url, **({"tls": tls} if tls else {})})


def test_http_needs_none() -> None:
    assert client_tls(controller("http://jenkins.lan/")) is None
    assert client_tls(controller(None)) is None


def test_the_name_of_the_url_is_sent_and_checked() -> None:
    tls = client_tls(controller())
    assert tls is not None
    assert (tls.server_name, tls.verify) == ("jenkins.lan", True)


def test_another_name(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = client_tls(
        controller(ca_file=tmp_path / "ca.pem", server_name="Other.lan", verify_name=False)
    )
    assert tls is not None
    assert (tls.server_name, tls.verify) == ("other.lan", False)


def test_equal_settings_share_a_context(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    first, second = [client_tls(controller(ca_file=tmp_path / "ca.pem")) for _ in range(2)]
    assert first is not None
    assert second is not None
    assert first.context is second.context


def test_other_files_in_the_same_place_make_another(tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        made.append(client_tls(controller(ca_file=tmp_path / "ca.pem")))
    first, second = made
    assert first != second


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_authorities_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"ca\.pem: holds no certificate"):
        client_tls(controller(ca_file=path))


def test_a_client_certificate_with_the_key_of_another(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.issue_cert("a").cert_chain_pems[0].write_to_path(str(tmp_path / "tls.crt"))
    ca.issue_cert("b").private_key_pem.write_to_path(str(tmp_path / "tls.key"))
    pair = {"certificate": tmp_path / "tls.crt", "key": tmp_path / "tls.key"}
    with pytest.raises(ConfigError, match="cannot be used with key"):
        client_tls(controller(client_certificate=pair))
