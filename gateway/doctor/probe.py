"""One agent's upgrade, and what its answer means.

Owns: asking once and leaving at once. Must not know: how it is shown.
"""

from __future__ import annotations

from gateway.demo.agent_http import Answer
from gateway.doctor.case import Case
from gateway.doctor.check_agent import HANDSHAKE, capability_lost, judge
from gateway.doctor.client import dial
from gateway.doctor.findings import Finding
from gateway.doctor.question import Question
from gateway.doctor.websocket import agent_request, new_key, upgrade


async def probe_once(question: Question) -> tuple[bytes, Answer, Finding | None]:
    """Return the request, the answer, and what is wrong with it, if anything. Raises Unanswered."""
    assert question.node is not None
    assert question.secret is not None
    key = new_key()
    request = agent_request(question, key, node=question.node, secret=question.secret.reveal())
    wire = await dial(question, question.connect_to)
    try:
        found = await upgrade(question, request, key, wire, within=HANDSHAKE)
        if found.answer.status == 101:
            await found.open().close()
            return request, found.answer, capability_lost(found.answer)
    finally:
        wire.abandon()
    what = f"GET {question.target.path}wsagents/"
    return request, found.answer, judge(Case(question), found.answer, what)
