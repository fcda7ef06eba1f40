"""``rekey`` killed with -9 before and after each of its steps: nothing that was issued is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from gateway.credentials.issuing import Issuing
from gateway.credentials.node_store import SqliteNodeStore
from gateway.credentials.store_keys import StoreKeys

_ROOT: Final = Path(__file__).parents[2]
_NODES: Final = 5

# Runs rekey and kills itself at the step whose number is given; prints the steps before it.
# A step is a statement that begins, ends or changes something, a new key file put into its place,
# or a folder synced.
_REKEY: Final = """
import os, signal, sqlite3, sys
from pathlib import Path
from gateway.credentials import node_tables, store_keys
from gateway.credentials.issuing import Issuing
from gateway.credentials.node_store import SqliteNodeStore

folder, last = Path(sys.argv[1]), int(sys.argv[2])
steps = 0

def step(name):
    global steps
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)
    steps += 1
    print(name, flush=True)

def noted(name, function):
    def call(*arguments, **more):
        step("before " + name)
        found = function(*arguments, **more)
        step("after " + name)
        return found
    return call

class Connection(sqlite3.Connection):
    def execute(self, statement, *values):
        word = statement.split()[0]
        if word in ("SELECT", "PRAGMA"):
            return super().execute(statement, *values)
        return noted(word, super().execute)(statement, *values)

connect = sqlite3.connect
sqlite3.connect = lambda *arguments, **more: connect(*arguments, factory=Connection, **more)
Path.replace = noted("replace", Path.replace)
store_keys._sync = noted("sync", store_keys._sync)
Issuing(SqliteNodeStore(folder), folder / "store.key", operator="rekey").rekey()
"""


def _rekey(folder: Path, last: int) -> tuple[int, list[str]]:
    """Return the exit status, and the steps that were done."""
    done = subprocess.run(
        [sys.executable, "-c", _REKEY, str(folder), str(last)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        check=False,
        text=True,
    )
    return done.returncode, done.stdout.splitlines()


def _fill(folder: Path) -> dict[str, str]:
    """Return nodes and the secrets issued for them."""
    store = SqliteNodeStore(folder)
    desk = Issuing(store, folder / "store.key", operator="bob")
    found = {
        f"n{i}": desk.issue("main", f"n{i}", upstream=f"real {i}").secret for i in range(_NODES)
    }
    desk.revoke("main", "n0")  # keeps its sealed secret, and has no digest
    store.close()
    return found


def _check(folder: Path, secrets: dict[str, str]) -> None:
    store = SqliteNodeStore(folder)
    keys = StoreKeys.open(folder / "store.key")
    nodes = store.nodes().found
    assert len(nodes) == _NODES
    for node in nodes:
        assert node.upstream is not None
        real = keys.open_sealed("upstream-secret", node.context, node.upstream)
        assert real == f"real {node.name[1:]}"
        for each in node.credentials:
            digest = keys.digest(node.context, secrets[node.name], each.key_id)
            assert digest == each.digest
        assert bool(node.credentials) == (node.name != "n0")
    store.close()


@pytest.mark.timeout(120)
def test_rekey_killed_at_each_step(tmp_path: Path) -> None:
    """On one store, over and over, as after a machine that crashes again and again."""
    whole = tmp_path / "whole"
    _fill(whole)
    status, steps = _rekey(whole, -1)
    assert status == 0
    assert [step for step in steps if "COMMIT" in step] == ["before COMMIT", "after COMMIT"] * 3
    assert steps.count("after replace") == 2

    folder = tmp_path / "killed"
    secrets = _fill(folder)
    kills = [i for i, step in enumerate(steps) if "UPDATE" not in step and "INSERT" not in step]
    for last in kills:
        status, done = _rekey(folder, last)
        assert status == -signal.SIGKILL, done
        assert len(done) == last
        _check(folder, secrets)
    store = SqliteNodeStore(folder)
    desk = Issuing(store, folder / "store.key", operator="bob")
    left = desk.rekey()
    assert len(left) == 1, "the digests' one; what the kills left over is dropped"
    assert not [each.name for each in folder.iterdir() if ".new-" in each.name]
    store.close()
    _check(folder, secrets)
