"""Agents' client certificates: optional at the listener, demanded for the node."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio
import trustme
from structlog.testing import LogCapture

from tests import certificates
from tests.agents.bridge import (
    Agent,
    agent_request,
    check_refusal,
    make_config,
    probe,
    running_gateway,
)
from tests.peers import scripted_controller as scripted
from tests.peers.raw_client import Answer, RawClient
from tests.peers.scripted_controller import ScriptedController, Stage, stopping_at


def context(leaf: trustme.LeafCert | None) -> ssl.SSLContext:
    made = certificates.client_context()
    if leaf is not None:
        leaf.configure_cert(made)
    return made


async def ask_over_tls(port: int, shown: trustme.LeafCert | None, request: bytes) -> Answer:
    """Ask as an agent that shows a certificate; close again."""
    tcp = await trio.open_tcp_stream("127.0.0.1", port)
    stream = trio.SSLStream(tcp, context(shown), server_hostname="gateway.test")
    async with RawClient(stream) as client:
        await client.send(request)
        answer = await client.read_head()
        if answer.status == 101:
            await Agent(client).close()
        return answer


@pytest.mark.parametrize(
    ("by", "name"), [("subject", "{node}"), ("san", "{node}.agents.test"), ("san", "my-agent.*")]
)
async def test_a_certificate_for_the_node(
    tmp_path: Path, log: LogCapture, by: str, name: str
) -> None:
    authority = certificates.authority()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    own = authority.issue_cert("my-agent.agents.test", common_name="my-agent")
    other = authority.issue_cert("other.agents.test", common_name="other")
    tls = certificates.tls_config(tmp_path, "gateway.test").model_dump(mode="json")
    tls["client_certificates"] = {"mode": "optional", "ca_file": str(tmp_path / "ca.pem")}
    rules = [{"match": "my-*", "client_certificate": {"by": by, "name": name}}]
    controller = ScriptedController(stopping_at(Stage.CHANNEL, scripted.stay_silent))
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        config = make_config(
            tmp_path, controller.url, listener={"tls": tls}, nodes={"rules": rules}
        )
        async with running_gateway(config) as port:
            expected = 403 if name == "my-agent.*" else 101
            answer = await ask_over_tls(port, own, agent_request())
            assert answer.status == expected
            for shown in (other, None):
                check_refusal(await ask_over_tls(port, shown, agent_request()), log, 403, None)
            assert len(controller.agents) == (expected == 101)
            # Its GET of /login shows none, and needs none.
            assert (await ask_over_tls(port, None, probe())).status == 200
            # Other nodes are nobody's to ask.
            answer = await ask_over_tls(port, None, agent_request({"Node-Name": "other"}))
            assert answer.status == 101
        nursery.cancel_scope.cancel()
    reasons = [entry["reason"] for entry in log.entries if entry["event"] == "agent refused"]
    assert 'rule "my-*": no client certificate was shown' in reasons
