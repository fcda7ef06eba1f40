"""The table of fields, and giving them their names."""

from __future__ import annotations

from gateway.config.logs import CHANNELS
from gateway.observability.log_fields import ACCESS_FIELDS, FIELDS, OTEL, OWN, publish


def test_names() -> None:
    assert publish({"event": "x", "node": "n", "client": "192.0.2.1", "bytes": 5}) == {
        "event": "x",
        "jenkins.node.name": "n",
        "client.address": "192.0.2.1",
        "gateway.request.head.size": 5,
    }
    assert publish({"of_a_library": 1}) == {"gateway.other.of_a_library": 1}


def test_a_keyword_has_one_name() -> None:
    assert len({each.keyword for each in FIELDS}) == len(FIELDS)
    assert len({each.name for each in ACCESS_FIELDS}) == len(ACCESS_FIELDS)


def test_every_row_is_whole() -> None:
    for each in (*FIELDS, *ACCESS_FIELDS):
        assert each.meaning
        assert each.channels == "all" or set(each.channels.split(", ")) <= set(CHANNELS)
        assert each.origin in (OTEL, OWN)
        assert each.unit in ("", "s", "ms", "By", "1")


def test_no_name_is_also_a_namespace() -> None:
    """OpenTelemetry's rule: whoever stores fields as trees could not keep both."""
    names = {each.name for each in (*FIELDS, *ACCESS_FIELDS)}
    for name in names:
        parts = name.split(".")
        assert not {".".join(parts[:i]) for i in range(1, len(parts))} & names, name
