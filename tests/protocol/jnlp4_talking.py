"""Talking to a ``Jnlp4Client`` in tests: what a controller says, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.protocol.jnlp4 import (
    COOKIE,
    NODE_NAME,
    SECRET_KEY,
    Jnlp4Client,
    Stage,
)
from tests.recordings import load

HEADERS = {NODE_NAME: "gold", SECRET_KEY: "5ec7e7"}
CAPABILITY = load("capability")["capabilities"][0]["ascii"]


def u16str(data: bytes | str) -> bytes:
    """PROTOCOLS 0.2, written down once more."""
    data = data.encode() if isinstance(data, str) else data
    return len(data).to_bytes(2, "big") + data


@dataclass(frozen=True)
class Result:
    """Where the exchange got to, and what was sent on the way, our headers left out."""

    stage: Stage
    capability: str = ""
    cookie: str | None = None
    refusal: str = ""
    sent: bytes = b""


def talk(pieces: Iterable[bytes]) -> tuple[Result, bytes]:
    client = Jnlp4Client(HEADERS)
    client.data_to_send()
    sent = b""
    for piece in pieces:
        client.receive_data(piece)
        sent += client.data_to_send()
    result = Result(client.stage, client.capability, client.cookie, client.refusal, sent)
    return result, client.leading


ACCEPTED = u16str(json.dumps({COOKIE: "00ff"})) + u16str("OK") + u16str(CAPABILITY)
