"""The site: built without warnings, whole, and readable in a browser without a network."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from .blocks import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ELSEWHERE = re.compile(r"^(https?:)?//")
PUBLIC = (
    "lth_core", "lth_core.analysis", "lth_core.criteria", "lth_core.imp", "lth_core.openmmlab",
    "lth_core.openmmlab.embedded", "lth_cls", "lth_det", "lth_seg",
)  # fmt: skip


class _Page(HTMLParser):
    """What a page points at, what it loads, and what can be pointed at in it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.ids: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        elif tag in ("img", "script", "iframe") and "src" in values:
            self.loads.add(values["src"])
        elif tag == "link" and "href" in values:
            self.loads.add(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, but for the notebooks' outputs."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"LTH_DOCS_EXECUTE": "false", "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def found(site: Path) -> dict[Path, _Page]:
    return {file: _Page(file) for file in sorted(site.rglob("*.html"))}


def _inside(file: Path, links: set[str]) -> Iterator[tuple[Path, str]]:
    """Files and anchors of the site that ``file`` points at."""
    for link in sorted(links):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
        yield target / "index.html" if target.is_dir() else target, unquote(parts.fragment)


def test_links_lead_somewhere(found: dict[Path, _Page]) -> None:
    dead = []
    for file, page in found.items():
        if file.name == "404.html":  # shown at any address, so that its links are absolute
            continue
        for target, anchor in _inside(file, page.links | page.loads):
            if not target.is_file() or (anchor and anchor not in found[target].ids):
                dead.append(f"{file.name}: {target.name}#{anchor}")
    assert not dead


def test_every_page_can_be_reached(site: Path, found: dict[Path, _Page]) -> None:
    seen, waiting = set(), [site / "index.html"]
    while waiting:
        file = waiting.pop()
        if file in seen or file not in found:
            continue
        seen.add(file)
        waiting += [target for target, _ in _inside(file, found[file].links)]
    assert set(found) - seen == {site / "404.html"}
    in_nav = {"index.html", "concepts.html", "tutorials/papers-masks.html", "api/masks.html"}
    assert {site / name for name in in_nav} <= seen


def test_nothing_is_asked_of_other_hosts(site: Path, found: dict[Path, _Page]) -> None:
    for file, page in found.items():
        assert not [each for each in page.loads if ELSEWHERE.match(each)], file
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", style.read_text()), style


def test_pages_know_of_no_machine(found: dict[Path, _Page]) -> None:
    for file in found:
        assert str(ROOT) not in file.read_text(), file


def test_every_public_name_is_described(site: Path) -> None:
    packed = (site / "objects.inv").read_bytes().split(b"zlib.\n", 1)[1]
    described = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}
    missing = [
        name
        for module in PUBLIC
        for name in _exported(module)
        if not any(each == name or each.startswith(f"{name}.") for each in described)
    ]
    assert not missing


def _exported(module: str) -> list[str]:
    """Full names of what ``module`` lists in ``__all__``."""
    package = module.partition(".")[0].replace("_", "-")
    source = ROOT / "packages" / package / "src" / module.replace(".", "/") / "__init__.py"
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [f"{module}.{name}" for name in ast.literal_eval(node.value)]
    raise AssertionError(f"{source} has no __all__")


def test_no_role_of_sphinx_is_left(found: dict[Path, _Page]) -> None:
    for file in found:
        assert not re.search(r":(func|class|mod|meth|data|attr|exc):<?`?", file.read_text()), file


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_in_a_browser_without_a_network(site: Path) -> None:
    """Opened as files: pages show, search finds, colours change, nothing is complained of."""
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    asked: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(color_scheme="light").new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        assert "lottery tickets" in page.inner_text("h1").lower()
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("form[data-md-component=palette] label:visible").first.click()
        page.wait_for_function(f"getComputedStyle(document.body).backgroundColor !== {before!r}")
        page.locator("input.md-search__input").fill("rewind")
        page.wait_for_selector("li.md-search-result__item", timeout=20_000)
        assert page.locator("li.md-search-result__item").count() > 2
        for name in (
            "api/masks.html",
            "notebooks/judge-tickets.html",
            "studies/transfer/index.html",
        ):
            page.goto((site / name).as_uri())
            assert page.locator("h1").count() >= 1
        browser.close()
    assert not complaints
    assert all(url.startswith(("file:", "data:", "blob:", "about:")) for url in asked)
