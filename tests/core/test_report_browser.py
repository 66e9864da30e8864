"""Reports in a browser: headless Chromium, with the page's scripts off unless a test needs its own.

Chromium comes from the system's packages (Debian: ``apt-get install chromium``); without it these
tests are skipped, or fail if ``LTH_REQUIRE_BROWSER`` is set.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import axe_playwright_python
import pytest
from lth_core.cli import main
from playwright.sync_api import Browser, Page, sync_playwright

from .report_helpers import HOSTILE, toy_directory

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
LINE = 'figure g.{} > path[style*="fill: none"]'
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "needs Chromium: apt-get install chromium"
        if os.environ.get("LTH_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = toy_directory(tmp_path_factory.mktemp("report"))
    page = root / "page.html"
    assert main(["report", str(root), "-o", str(page), "--title", HOSTILE]) == 0
    return page


class Watched:
    """A page whose every request and message is noted."""

    def __init__(self, browser: Browser, path: Path, width: int = 1200, **settings: object) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 800},
            **{"java_script_enabled": False, **settings},  # type: ignore[arg-type]
        )
        self.page: Page = self.context.new_page()
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def open_page(browser: Browser, report: Path) -> Iterator:
    opened: list[Watched] = []

    def opening(**settings: object) -> Watched:
        opened.append(Watched(browser, report, **settings))
        return opened[-1]

    yield opening
    for each in opened:
        each.close()


def colour(page: Page, selector: str, what: str) -> str:
    return page.locator(selector).first.evaluate(f"node => getComputedStyle(node).{what}")


def test_page_asks_for_nothing_and_complains_of_nothing(open_page, report: Path) -> None:
    watched = open_page(java_script_enabled=True)
    watched.page.wait_for_load_state("networkidle")
    assert watched.messages == []
    others = [url for url in watched.requests if not url.startswith("data:")]
    assert others == [report.as_uri()]
    assert watched.page.title() == " ".join(HOSTILE.split())


@pytest.mark.parametrize("width", [320, 360, 768, 1200])
def test_page_is_as_wide_as_the_window(open_page, width: int) -> None:
    page = open_page(width=width).page
    page.evaluate("document.querySelectorAll('details').forEach(node => node.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    wide = page.evaluate(
        """[...document.querySelectorAll('main *')]
        .filter(node => !node.closest('.wide') && !node.closest('svg'))
        .filter(node => node.getBoundingClientRect().right > innerWidth)
        .map(node => node.outerHTML)"""
    )
    assert wide == []


def test_dark_is_dark_and_light_is_light(open_page) -> None:
    def lightness(text: str) -> float:
        red, green, blue = (int(part) for part in text[4:-1].split(","))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for scheme, is_dark in (("light", False), ("dark", True)):
        page = open_page(color_scheme=scheme).page
        assert (lightness(colour(page, "section", "backgroundColor")) < 80) == is_dark
        assert (lightness(colour(page, "h2", "color")) > 150) == is_dark
        assert (lightness(colour(page, "figure svg text", "fill")) > 150) == is_dark
    lines = {
        scheme: colour(open_page(color_scheme=scheme).page, LINE.format("k0"), "stroke")
        for scheme in ("light", "dark")
    }
    assert lines["light"] != lines["dark"]


def test_keyboard_reaches_everything_that_can_be_used(open_page) -> None:
    page: Page = open_page().page
    wanted = page.evaluate(
        """() => { let n = 0;
        for (const node of document.querySelectorAll('a[href], summary, input, [tabindex="0"]'))
            if (node.checkVisibility()) node.dataset.n = n++;
        return n; }"""
    )
    reached = []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("Number(document.activeElement.dataset.n)"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"  # it can be seen
    assert reached == list(range(wanted))


def test_keyboard_and_mouse_hide_and_show_a_kind(open_page) -> None:
    page: Page = open_page().page
    box = page.locator("#show-k1")
    lines, others = page.locator(LINE.format("k1")), page.locator(LINE.format("k2"))
    assert lines.first.is_visible()
    box.focus()
    page.keyboard.press("Space")
    assert not lines.first.is_visible()
    assert others.first.is_visible()
    page.locator("label", has=box).click()
    assert lines.first.is_visible()


def test_keyboard_unfolds(open_page) -> None:
    page: Page = open_page().page
    fold = page.locator("#verdicts details").first
    assert not fold.locator("table").is_visible()
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert fold.locator("table").is_visible()


def test_the_first_link_leads_past_the_navigation(open_page) -> None:
    page: Page = open_page().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_print_shows_what_is_folded(open_page) -> None:
    page: Page = open_page().page
    table = page.locator("#verdicts details table").first
    assert not table.is_visible()
    page.emulate_media(media="print")
    assert table.evaluate("node => node.getBoundingClientRect().height") > 50
    assert colour(page, "section", "backgroundColor") == "rgb(255, 255, 255)"


def test_results_can_be_saved(open_page, tmp_path: Path) -> None:
    page: Page = open_page(accept_downloads=True).page
    with page.expect_download() as saving:
        page.get_by_text("Save every single result").click()
    saving.value.save_as(tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text().startswith("task,weights,mask,level,")


@pytest.mark.parametrize(("scheme", "rules"), [("light", TAGS), ("dark", ["color-contrast"])])
def test_axe_finds_nothing(open_page, scheme: str, rules: list[str]) -> None:
    page: Page = open_page(
        java_script_enabled=True, bypass_csp=True, color_scheme=scheme, width=800
    ).page
    page.evaluate("document.querySelectorAll('details').forEach(node => node.open = true)")
    page.add_script_tag(path=str(AXE))
    kind = "rule" if scheme == "dark" else "tag"  # nothing else differs in the dark
    found = page.evaluate(
        "runOnly => axe.run({exclude: ['svg *']}, {runOnly})", {"type": kind, "values": rules}
    )
    told = [(each["id"], each["impact"], each["nodes"][0]["html"]) for each in found["violations"]]
    assert told == []
    assert len(found["passes"]) >= len(rules)
