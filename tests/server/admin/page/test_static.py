"""The files of the page: its colours, that nothing comes from elsewhere, that all of it ships."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gateway.server.admin.page import pages
from tests.gateway_process import ROOT

FOLDER = Path(pages.__file__).parent
CSS = (FOLDER / "static" / "status.css").read_text()
SCRIPT = (FOLDER / "static" / "status.js").read_text()
TEMPLATES = sorted((FOLDER / "templates").iterdir())

# Text upon what it stands on.
PAIRS = [
    *((text, ground) for text in ("text", "muted", "link") for ground in ("ground", "surface")),
    *((text, "raised") for text in ("text", "muted", "link", "good", "warning", "bad")),
    *((text, "surface") for text in ("good", "warning", "bad")),
    *((text, "tint") for text in ("text", "muted", "good", "warning", "bad")),
    ("on-bad", "bad"),
]
# What is no text needs 3:1 (WCAG 2.2, 1.4.11): edges of fields, the ring around the focus.
EDGES = [("edge", "surface"), ("edge", "ground"), ("link", "ground"), ("link", "surface")]


def colours(scheme: str) -> dict[str, tuple[int, int, int]]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[:2]
    chosen = light if scheme == "light" else dark
    found = re.findall(r"--([a-z-]+): #([0-9a-f]{6});", chosen)
    return {
        name: (int(value[:2], 16), int(value[2:4], 16), int(value[4:], 16)) for name, value in found
    }


def luminance(colour: tuple[int, int, int]) -> float:
    parts = [c / 255 for c in colour]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ratio(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_ratio_is_that_of_wcag() -> None:
    assert ratio((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert ratio((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_can_be_read(scheme: str, text: str, ground: str) -> None:
    found = colours(scheme)
    assert ratio(found[text], found[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("edge", "ground"), EDGES)
def test_edges_can_be_seen(scheme: str, edge: str, ground: str) -> None:
    found = colours(scheme)
    assert ratio(found[edge], found[ground]) >= 3


def test_both_schemes_have_every_colour_and_no_rule_has_one_of_its_own() -> None:
    assert colours("light").keys() == colours("dark").keys()
    assert len(re.findall(r"#[0-9a-fA-F]{3,8}\b", CSS)) == 2 * len(colours("light"))


def test_nothing_comes_from_elsewhere() -> None:
    for text in (CSS, SCRIPT, *(path.read_text() for path in TEMPLATES)):
        assert not re.search(r"""["'(=]\s*(https?:)?//""", text)
    assert "@import" not in CSS
    assert "url(" not in CSS


def test_templates_have_no_script_and_no_style_in_them() -> None:
    for path in TEMPLATES:
        text = path.read_text()
        assert not re.search(r"\son[a-z]+=|style=|<style|<script>|javascript:|\|safe", text), path


def test_they_are_in_the_wheel(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=50,
    )
    (wheel,) = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as packed:
        shipped = set(packed.namelist())
    files = [path for folder in ("static", "templates") for path in (FOLDER / folder).iterdir()]
    assert len(files) > 10
    assert {str(path.relative_to(ROOT)) for path in files} <= shipped
