"""The fuzz targets on their corpus and on inputs made from it; longer runs: ``./dev fuzz``."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.inputs import bent
from tests.fuzz.targets import CORPUS, TARGETS, corpus, from_text, to_text

ENTRIES = [
    pytest.param(target, data, id=f"{target}-{name}")
    for target in TARGETS
    for name, data in corpus(target).items()
]


@pytest.mark.parametrize(("target", "data"), ENTRIES)
def test_corpus(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_inputs_made_from_the_corpus(target: str, data: st.DataObject) -> None:
    TARGETS[target](data.draw(bent(list(corpus(target).values()))))


def test_every_target_has_a_corpus_and_the_other_way_round() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert all(corpus(target) for target in TARGETS)


@given(data=st.binary(max_size=200) | st.text("# \\\n\r\x00a", max_size=200).map(str.encode))
def test_corpus_files_give_back_their_bytes(data: bytes) -> None:
    text = to_text(data)
    assert from_text(text) == data
    assert all(line == line.strip() and len(line) <= 100 for line in text.splitlines())
    assert text.isascii()


def test_comments_and_line_breaks_are_no_data() -> None:
    assert from_text("# why\n\\x82\\x00\nab\n# and\n c\\\\") == b"\x82\x00ab c\\"
