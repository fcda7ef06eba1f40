"""``nodes``: each command on a store, what is printed, and what never is."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.command import cli
from gateway.credentials.node_store import SqliteNodeStore
from gateway.credentials.nodes import Node
from gateway.credentials.store_keys import StoreKeys

REAL = "4ea1" * 16
_FILE = """\
state_dir: state
listeners: [{address: "127.0.0.1:1"}]
controllers:
  main: {url: "http://jenkins.lan:8080", credentials: {modes: [nodes]}}
  other: {url: "http://jenkins.lan:8081"}
routes: [{id: a, controller: main}, {id: b, controller: other, host: b}]
"""


@dataclass
class Desk:
    """A configuration and its state folder."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "gateway.yaml"

    def run(self, *arguments: str, stdin: str | None = None, status: int = 0) -> tuple[str, str]:
        result = CliRunner().invoke(cli, ["nodes", *arguments, "-c", str(self.config)], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert result.exit_code == status, result.output
        return result.stdout, result.stderr

    def issue(self, name: str = "a", *more: str) -> str:
        out, _ = self.run(
            "issue", "main", name, "--upstream-secret-file", "-", *more, stdin=f"{REAL}\n"
        )
        return out.strip()

    def node(self, name: str = "a") -> Node:
        store = SqliteNodeStore(self.folder / "state")
        found = store.find("main", name)
        store.close()
        assert found is not None
        return found

    def knows(self, secret: str, name: str = "a") -> bool:
        keys = StoreKeys.open(self.folder / "state" / "store.key")
        found = self.node(name)
        return keys.digest(found.context, secret) in {each.digest for each in found.credentials}

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json")[0])


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "gateway.yaml").write_text(_FILE)
    return Desk(tmp_path)


def test_issue_prints_the_secret_alone(desk: Desk) -> None:
    out, err = desk.run("issue", "main", "a", "--upstream-secret-file", "-", stdin=f"{REAL}\n")
    secret = out.removesuffix("\n")
    assert len(secret) == 64
    assert desk.knows(secret)
    assert err == "main/a: issued; the secret is not shown again:\n"
    out, err = desk.run("issue", "main", "a", "--upstream-secret-file", "-", stdin=REAL, status=1)
    assert out == ""
    assert "has a secret already; `nodes rotate`" in err


def test_issue_into_a_file(desk: Desk) -> None:
    real, made = desk.folder / "real", desk.folder / "made"
    real.write_text(REAL)
    out, err = desk.run(
        "issue", "main", "a", "--upstream-secret-file", str(real), "--secret-file", str(made)
    )
    secret = made.read_text().strip()
    assert desk.knows(secret)
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert secret not in out + err
    out, _ = desk.run("rotate", "main", "a", "--secret-file", str(made), "--json")
    assert json.loads(out) == {
        "controller": "main",
        "node": "a",
        "event": "rotated",
        "secret_file": str(made),
    }
    assert desk.knows(made.read_text().strip())
    assert made.read_text().strip() != secret


def test_a_file_that_cannot_be_written_costs_no_secret(desk: Desk) -> None:
    secret = desk.issue()
    desk.run("rotate", "main", "a", "--secret-file", str(desk.folder / "no" / "f"), status=1)
    assert desk.knows(secret)
    assert len(desk.node().credentials) == 1


def test_issue_with_conditions(desk: Desk) -> None:
    desk.issue(
        "agent ü",
        *("--allow-from", "10.0.0.0/8", "--allow-from", "fd00::/8"),
        *("--certificate", "san:{node}.x", "--note", "ask Bob"),
        *("--valid-from", "2026-01-01T00:00:00Z", "--valid-until", "2999-01-01T00:00:00+01:00"),
    )
    (found,) = desk.json("list")
    assert found["node"] == "agent ü"
    assert found["allow_from"] == ["10.0.0.0/8", "fd00::/8"]
    assert found["certificate"] == {"by": "san", "name": "{node}.x"}
    assert found["valid_until"] == "2998-12-31T23:00:00Z"
    assert found["upstream_secret"] == "stored"


