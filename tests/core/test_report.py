"""``lth report``: the page as text."""

from __future__ import annotations

from pathlib import Path

import html5lib
import pytest
from lth_core.cli import main

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "docs" / "studies" / "scenes"


def test_page_of_a_study_is_valid_html(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(SCENES), "-o", str(page), "--title", "Digit scenes"]) == 0
    assert capsys.readouterr().out.startswith(f"{page}: ")
    tree = html5lib.HTMLParser(strict=True).parse(page.read_text())
    title = tree.find(".//{http://www.w3.org/1999/xhtml}h1")
    assert title is not None
    assert title.text == "Digit scenes"
