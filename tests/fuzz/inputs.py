"""Inputs by hypothesis: corpus entries, bent and spliced."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

_LONGEST_SPAN = 16


@st.composite
def bent(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Return one of ``seeds`` after a few edits: bytes replaced, put in, left out or doubled."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, _LONGEST_SPAN)))
        data = data[:start] + draw(_filling(seeds, data[start:stop])) + data[stop:]
    return data


def _filling(seeds: Sequence[bytes], span: bytes) -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.just(b""),
        st.binary(max_size=8),
        st.just(span * 2),
        st.sampled_from(seeds),
    )
