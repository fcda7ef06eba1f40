"""The rules about who imports whom, as one table and one walk over the sources.

The table is the design; everything else here reads imports out of syntax trees, so that nothing
has to be importable. Imports inside functions and under TYPE_CHECKING count like any other. Each
rule is shown a source that breaks it, so that a rule that sees nothing is found.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parent.parent

_UP_TO_RUNTIME: Final = frozenset(
    {"errors", "config", "protocol", "observability", "transport", "runtime"}
)
_UP_TO_CREDENTIALS: Final = _UP_TO_RUNTIME | {"http", "credentials"}
_UP_TO_SERVER: Final = _UP_TO_CREDENTIALS | {"agents", "jenkins_cli", "server"}

# Layer -> what of ours it may import, besides itself. "protocol.proxy_protocol" is that module
# alone.
LAYERS: Final[dict[str, frozenset[str]]] = {
    "errors": frozenset(),
    "config": frozenset({"errors"}),
    "protocol": frozenset({"errors"}),
    "observability": frozenset({"errors", "config"}),
    "transport": frozenset({"errors", "config", "protocol.proxy_protocol"}),
    "runtime": frozenset({"errors", "config", "transport", "observability"}),
    "http": _UP_TO_RUNTIME,
    "credentials": frozenset({"errors", "config", "observability", "http"}),
    "agents": _UP_TO_CREDENTIALS,
    "jenkins_cli": _UP_TO_CREDENTIALS,
    "server": _UP_TO_SERVER,
    "doctor": _UP_TO_SERVER | {"demo"},
    "importing": frozenset({"errors", "config"}),
    "command": _UP_TO_SERVER | {"demo", "doctor", "importing"},
    # Plays the peers, so it shares no code with what they are to test.
    "demo": _UP_TO_SERVER - {"protocol", "http", "agents", "jenkins_cli", "credentials"},
    "__main__": frozenset({"command"}),
    "__init__": frozenset(),
}
# Peers under tests/ play the other side, as demo does, and may use its parts.
PEERS: Final = LAYERS["demo"] | {"demo"}

# Module -> where it may be imported, as prefixes below gateway/; nothing means nowhere.
OUTSIDE: Final[dict[str, tuple[str, ...]]] = {
    "h11": ("http", "demo", "doctor"),
    "trio_websocket": ("http.websocket_accept", "demo", "doctor"),
    "OpenSSL": ("transport",),
    "OpenSSL._util": (),
    "asyncio": (),
    "crossplane": ("importing",),
    "importlib": ("command",),  # an import by name would escape this test
}
# What a sans-I/O core has no use for: I/O, clocks, chance, threads, logs.
NOT_IN_PROTOCOL: Final = frozenset(
    {
        "asyncio",
        "datetime",
        "http",
        "io",
        "logging",
        "os",
        "pathlib",
        "queue",
        "random",
        "secrets",
        "select",
        "selectors",
        "signal",
        "socket",
        "ssl",
        "structlog",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "trio",
        "trio_websocket",
        "uuid",
    }
)

# Sources without a test file of their own name, each with the reason.
UNMIRRORED: Final[dict[str, str]] = {
    "doctor/case.py": "values only; every check's test fills one",
    "doctor/question.py": "values only; test_doctor of the command makes them",
    "doctor/checkup.py": "the list of checks; test_faults and test_healthy run all of it",
}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: ``from a import b`` counts as ``a.b``."""

    name: str
    line: int


