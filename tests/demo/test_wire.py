"""The stand-ins' codecs against the tables of bytes in PROTOCOLS 0, C.2 and G, and recordings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.demo.wire import (
    ACK,
    BYE,
    OK,
    CommandAssembler,
    WireError,
    capability_ascii,
    capability_mask,
    format_headers,
    new_cookie,
    node_secret,
    parse_headers,
    read_utf,
    split_command,
    u16str,
    write_utf,
)

VECTORS = Path(__file__).parents[1] / "vectors"
CAPABILITIES = json.loads((VECTORS / "capability.json").read_text())["capabilities"]


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("a\0é€😀", "000e 61 c080 c3a9 e282ac eda0bd edb880"),
        ("", "0000"),
        ("Protocol:Ping", "000d 50726f746f636f6c3a50696e67"),
        ("\u007f\u0080\u07ff\u0800\uffff", "000b 7f c280 dfbf e0a080 efbfbf"),
    ],
)
def test_modified_utf_8(text: str, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert write_utf(text) == data
    assert read_utf(data[2:]) == text


@pytest.mark.parametrize("body", ["80", "c3", "c341", "e282", "f09f9880", "ff"])
def test_malformed_modified_utf_8_is_refused(body: str) -> None:
    with pytest.raises(WireError):
        read_utf(bytes.fromhex(body))


@given(st.text())
def test_modified_utf_8_survives_a_round_trip(text: str) -> None:
    assert read_utf(write_utf(text)[2:]) == text


@pytest.mark.parametrize("encode", [u16str, write_utf])
def test_strings_above_65535_bytes_do_not_fit(encode: object) -> None:
    assert callable(encode)
    assert encode("x" * 65535)[:2] == b"\xff\xff"
    with pytest.raises(ValueError, match="65536 bytes do not fit"):
        encode("x" * 65536)


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("Protocol:JNLP4-connect", "0016 50726f746f636f6c3a4a4e4c50342d636f6e6e656374"),
        (
            "Protocol:JNLP4-connect-proxy",
            "001c 50726f746f636f6c3a4a4e4c50342d636f6e6e6563742d70726f7879",
        ),
        ("Protocol:JNLP4-plaintext", "0018 50726f746f636f6c3a4a4e4c50342d706c61696e74657874"),
        ("Protocol:JNLP-connect", "0015 50726f746f636f6c3a4a4e4c502d636f6e6e656374"),
        ("Protocol:JNLP2-connect", "0016 50726f746f636f6c3a4a4e4c50322d636f6e6e656374"),
        ("Protocol:JNLP3-connect", "0016 50726f746f636f6c3a4a4e4c50332d636f6e6e656374"),
        ("Protocol:Ping", "000d 50726f746f636f6c3a50696e67"),
        ("ACK", "0003 41434b"),
        ("OK", "0002 4f4b"),
        ("BYE", "0003 425945"),
        (
            "ERROR: Authorization failure",
            "001c 4552524f523a20417574686f72697a6174696f6e206661696c757265",
        ),
        (
            "ERROR: Malformed connection header",
            "0022 4552524f523a204d616c666f726d656420636f6e6e656374696f6e20686561646572",
        ),
        ("é😀", "0006 c3a9 f09f9880"),  # standard UTF-8, unlike writeUTF
    ],
)
def test_u16str(text: str, encoded: str) -> None:
    assert u16str(text) == bytes.fromhex(encoded)


def test_constants_are_u16strs() -> None:
    assert (u16str("ACK"), u16str("OK"), u16str("BYE")) == (ACK, OK, BYE)


@pytest.mark.parametrize("entry", CAPABILITIES, ids=lambda entry: entry["mask"])
def test_capability_as_recorded(entry: dict[str, str]) -> None:
    mask = 0x1FE if entry["mask"] == "default" else int(entry["mask"], 16)
    assert capability_ascii(mask) == entry["ascii"]
    assert u16str(capability_ascii(mask)) == bytes.fromhex(entry["tcp_frame_hex"])
    assert capability_mask(entry["ascii"]) == mask


@pytest.mark.parametrize(
    ("mask", "end"), [(0x1FE, "Af4="), (0x0FE, "AP4="), (0x01E, "AB4="), (0, "AAA=")]
)
def test_capability_masks_of_the_table(mask: int, end: str) -> None:
    text = capability_ascii(mask)
    assert len(text) == 84
    assert text.startswith("rO0ABXNyABpodWRzb24ucmVtb3RpbmcuQ2FwYWJpbGl0eQ")
    assert text.endswith(end)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        "é",
        "rO0ABXNyABpodWRzb24ucmVtb3RpbmcuQ2FwYWJp",
        capability_ascii(0x1FE) + "AAAA",
        capability_ascii(0x1FE)[:-1],
        "A" * 84,
    ],
)
def test_what_is_not_a_capability(text: str) -> None:
    with pytest.raises(WireError):
        capability_mask(text)


def test_headers_of_the_examples() -> None:
    assert format_headers({"Node-Name": "my-agent", "Secret-Key": "5ec7e7"}) == bytes.fromhex(
        "002e7b224e6f64652d4e616d65223a226d792d6167656e74222c225365637265742d4b6579223a22356563376537227d"
    )
    assert format_headers({"JnlpAgentProtocol.cookie": "00112233"})[2:] == (
        b'{"JnlpAgentProtocol.cookie":"00112233"}'
    )
    assert format_headers({"é/": 'a\x1f"\\'})[2:] == '{"é/":"a\\u001f\\"\\\\"}'.encode()


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("{}", {}),
        (" {\t} \n", {}),
        ('{"a":"b"}', {"a": "b"}),
        ('\f{\b"a" \r:\n"b"\t,"c":null}\f', {"a": "b", "c": None}),
        ('{"a":"1","a":"2"}', {"a": "2"}),
        (r'{"\u006d":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}', {"m": '"\\/\b\f\n\r\té😀'}),
        ('{"ü":"€"}', {"ü": "€"}),
    ],
)
def test_headers_that_java_accepts(text: str, headers: dict[str, str | None]) -> None:
    assert parse_headers(text.encode()) == headers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        '"a"',
        '{"a":1}',
        '{"a":true}',
        '{"a":{}}',
        '{"a":[]}',
        '{"a":"b"',
        '{"a":"b",}',
        '{"a":"b"}x',
        '{"a" "b"}',
        "{null:null}",
        '{"a":"\x01"}',
        r'{"a":"\x"}',
    ],
)
def test_headers_that_java_refuses(text: str) -> None:
    with pytest.raises(WireError):
        parse_headers(text.encode())


def test_headers_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(WireError):
        parse_headers(b'{"a":"\xff"}')


@given(st.dictionaries(st.text(), st.none() | st.text()))
def test_headers_survive_a_round_trip(headers: dict[str, str | None]) -> None:
    assert parse_headers(format_headers(headers)[2:]) == headers


def test_node_secrets_of_the_worked_example() -> None:
    key = bytes(range(0x40, 0x60))
    expected = "51626da980204ef01f39346a848575bda49ce8c4173d245f1da61ccab5a5f2b1"
    assert node_secret(key, "my-agent") == expected
    expected = "be8d063a119fdee4605ee03b0e7bd5fe7fe8f39165e6a7427dea49894c42e5f9"
    assert node_secret(key, "agent ü") == expected


def test_cookies_are_fresh_and_hexadecimal() -> None:
    first, second = new_cookie(), new_cookie()
    assert first != second
    assert len(first) == 64
    assert set(first) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("size", "headers"),
    [
        (5, ["0005"]),
        (4662, ["1236"]),
        (1006, ["03ee"]),
        (8191, ["1fff"]),
        (8192, ["2000"]),
        (8193, ["a000", "0001"]),
        (16384, ["a000", "2000"]),
        (20000, ["a000", "a000", "0e20"]),
    ],
)
def test_chunk_headers(size: int, headers: list[str]) -> None:
    chunks = list(split_command(b"x" * size))
    assert [chunk[:2].hex() for chunk in chunks] == headers
    assert b"".join(chunk[2:] for chunk in chunks) == b"x" * size


def test_an_empty_command_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="never empty"):
        list(split_command(b""))


COMMANDS = [b"\xac\xed\x00\x05a", b"b" * 8192, b"c" * 20000, b"d"]
STREAM = b"".join(chunk for payload in COMMANDS for chunk in split_command(payload))


@pytest.mark.parametrize("step", [len(STREAM), 1, 2, 3, 8194, 8193])
def test_commands_are_assembled_however_the_stream_is_cut(step: int) -> None:
    assembler = CommandAssembler()
    found = [
        payload
        for start in range(0, len(STREAM), step)
        for payload in assembler.feed(STREAM[start : start + step])
    ]
    assert found == COMMANDS
    assert (assembler.commands, assembler.chunks) == (4, 6)
    assert assembler.at_command_boundary


def test_boundaries_inside_a_stream() -> None:
    assembler = CommandAssembler()
    assert assembler.feed(b"\xa0") == []
    assert not assembler.at_chunk_boundary
    assert assembler.feed(b"\x00" + b"x" * 8192) == []
    assert assembler.at_chunk_boundary
    assert not assembler.at_command_boundary
    assert assembler.feed(b"\x00\x01y\x00") == [b"x" * 8192 + b"y"]
    assert not assembler.at_chunk_boundary


@given(st.lists(st.binary(min_size=1, max_size=30000), max_size=4), st.data())
def test_any_commands_survive_any_cut(commands: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(chunk for payload in commands for chunk in split_command(payload))
    assembler = CommandAssembler()
    found: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += assembler.feed(stream[:size])
        stream = stream[size:]
    assert found == commands


def test_java_holds_a_command_back_whose_last_chunk_is_empty() -> None:
    assembler = CommandAssembler()
    assert assembler.feed(b"\x80\x02ab\x00\x00") == []
    assert assembler.feed(b"") == []
    assert not assembler.at_command_boundary
    assert assembler.feed(b"\x00") == [b"ab"]
    assert assembler.feed(b"\x01c\x80\x01d\x00\x00\x00\x01e") == [b"c", b"d", b"e"]


def test_the_largest_chunk_is_accepted() -> None:
    body = bytes(32767)
    assert CommandAssembler().feed(b"\x7f\xff" + body) == [body]


def test_a_command_above_the_limit_is_refused() -> None:
    assembler = CommandAssembler(limit=10)
    assert assembler.feed(b"\x80\x05aaaaa\x00\x05bbbbb") == [b"aaaaabbbbb"]
    with pytest.raises(WireError, match="larger than 10"):
        assembler.feed(b"\x80\x05aaaaa\x00\x06bbbbbb")