def test_change_and_issue_again(desk: Desk) -> None:
    secret = desk.issue("a", "--allow-from", "10.0.0.0/8", "--note", "ask Bob")
    out, _ = desk.run("change", "main", "a", "--certificate", "subject")
    assert out == ("main/a: changed; only with allow_from 10.0.0.0/8; certificate subject {node}\n")
    assert desk.knows(secret)
    desk.run("revoke", "main", "a")
    out, err = desk.run("issue", "main", "a")
    assert err.startswith(
        "main/a: only with allow_from 10.0.0.0/8; certificate subject {node}\nmain/a: issued;"
    )
    assert desk.knows(out.strip())
    assert desk.node().note == "ask Bob"
    other = "0b0e" * 16
    out, _ = desk.run(
        *("change", "main", "a", "--drop", "allow-from", "--drop", "certificate"),
        *("--upstream-secret-file", "-"),
        stdin=other,
    )
    assert out == "main/a: changed; no conditions\n"
    found = desk.node()
    assert found.upstream is not None
    keys = StoreKeys.open(desk.folder / "state" / "store.key")
    assert keys.open_sealed("upstream-secret", "main/a", found.upstream) == other


def test_nobody_would_know_the_real_secret(desk: Desk) -> None:
    _, err = desk.run("issue", "main", "a", status=1)
    assert "give it with --upstream-secret-file FILE" in err
    assert not (desk.folder / "state" / "store.key").exists()


def test_a_controller_without_the_mode(desk: Desk) -> None:
    _, err = desk.run("issue", "other", "a", "--upstream-secret-file", "-", stdin=REAL)
    assert err.startswith("warning: other does not have the mode nodes")


def test_the_life_of_a_node(desk: Desk) -> None:
    first = desk.issue()
    assert [each["state"] for each in desk.json("list")] == ["active"]
    second = desk.run("rotate", "main", "a", "--overlap", "5m")[0].strip()
    assert desk.knows(first)
    assert desk.knows(second)
    assert desk.json("show", "main", "a")["state"] == "rotating"
    third = desk.run("rotate", "main", "a", "--overlap", "0s")[0].strip()
    assert [desk.knows(each) for each in (first, second, third)] == [False, False, True]
    out, _ = desk.run("expire", "main", "a", "--at", "2026-01-01T00:00:00Z")
    assert out == "main/a: ends at 2026-01-01T00:00:00Z\n"
    assert desk.json("show", "main", "a")["state"] == "expired"
    desk.run("expire", "main", "a", "--never")
    desk.run("expire", "main", "a", "--in", "8h")
    assert desk.json("show", "main", "a")["state"] == "active"
    desk.run("revoke", "main", "a")
    shown = desk.json("show", "main", "a")
    assert shown["state"] == "revoked"
    assert [each["event"] for each in shown["history"]] == [
        "issued",
        "rotated",
        "rotated",
        "expiry set",
        "expiry set",
        "expiry set",
        "revoked",
    ]
    _, err = desk.run("rotate", "main", "a", status=1)
    assert "is revoked; `nodes issue`" in err
    assert desk.knows(desk.issue())


def test_tables(desk: Desk) -> None:
    desk.issue()
    assert "active" in desk.run("list")[0]
    assert desk.json("list", "--on", "other") == []
    assert "issued" in desk.run("show", "main", "a")[0]
    _, err = desk.run("show", "main", "b", status=1)
    assert err == "main/b: no secret was ever issued for it\n"


