"""Commands, held back and judged."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from gateway.config.cli import PolicyConfig
from gateway.errors import RemoteProtocolError
from gateway.jenkins_cli.policy import MOST_ARGUMENTS, Command, Policy, Rules, user_of
from gateway.protocol.http_headers import Headers
from gateway.protocol.plain_cli import CliFrame, Op, text_frame

START = CliFrame(Op.START)
UTF8 = text_frame(Op.ENCODING, "UTF-8")


def arg(text: str) -> CliFrame:
    return text_frame(Op.ARG, text)


def rules(user: str | None = None, **policy: Any) -> Rules:
    return Policy(PolicyConfig.model_validate(policy)).rules_for(user)


def allowed(given: Rules, name: str, *arguments: str) -> bool:
    return given.judge(name, arguments) is None


@pytest.mark.parametrize(
    ("policy", "name", "expected"),
    [
        ({}, "groovy", True),
        ({"deny": ["groovy"]}, "groovy", False),
        ({"deny": ["groovy"]}, "groovysh", True),
        ({"deny": ["groovy*"]}, "groovysh", False),
        ({"deny": ["*-job"]}, "delete-job", False),
        ({"deny": ["groov?"]}, "groovy", False),
        ({"deny": ["groov?"]}, "groovysh", True),
        ({"allow": ["who-am-i", "get-*"]}, "get-job", True),
        ({"allow": ["who-am-i", "get-*"]}, "who-am-i-not", False),
        ({"allow": ["*"], "deny": ["*"]}, "who-am-i", False),
        ({"allow": []}, "who-am-i", False),
        ({"deny": ["a.c"]}, "abc", True),  # no regular expression
        ({"deny": ["[a]"]}, "a", True),
        ({"deny": ["*"]}, "two\nlines", False),
    ],
)
def test_patterns(policy: dict[str, Any], name: str, expected: bool) -> None:
    assert allowed(rules(**policy), name) is expected


def test_users_have_rules_of_their_own() -> None:
    policy = {"allow": ["who-am-i"], "users": {"Alice": {"allow": ["*"], "deny": ["groovy"]}}}
    for user in ("alice", "ALICE"):
        assert allowed(rules(user, **policy), "build")
        assert not allowed(rules(user, **policy), "groovy")
    for other in (None, "bob", ""):
        assert not allowed(rules(other, **policy), "build")


def test_arguments_that_name_files() -> None:
    given = rules(file_arguments="refuse", users={"alice": {}})
    assert allowed(given, "build", "a@b")
    assert not allowed(given, "build", "job", "@/etc/passwd")
    assert not allowed(rules("alice", file_arguments="refuse", users={"alice": {}}), "build", "@x")
    assert allowed(rules(), "build", "@x")


def taken(command: Command, *frames: CliFrame) -> list[CliFrame]:
    return [out for frame in frames for out in command.take(frame)]


def test_a_command_leaves_with_start() -> None:
    command = Command(rules(deny=["groovy"]))
    assert taken(command, arg("build"), UTF8, arg("job")) == [UTF8]
    assert not command.started
    assert taken(command, START) == [arg("build"), arg("job"), START]
    assert (command.started, command.name, command.arguments) == (True, "build", ["job"])


def test_a_refused_command_leaves_nothing() -> None:
    command = Command(rules(deny=["groovy"]))
    stdin = CliFrame(Op.STDIN, b"x")
    assert taken(command, arg("groovy"), START, stdin, UTF8, arg("who-am-i"), START) == []
    assert command.refusal is not None


@pytest.mark.parametrize(
    "frames",
    [
        [START, arg("groovy"), START],
        [arg("who-am-i"), START, arg("groovy"), START],
        [arg("who-am-i"), START, START, arg("groovy")],
    ],
)
def test_nothing_of_a_command_passes_behind_start(frames: list[CliFrame]) -> None:
    passed = taken(Command(rules(deny=["groovy"])), *frames)
    assert arg("groovy") not in passed
    assert passed.count(START) == 1


def test_behind_start_encoding_is_a_sign_of_life_and_locale_nothing() -> None:
    command = Command(None)
    taken(command, arg("x"), START)
    assert taken(command, UTF8, text_frame(Op.LOCALE, "de")) == [UTF8]


def test_input_passes_at_any_time() -> None:
    command = Command(None)
    stdin, end = CliFrame(Op.STDIN, b"x"), CliFrame(Op.END_STDIN)
    assert taken(command, stdin, arg("cat"), START, stdin, end) == [
        stdin,
        arg("cat"),
        START,
        stdin,
        end,
    ]


@pytest.mark.parametrize(
    "frame",
    [
        CliFrame(Op.ARG, b"\0\7\xc1\xa7roovy"),  # groovy to Java
        CliFrame(Op.ARG, b"\0\6groovy,harmless"),
        CliFrame(Op.ARG, b"\0\x0fgroovy"),
        CliFrame(Op.ENCODING, b"\0\1\xff"),
        CliFrame(Op.LOCALE, b""),
    ],
)
def test_odd_encodings_are_refused(frame: CliFrame) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed text"):
        Command(rules(deny=["groovy"])).take(frame)


def test_arguments_are_bounded() -> None:
    command = Command(None)
    for _ in range(MOST_ARGUMENTS):
        command.take(arg("x"))
    with pytest.raises(RemoteProtocolError, match="too many arguments"):
        command.take(arg("x"))
    command = Command(None)
    for _ in range(15):
        command.take(arg("x" * 65535))
    with pytest.raises(RemoteProtocolError, match="too many arguments"):
        command.take(arg("x" * 65535))


def test_settings_are_bounded() -> None:
    command = Command(None)
    for _ in range(64):
        command.take(UTF8)
    with pytest.raises(RemoteProtocolError, match="too many settings"):
        command.take(UTF8)


def basic(text: bytes, scheme: bytes = b"Basic") -> bytes:
    return scheme + b" " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([basic(b"alice:token")], "alice"),
        ([basic(b"alice:to:ken")], "alice"),
        # What Jenkins may pass over: the command would run for nobody, by alice's rules.
        ([basic(b"alice:token", b"bAsIc")], None),
        ([basic(b"alice:token", b"Basic ")], None),
        ([basic(b"alice:token") + b"="], None),
        ([basic(b"alice:toke").rstrip(b"=")], None),
        ([b"Basic YTpiYh=="], None),  # bits that mean nothing
        ([basic(b"a" * 257 + b":x")], None),
        ([basic("jürgen:x".encode())], "jürgen"),
        ([basic(b"alice")], None),
        ([basic(b":x")], None),
        ([basic(b"\xff:x")], None),
        ([b"Basic !!!"], None),
        ([b"Bearer abc"], None),
        ([basic(b"alice:a"), basic(b"bob:b")], None),
    ],
)
def test_the_name_of_the_user(values: list[bytes], expected: str | None) -> None:
    headers = Headers((b"Authorization", value) for value in values)
    assert user_of(headers) == expected
