"""Whole configurations of different styles: what comes out, and that the gateway takes it.

Beside each NAME.conf stands NAME.expected: the whole file that is written, with the list of what
was left out. After a change on purpose, REWRITE=1 writes them anew; read the difference.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.load import load
from gateway.errors import ConfigError
from gateway.importing.nginx import import_nginx
from gateway.importing.nginx_scope import walk
from gateway.importing.nginx_source import read_nginx
from gateway.importing.report import Fate
from gateway.importing.writing import write_yaml
from tests.certificates import authority, issue
from tests.importing.trees import document, imported, left_out

SAMPLES = sorted((Path(__file__).parent / "nginx").glob("*.conf"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All samples, with the certificates that they name."""
    shutil.copytree(SAMPLES[0].parent, tmp_path, dirs_exist_ok=True)
    names = ("*.example.com", "tools.example.com", "jenkins.example.net", "jenkins.corp.example")
    leaf = issue(*names, "ci.example.org", "*.ci.example.org")
    leaf.private_key_pem.write_to_path(tmp_path / "tls.key")
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    (tmp_path / "tls.crt").write_bytes(chain)
    authority().cert_pem.write_to_path(tmp_path / "clients.pem")
    return tmp_path


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_configuration_of_the_world(sample: Path, folder: Path) -> None:
    result = write_yaml(import_nginx(folder / sample.name), sample.name)
    written = result.replace(f"{folder}/", "")
    expected = sample.with_suffix(".expected")
    if os.environ.get("REWRITE"):
        expected.write_text(written)
    assert written == expected.read_text()
    # What is written is what the gateway takes, as `check` would.
    path = folder / "gateway.yaml"
    path.write_text(result)
    assert load(path).config.routes


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_nothing_is_dropped_in_silence(sample: Path, folder: Path) -> None:
    source = read_nginx(folder / sample.name)
    report = import_nginx(folder / sample.name).report
    lines = {(note.file, note.line): note for note in report.notes}
    taken = {(each.file, each.line) for each in report.taken()}
    blocks = [each for each in walk(source.directives) if each.block is not None]
    for each in walk(source.directives):
        around = [(b.file, b.line) for b in blocks if each in walk(b.block or ())]
        places = [(each.file, each.line), *around]
        assert each.name == "http" or any(p in taken or p in lines for p in places), str(each)


def test_there_are_a_dozen() -> None:
    assert len(SAMPLES) >= 12


def test_what_is_closed_is_never_open_in_the_result(tmp_path: Path) -> None:
    made = document(
        tmp_path,
        """server { listen 127.0.0.1:80; allow 10.0.0.0/8; deny all;
          location / { proxy_pass http://j:8080; }
          location /a/ { deny 128.0.0.0/1; allow all; proxy_pass http://j:8080; }
          location /b/ { deny all; proxy_pass http://j:8080; }
          location /c/ { return 403; }
          location /d { allow all; proxy_pass http://j:8080; } }""",
    )
    assert made["controllers"] == {"j": {"url": "http://j:8080/"}}
    assert made["routes"][0]["expose"] == [
        {"set": "all", "allow_from": ["10.0.0.0/8"]},
        {"paths": ["/a"], "allow_from": ["0.0.0.0/1", "::/0"]},
        {"paths": ["/b", "/c"], "allow_from": ["127.0.0.1/32"]},
        {"paths": ["/d"]},
    ]


def test_rules_are_inherited_from_the_server_and_not_from_a_neighbour(tmp_path: Path) -> None:
    made = imported(
        tmp_path,
        """server { listen 127.0.0.1:80;
          location / { return 404; }
          location /ci { allow 10.0.0.0/8; deny all; proxy_pass http://j:8080; }
          location /ci/github-webhook/ { proxy_pass http://j:8080; } }""",
    )
    assert made.document["routes"][0]["expose"] == [
        {"set": "all", "allow_from": ["10.0.0.0/8"]},
        {"paths": ["/github-webhook"]},
    ]
    assert "location / {...}" not in left_out(made.report)