def test_export_and_import(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = desk.issue()
    exported = desk.folder / "nodes.json"
    assert desk.run("export", "-o", str(exported))[0] == f"{exported}: 1 nodes written\n"
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600
    assert json.loads(desk.run("export")[0]) == json.loads(exported.read_text())
    for hidden in (secret, REAL):
        assert hidden not in exported.read_text()
    other = Desk(tmp_path_factory.mktemp("other"))
    other.config.write_text(_FILE)
    _, err = other.run("import", str(exported), status=1)
    assert "copy the key file" in err
    key = other.folder / "state" / "store.key"
    key.write_bytes((desk.folder / "state" / "store.key").read_bytes())
    assert other.run("import", str(exported))[0] == f"{exported}: 1 nodes imported\n"
    assert other.knows(secret)
    _, err = other.run("import", str(exported), status=1)
    assert "nothing was imported. --replace" in err
    other.run("import", str(exported), "--replace")


def test_import_of_plain_secrets(desk: Desk) -> None:
    entry = {"controller": "main", "node": "a", "secret": "5" * 64, "upstream_secret": REAL}
    document = {"format": "remoting-gateway nodes 1", "nodes": [entry]}
    desk.run("import", "-", stdin=json.dumps(document))
    assert desk.knows("5" * 64)
    entry["controller"] = "mian"
    _, err = desk.run("import", "-", stdin=json.dumps(document), status=1)
    assert 'found "mian"' in err
    for text in ("{hunter2", '{"hunter2": 1, "hunter2": 2}'):
        _, err = desk.run("import", "-", stdin=text, status=1)
        assert "allowed: JSON" in err
        assert "hunter2" not in err


def test_import_refuses_what_issue_refuses(desk: Desk) -> None:
    entry = {"controller": "main", "node": "a", "secret": "5" * 64}
    document = {"format": "remoting-gateway nodes 1", "nodes": [entry]}
    _, err = desk.run("import", "-", stdin=json.dumps(document), status=1)
    assert "main/a: main has no jenkins_secrets configured" in err
    assert desk.json("list") == []
    entry |= {"controller": "other", "upstream_secret": REAL}
    _, err = desk.run("import", "-", stdin=json.dumps(document))
    assert err.startswith("warning: other does not have the mode nodes")


def test_rekey(desk: Desk) -> None:
    secret = desk.issue()
    assert "1 old ones are still needed" in desk.run("rekey")[0]
    found = desk.json("show", "main", "a")
    keys = StoreKeys.open(desk.folder / "state" / "store.key")
    assert found["credentials"][0]["key"] == keys.ids[1]
    assert keys.digest("main/a", secret, keys.ids[1]) == desk.node().credentials[0].digest
    desk.run("revoke", "main", "a")
    assert "no old one is needed" in desk.run("rekey")[0]


def test_unlock(desk: Desk) -> None:
    desk.run("unlock", "main", "a", "--address", "192.0.2.1")
    desk.run("unlock", "--address", "192.0.2.1")
    desk.run("unlock", "--all")
    store = SqliteNodeStore(desk.folder / "state")
    found = store.unlocks_after(0)
    store.close()
    assert [(each.controller, each.node, each.address) for each in found] == [
        ("main", "a", "192.0.2.1"),
        (None, None, "192.0.2.1"),
        (None, None, None),
    ]


def test_a_store_that_cannot_be_used(desk: Desk) -> None:
    (desk.folder / "state").write_text("")
    _, err = desk.run("list", status=1)
    assert err.startswith(str(desk.folder / "state" / "nodes.sqlite3"))


def test_a_damaged_record_is_named_and_left_out(desk: Desk) -> None:
    for name in ("bad", "good"):
        desk.issue(name)
    with closing(sqlite3.connect(desk.folder / "state" / "nodes.sqlite3")) as connection:
        connection.execute("UPDATE nodes SET allow_from = '?' WHERE name = 'bad'")
        connection.commit()
    out, err = desk.run("list", "--json")
    assert [each["node"] for each in json.loads(out)] == ["good"]
    assert err.startswith("warning: main/bad is left out: its record is damaged; `nodes import")
    copy = desk.folder / "copy.json"
    out, err = desk.run("export", "-o", str(copy), status=1)
    assert "1 nodes written" in out
    assert "main/bad is left out" in err
    assert [each["node"] for each in json.loads(copy.read_text())["nodes"]] == ["good"]
    _, err = desk.run("show", "main", "bad", status=1)
    assert err.startswith("main/bad: its record is damaged; ")
    desk.run("revoke", "main", "bad")
    assert [each["state"] for each in desk.json("list")] == ["revoked", "active"]


@pytest.mark.parametrize("given", ["hunter2", "two\nlines" + "x" * 40, "日" * 64])
def test_secrets_that_no_agent_has(desk: Desk, given: str) -> None:
    _, err = desk.run("issue", "main", "a", "--upstream-secret-file", "-", stdin=given, status=1)
    assert err.startswith("--upstream-secret-file: allowed: ")
    assert given not in err
