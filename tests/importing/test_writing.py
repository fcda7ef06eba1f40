"""The file's form."""

from __future__ import annotations

from pathlib import Path

from gateway.config.document import read_document
from gateway.importing.report import Imported, Report
from gateway.importing.writing import write_yaml
from tests.importing.trees import parse


def test_the_list_stands_at_the_head_and_the_rest_is_read_back(tmp_path: Path) -> None:
    (directive,) = parse(tmp_path, 'return "a\x1b\nb";')
    report = Report()
    report.leave_out(directive, "why")
    twice = ["10.0.0.0/8", "on", "1:30", "${HOME}"]
    path = tmp_path / "gateway.yaml"
    path.write_text(write_yaml(Imported({"b": twice, "a": twice}, report), "nginx\n.conf"))
    lines = path.read_text().splitlines()
    assert lines[0] == "# Taken over from nginx .conf by `remoting-gateway import`."
    assert lines[3].endswith("nginx.conf:1: return a  b: why")
    assert read_document(path).data == {"b": twice, "a": twice}
    assert list(map(str, read_document(path).data or ())) == ["b", "a"]  # type: ignore[call-overload]