def test_names_that_cannot_be_taken_over(tmp_path: Path) -> None:
    made = imported(
        tmp_path, "server { server_name ci.* ~^x; location / { proxy_pass http://j:8080; } }"
    )
    assert [route["host"] for route in made.document["routes"]] == ["*"]
    assert left_out(made.report)[:2] == ["server_name ci.*", "server_name ~^x"]


def test_limits_are_the_largest(tmp_path: Path) -> None:
    site = "server {{ server_name {}; client_max_body_size {}; {} location / {{ {} }} }}"
    passing = "proxy_pass http://j:8080;"
    text = site.format("a", "10m", "client_header_timeout 1m30s;", passing)
    made = imported(tmp_path, text + site.format("b", "1g", "send_timeout 60;", passing))
    assert made.document["limits"] == {"head_timeout": "90s", "body": "1GiB"}
    assert "client_max_body_size 10m" in left_out(made.report)
    nested = "location / { proxy_pass http://j:1; location /a { client_max_body_size 2g; } }"
    assert document(tmp_path, f"server {{ {nested} }}")["limits"] == {"body": "2GiB"}
    unlimited = document(tmp_path, text + site.format("b", "0", "", passing))
    assert unlimited["limits"] == {"head_timeout": "90s"}


def test_a_field_of_a_proxy_that_the_gateway_does_not_read(tmp_path: Path) -> None:
    made = imported(
        tmp_path,
        "server { set_real_ip_from 173.245.48.0/20; real_ip_header CF-Connecting-IP;"
        " location / { proxy_pass http://j:8080; } }",
    )
    assert "trusted_proxies" not in made.document
    (note,) = (n for n in made.report.of(Fate.LEFT_OUT) if n.text.startswith("set_real_ip"))
    assert "cf-connecting-ip is not read" in note.reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("events {}", 'site.conf: there is no "server" block'),
        ("server { listen 80; root /srv; }", "site.conf: nothing in it is passed on by proxy_pass"),
        (
            "server { location / { proxy_pass http://$x; } }",
            r"nothing in it is passed on(.|\n)*site.conf:1: proxy_pass http://\$x: only",
        ),
        (
            "upstream u { server unix:/x; } server { location / { proxy_pass http://u; } }",
            r"nothing in it is passed on(.|\n)*site.conf:1: server unix:/x: only a host",
        ),
        (
            "server { include /not/there; }",
            r"nothing in it is passed on(.|\n)*include /not/there: this file is not there",
        ),
        ("location / { proxy_pass http://a; }", "give the file that includes it"),
    ],
)
def test_what_has_nothing_to_import(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        imported(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server { listen 80; }" * 2001, 'site.conf: more than 2000 "server" blocks'),
        (
            "".join(f"server {{ listen {port}; return 404; }}" for port in range(1, 502)),
            "site.conf:1: more than 500 addresses",
        ),
    ],
)
def test_what_is_more_than_a_jenkins(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        imported(tmp_path, text)


_BITS = [
    "{",
    "}",
    ";",
    "'",
    '"',
    "\\",
    "$",
    "#",
    "\n",
    "%s",
    "~ ",
    "= ",
    "@x ",
    "unix:",
    "[::",
    "\0",
    "location ",
]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.sampled_from(_BITS)), max_size=6),
)
def test_a_damaged_one_is_an_error_and_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, sample: Path, damage: list[tuple[float, int, str]]
) -> None:
    text = sample.read_text()
    for place, length, bit in damage:
        start = int(place * len(text))
        text = text[:start] + bit + text[start + length :]
    path = tmp_path_factory.mktemp("damaged") / "site.conf"
    path.write_text(text)
    with contextlib.suppress(ConfigError):
        assert write_yaml(import_nginx(path), "site.conf")
