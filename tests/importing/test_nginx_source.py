"""Reading: words, blocks, includes, and what is refused."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.importing.nginx_source import read_nginx
from tests.importing.trees import parse


def test_words_blocks_and_lines(tmp_path: Path) -> None:
    http, *_ = parse(
        tmp_path,
        "# a comment\nhttp {\n  log_format x 'a # b' \"c;d\"; # e\n  server {\n\tlisten 80;\n}}\n",
    )
    log_format, server = http.block or ()
    assert (http.name, http.line) == ("http", 2)
    assert (log_format.args, log_format.line) == (("x", "a # b", "c;d"), 3)
    assert (server.named("listen")[0].args, server.named("listen")[0].line) == (("80",), 5)
    assert str(server) == "server {...}"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_of_windows_are_no_words(tmp_path: Path, end: str) -> None:
    path = tmp_path / "nginx.conf"
    path.write_bytes(b"\xef\xbb\xbf" + f"upstream j {{{end}\tserver a:1;{end}}}{end}".encode())
    (upstream,) = read_nginx(path).directives
    assert (upstream.name, upstream.args) == ("upstream", ("j",))
    assert [(each.args, each.line) for each in upstream.named("server")] == [(("a:1",), 2)]


def test_includes_keep_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.conf").write_text("\nserver { include snippet; }")
    (tmp_path / "conf.d" / "b.conf").write_text("server { include snippet; }")
    (tmp_path / "snippet").write_text("listen 80;\n")
    (tmp_path / "nginx.conf").write_text("http { include conf.d/*.conf; include none/*.conf; }")
    source = read_nginx(tmp_path / "nginx.conf")
    (http,) = source.directives
    assert [(each.file.name, each.line) for each in http.block or ()] == [
        ("a.conf", 2),
        ("b.conf", 1),
    ]
    assert [each.named("listen")[0].file.name for each in http.block or ()] == ["snippet"] * 2
    assert source.missing == []


def test_a_site_by_itself_finds_the_snippets_beside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "sites-enabled").mkdir()
    (tmp_path / "proxy_params").write_text("proxy_http_version 1.1;")
    site = tmp_path / "sites-enabled" / "jenkins"
    site.write_text("server { include proxy_params; include /not/there.conf; }")
    source = read_nginx(site)
    assert [each.name for each in source.directives[0].block or ()] == ["proxy_http_version"]
    assert [str(each) for each in source.missing] == ["include /not/there.conf"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "http {\nserver { listen 80; }\n",
            r'nginx.conf:2: unexpected end of file, expecting "}"',
        ),
        ("server { listen 80; }\n}\n", r'nginx.conf:2: unexpected "}"'),
        ("server {\n listen 80\n}\n", r'nginx.conf:2: "listen" is not ended by ";"'),
        ("server { proxy_pass http://a }\n", 'nginx.conf:1: "proxy_pass" is not ended by ";"'),
        ("server {\n;}\n", 'nginx.conf:2: unexpected ";"'),
        ("server { server_name; }\n", 'invalid number of arguments in "server_name" directive'),
        ("server { ssl_session_tickets maybe; }\n", 'it must be "on" or "off"'),
        ("server { gzip 5%; }\n", 'nginx.conf:1: invalid value in "gzip" directive'),
        ("location {\n}\n", 'nginx.conf:1: invalid number of arguments in "location"'),
        ("server { listen {{ port }}; }", "a template has to be filled in first"),
        # Without a look at the end, what follows such a quote would be missing in silence.
        ('server { listen 80; }\nerror_log "x;\nserver { deny all; }\n', "never closed"),
        ('server { server_name "x; }\n', "nginx.conf: a quote is opened in it and never closed"),
        ("server { listen 80; }\ninclude x", 'nginx.conf:2: "include" is not ended'),
        ("a" * 500, r'nginx.conf:1: "a{60}" is not ended'),
        ("include nginx.conf;\n", "which includes it again"),
        ("a {" * 40 + "}" * 40 + "\n", "blocks are more than 32 deep"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        parse(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        read_nginx(tmp_path / "nginx.conf")
    with pytest.raises(ConfigError, match="not a regular file"):
        read_nginx(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="not a regular file"):
        parse(tmp_path, f"include {pipe};\n")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(5 * 1024 * 1024)
    with pytest.raises(ConfigError, match="bigger than 4 MiB"):
        read_nginx(tmp_path / "large")


def test_without_a_folder_for_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"nginx.conf: no copy of it .*TMPDIR"):
        parse(tmp_path, "user x;\n")


def test_includes_that_multiply_are_bounded(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.conf").write_text(f"include {number + 1}.conf;\n" * 2)
    (tmp_path / "12.conf").write_text("user x;\n")
    with pytest.raises(ConfigError, match="more than 1000 files"):
        read_nginx(tmp_path / "0.conf")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "proxy_set_header Authorization 'Basic bWFkZTp1cA==';",
            "proxy_set_header Authorization ***",
        ),
        ("proxy_set_header X-Api-Key made-up;", "proxy_set_header X-Api-Key ***"),
        ("set $token made-up;", "set $token ***"),
        ("proxy_set_header Host $host;", "proxy_set_header Host $host"),
        ("proxy_set_header X-Team build;", "proxy_set_header X-Team build"),
        ("openidc_client_secret made-up;", "openidc_client_secret ***"),
        ("server_tokens off;", "server_tokens off"),
        ("error_page 502 'a\x1b[2Jb';", "error_page 502 a [2Jb"),
    ],
)
def test_what_may_be_a_secret_is_not_shown(tmp_path: Path, text: str, shown: str) -> None:
    (directive,) = parse(tmp_path, text + "\n")
    assert str(directive) == shown