def imports_of(tree: ast.AST, package: str) -> Iterator[Import]:
    """Yield what a module imports; ``package`` resolves relative imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: -node.level + 1 or None] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(f"{module}.{alias.name}", node.lineno)


def is_below(name: str, prefix: str) -> bool:
    """Say whether a dotted name is ``prefix`` or something in it."""
    return name == prefix or name.startswith(f"{prefix}.")


def check_source(source: str, module: str) -> list[str]:
    """Return the broken rules of one module; ``module`` is its dotted name."""
    tree = ast.parse(source)
    package = (
        module.removesuffix(".__init__") if "__init__" in module else module.rpartition(".")[0]
    )
    imports = list(imports_of(tree, package))
    if module.startswith("tests.peers."):
        return [
            *(
                f"{i.line}: imports {i.name}: peers share no code with the gateway's protocols"
                for i in imports
                if _is_forbidden(i.name, PEERS, own="")
            ),
        ]
    inner = module.removeprefix("gateway.")
    layer = inner.partition(".")[0]
    found = [
        f"{i.line}: imports {i.name}: {layer} may import only {_list(LAYERS[layer])}"
        for i in imports
        if _is_forbidden(i.name, LAYERS[layer], own=layer)
    ]
    for i in imports:
        for banned, places in OUTSIDE.items():
            if is_below(i.name, banned) and not any(is_below(inner, place) for place in places):
                found.append(f"{i.line}: imports {i.name}: allowed only in {_list(places)}")
        if layer == "protocol" and i.name.partition(".")[0] in NOT_IN_PROTOCOL:
            found.append(f"{i.line}: imports {i.name}: protocol is sans-I/O")
    return found + [f"{line}: {text}" for line, text in check_calls(tree)]


def _is_forbidden(name: str, allowed: frozenset[str], *, own: str) -> bool:
    if not is_below(name, "gateway") or name in {"gateway", "gateway.__version__"}:
        return False
    inner = name.removeprefix("gateway.")
    return not any(is_below(inner, each) for each in (*allowed, *([own] if own else [])))


def _list(names: object) -> str:
    assert isinstance(names, tuple | frozenset)
    return ", ".join(sorted(names)) or "nothing"


def check_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield unbounded channels and shields without a deadline."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _called(node)
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            if name == "open_memory_channel":
                size = node.args[0] if node.args else keywords.get("max_buffer_size")
                if size is None or _is_infinite(size):
                    yield node.lineno, "an unbounded memory channel"
            shield = keywords.get("shield")
            if shield is not None and not _is_false(shield):
                limits = [*node.args, *(v for k, v in keywords.items() if k != "shield")]
                if not limits or any(map(_is_infinite, limits)):
                    yield node.lineno, "a shield without a deadline"
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Attribute) and t.attr == "shield" for t in targets):
                yield node.lineno, "a shield set later; use move_on_after(seconds, shield=True)"


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Subscript):  # open_memory_channel[bytes](0)
        function = function.value
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_infinite(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute | ast.Name):
        return (node.attr if isinstance(node, ast.Attribute) else node.id) == "inf"
    return (
        isinstance(node, ast.Call)
        and _called(node) == "float"
        and any(isinstance(a, ast.Constant) and "inf" in str(a.value).lower() for a in node.args)
    )


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


SOURCES: Final = sorted((ROOT / "gateway").rglob("*.py"))
PEER_SOURCES: Final = sorted((ROOT / "tests" / "peers").rglob("*.py"))


@pytest.mark.parametrize("path", [*SOURCES, *PEER_SOURCES], ids=_module_of)
def test_source_keeps_the_rules(path: Path) -> None:
    broken = check_source(path.read_text("utf-8"), _module_of(path))
    if broken:
        lines = [f"{path.relative_to(ROOT)}:{rule}" for rule in broken]
        pytest.fail("\n".join(lines), pytrace=False)


def test_every_folder_is_a_layer() -> None:
    found = {path.relative_to(ROOT / "gateway").parts[0].removesuffix(".py") for path in SOURCES}
    assert found <= LAYERS.keys()


def test_every_source_has_a_test_file() -> None:
    """``gateway/x/y.py`` is tested in ``tests/x/test_y.py``, or also ``test_y_more.py``."""
    missing = []
    for path in SOURCES:
        inner = path.relative_to(ROOT / "gateway")
        if path.name in {"__init__.py", "__main__.py"} or str(inner) in UNMIRRORED:
            continue
        folder = ROOT / "tests" / inner.parent
        names = (f"test_{inner.stem}.py", f"test_{inner.stem}_*.py")
        if not any(any(folder.glob(name)) for name in names):
            missing.append(f"{path.relative_to(ROOT)}: no {folder.relative_to(ROOT)}/{names[0]}")
    if missing:
        pytest.fail("\n".join(missing), pytrace=False)


def test_exceptions_are_needed() -> None:
    assert [name for name in UNMIRRORED if not (ROOT / "gateway" / name).exists()] == []


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("gateway.errors", "import gateway.config", "errors may import only nothing"),
        ("gateway.config.load", "from gateway.transport import dial", "gateway.transport.dial"),
        ("gateway.protocol.jnlp4", "from gateway import http", "imports gateway.http"),
        ("gateway.transport.dial", "from gateway.protocol.websocket import X", "proxy_protocol"),
        ("gateway.transport.dial", "from gateway.protocol import proxy_protocol_other", "_other"),
        ("gateway.http.proxy", "from ..agents import session", "gateway.agents.session"),
        ("gateway.http.proxy", "from .. import agents", "gateway.agents"),
        ("gateway.http.proxy", "def f():\n    import gateway.server", "2: imports gateway.server"),
        ("gateway.server.worker", "from gateway.command import main", "gateway.command.main"),
        ("gateway.demo.agent", "from gateway.protocol import chunks", "gateway.protocol.chunks"),
        ("gateway.demo.agent", "from gateway.http import proxy", "gateway.http.proxy"),
        ("tests.peers.nginx", "from gateway.agents import session", "peers share no code"),
        ("gateway.protocol.jnlp4", "import time", "sans-I/O"),
        ("gateway.protocol.jnlp4", "from trio import Event", "sans-I/O"),
        ("gateway.protocol.jnlp4", "from os import urandom", "sans-I/O"),
        ("gateway.agents.session", "import h11", "allowed only in demo, doctor, http"),
        ("gateway.http.proxy", "import trio_websocket", "http.websocket_accept"),
        ("gateway.http.proxy", "from OpenSSL import SSL", "transport"),
        ("gateway.transport.tls", "from OpenSSL._util import lib", "allowed only in nothing"),
        ("gateway.transport.tls", "from OpenSSL import _util", "allowed only in nothing"),
        ("gateway.http.proxy", "import asyncio", "allowed only in nothing"),
        ("gateway.http.proxy", "import importlib", "allowed only in command"),
        ("gateway.http.a", "trio.open_memory_channel(math.inf)", "unbounded"),
        ("gateway.http.a", "trio.open_memory_channel[int](inf)", "unbounded"),
        ("gateway.http.a", "open_memory_channel(float('inf'))", "unbounded"),
        ("gateway.http.a", "open_memory_channel(max_buffer_size=math.inf)", "unbounded"),
        ("gateway.http.a", "trio.CancelScope(shield=True)", "shield without a deadline"),
        (
            "gateway.http.a",
            "trio.CancelScope(deadline=math.inf, shield=True)",
            "without a deadline",
        ),
        ("gateway.http.a", "trio.CancelScope(shield=x)", "shield without a deadline"),
        ("gateway.http.a", "scope.shield = True", "shield set later"),
    ],
)
def test_a_broken_rule_is_found(module: str, source: str, expected: str) -> None:
    broken = check_source(source, module)
    assert broken
    assert expected in "\n".join(broken)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gateway.config.load", "from gateway.config.values import Address"),
        ("gateway.config.load", "from .values import Address"),
        ("gateway.config.__init__", "from . import values"),
        ("gateway.transport.stream", "from gateway.transport.tls import TlsEngine"),
        ("gateway.transport.proxied", "from gateway.protocol import proxy_protocol"),
        ("gateway.transport.stream", "from OpenSSL import SSL"),
        ("gateway.transport.tls", "from OpenSSL import SSL\nimport hashlib"),
        ("gateway.http.connection", "import h11"),
        ("gateway.command.run", "from gateway import __version__"),
        ("gateway.demo.story", "from gateway.server.worker import serve"),
        ("tests.peers.nginx", "from gateway.demo import wire"),
        ("gateway.http.a", "trio.open_memory_channel(0)"),
        ("gateway.http.a", "trio.CancelScope(shield=True, deadline=d)"),
        ("gateway.http.a", "trio.move_on_after(5, shield=True)"),
        ("gateway.http.a", "trio.CancelScope(shield=False)"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert check_source(source, module) == []
