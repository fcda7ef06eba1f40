"""What is to be written into other programs is what the page shows, which is run."""

from __future__ import annotations

import re
from typing import Final

import pytest

from gateway.doctor.remedies import APACHE, FORWARDED, HAPROXY, NGINX
from tests.docs.pages import ROOT, blocks_of

# How each of the page's blocks begins, and what its lines about the client are.
PAGE: Final = {
    NGINX: ("map ", r"proxy_set_header (?:Host|X-Forwarded-\w+) [^;]+;"),
    HAPROXY: ("http-request set-header ", r"http-request set-header X-Forwarded-\w+ [^\s`]+"),
    APACHE: ("ProxyPreserveHost ", r"ProxyPreserveHost \w+|RequestHeader [^`\n]+"),
}


@pytest.mark.parametrize("product", PAGE)
def test_forwarded_fields_are_written_as_the_page_writes_them(product: str) -> None:
    begin, pattern = PAGE[product]
    (block,) = (
        each.text for each in blocks_of(ROOT / "docs/doctor.md") if each.text.startswith(begin)
    )
    (setting,) = (each.text for each in FORWARDED if each.where == product)
    shown = re.findall(pattern, block)
    assert {"For", "Proto", "Host", "Port"} <= set(re.findall(r"X-Forwarded-(\w+)", str(shown)))
    assert sorted(re.findall(pattern, setting)) == sorted(shown)
