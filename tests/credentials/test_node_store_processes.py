"""The store used by four processes at once, some of which are killed in the middle."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from gateway.credentials.issuing import Issuing
from gateway.credentials.node_store import SqliteNodeStore
from gateway.credentials.nodes import MOST_VALID, Node
from gateway.credentials.store_keys import StoreKeys

_ROOT: Final = Path(__file__).parents[2]

# Issues, rotates, revokes; what is committed is written down after it, line by line.
_WRITER: Final = """
import random, sys
from pathlib import Path
from gateway.credentials.issuing import Issuing
from gateway.credentials.node_store import SqliteNodeStore

folder, name, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
chance = random.Random(seed)
desk = Issuing(SqliteNodeStore(folder), folder / "store.key", operator=name)
for i in range(10_000):
    node = f"{name}-{i}"
    secret = desk.issue("main", node, upstream="real " + node).secret
    print("valid", node, secret, flush=True)
    what = chance.random()
    if what < 0.3:
        secret = desk.rotate("main", node, overlap=0.0).secret
        print("valid", node, secret, flush=True)
    elif what < 0.5:
        desk.revoke("main", node)
        print("revoked", node, "-", flush=True)
    elif what < 0.52:
        desk.rekey()
"""


class _Writer:
    """One process, and what it has said that it did."""

    def __init__(self, folder: Path, name: str, seed: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(folder), name, str(seed)],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
        )
        self.said = b""

    def listen(self) -> None:
        """Take what has been said, without waiting."""
        assert self.process.stdout is not None
        while select.select([self.process.stdout], [], [], 0)[0]:
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                return
            self.said += data

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.listen()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def states(self) -> dict[str, tuple[str, str]]:
        """Return the last that was said about each node; a line cut by the kill does not count."""
        lines = self.said.decode().split("\n")[:-1]
        return {node: (word, secret) for word, node, secret in (line.split() for line in lines)}


@pytest.mark.timeout(120)
def test_nothing_is_lost_or_half_written(tmp_path: Path) -> None:
    chance = random.Random(20260601)
    writers = [_Writer(tmp_path, f"w{i}", i) for i in range(4)]
    running = list(writers)
    deadline = time.monotonic() + 60
    while sum(len(writer.states()) for writer in writers) < 120 or len(writers) < 8:
        assert time.monotonic() < deadline
        time.sleep(chance.uniform(0.05, 0.3))
        for writer in running:
            writer.listen()
        if len(writers) < 8 and all(writer.said for writer in running):
            victim = running.pop(chance.randrange(4))
            victim.kill()
            running.append(_Writer(tmp_path, f"w{len(writers)}", len(writers)))
            writers.append(running[-1])
    for writer in running:
        writer.kill()

    store = SqliteNodeStore(tmp_path)
    nodes = {node.name: node for node in store.nodes().found}
    keys = StoreKeys.open(tmp_path / "store.key")
    for writer in writers:
        states = writer.states()
        for name, (word, secret) in states.items():
            _check(nodes[name], word, secret, keys, last=list(states)[-1])
    # At most one more each: what was committed in the moment of the kill, and not said any more.
    assert len(nodes) <= sum(len(writer.states()) for writer in writers) + len(writers)
    for node in nodes.values():
        assert node.revoked_at is not None or 1 <= len(node.credentials) <= MOST_VALID
        assert node.upstream is not None
        real = keys.open_sealed("upstream-secret", node.context, node.upstream)
        assert real == f"real {node.name}"
        events = [entry.event for entry in store.history("main", node.name)]
        assert events[0] == "issued"
        assert (node.revoked_at is not None) == ("revoked" in events)
    assert Issuing(store, tmp_path / "store.key", operator="x").export().found
    store.close()


def _check(node: Node, word: str, secret: str, keys: StoreKeys, *, last: str) -> None:
    """Check that a node is as its writer said, or one step further."""
    if word == "revoked":
        assert node.revoked_at is not None
        assert node.credentials == ()
        return
    if node.revoked_at is not None:
        assert node.name == last, "committed, and killed before it was said"
        return
    (credential,) = node.credentials
    assert credential.key_id in keys.ids
    if keys.digest(node.context, secret, credential.key_id) != credential.digest:
        # A rotation that was committed and not said: only the last thing a writer did.
        assert node.name == last
