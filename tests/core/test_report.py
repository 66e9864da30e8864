"""``lth report``: the page as text."""

from __future__ import annotations

import builtins
import itertools
import math
import re
import sys
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import html5lib
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lth_core import results
from lth_core.cli import main
from lth_core.report.material import Material, collect
from lth_core.report.page import render
from lth_core.report.pipeline import build
from lth_core.report.references import references
from lth_core.report.section import Cell, Section, Table
from lth_core.results import Result

from .report_helpers import HOSTILE, toy_directory, toy_results

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "docs" / "studies" / "scenes"
H = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"


def parse(page: str) -> ElementTree.Element:
    """The page as browsers read it; fails over any error of syntax, and of what all pages keep."""
    page.encode()  # as it is written
    tree = html5lib.HTMLParser(strict=True).parse(page)
    ids = [node.get("id") for node in tree.iter() if node.get("id") is not None]
    assert len(ids) == len(set(ids))
    for node in tree.iter():
        for name, value in node.items():
            for target in re.findall(r"url\(([^)]*)\)", value):
                assert target.strip("'\"")[0] == "#"
                assert target[1:] in ids
            if name in ("href", "src", XLINK + "href"):
                assert value.startswith(("#", "data:"))
                assert not value.startswith("#") or value[1:] in ids
    levels = [int(node.tag[-1]) for node in tree.iter() if re.fullmatch(H + "h[1-6]", node.tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for table in tree.iter(H + "table"):
        assert table[0].tag == H + "caption"
        assert all(row[0].get("scope") in ("row", "col") for row in table.iter(H + "tr"))
        assert len({len(row) for row in table.iter(H + "tr")}) == 1
    for figure in tree.iter(H + "figure"):
        (picture,) = (node for node in figure if node.tag != H + "figcaption")
        assert picture.get("aria-label") or picture.get("alt")
    return tree


def texts(tree: ElementTree.Element, tag: str) -> list[str]:
    return ["".join(node.itertext()).strip() for node in tree.iter(H + tag)]


def page_of(found: list[Result]) -> ElementTree.Element:
    return parse(render("title", "lead", build(Material((), tuple(found)))))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ElementTree.Element]:
    """A directory with all that can be found in one, and its page."""
    root = toy_directory(tmp_path_factory.mktemp("report"))
    page = render(HOSTILE, HOSTILE, build(collect([root])))
    return root, parse(page)


def test_page_of_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(SCENES), "-o", str(page), "--title", "Digit scenes"]) == 0
    size = round(page.stat().st_size / 1024)
    assert capsys.readouterr().out == f"{page}: {size} KiB\n"
    tree = parse(page.read_text())
    assert texts(tree, "h1") == ["Digit scenes"]
    table = pandas.read_csv(SCENES / "results.csv")
    assert len(texts(tree, "figure")) == len(table.groupby(["task", "metric", "weights"]))
    # One cell that was reckoned by hand from results.csv: det, AP, dense from labels.
    assert "56.69 ± 1.7 (3)" in texts(tree, "td")


def test_names_are_text(everything: tuple[Path, ElementTree.Element]) -> None:
    _, tree = everything
    assert not list(tree.iter(H + "script"))
    assert texts(tree, "h1") == [HOSTILE.strip()]
    assert any(HOSTILE in heading for heading in texts(tree, "h3"))


def test_what_went_wrong_is_told(everything: tuple[Path, ElementTree.Element]) -> None:
    _, tree = everything
    all_text = "".join(tree.itertext())
    assert "2 results are no number" in all_text
    assert "level 6: 1 of 3 runs came to no number" in all_text
    assert "no dense run from labels to compare with" in all_text
    assert "There are dense runs alone" in all_text
    assert "damaged/ticket.safetensors" in all_text
    assert "its checksum does not match" in all_text


def test_where_tickets_come_from(everything: tuple[Path, ElementTree.Element]) -> None:
    _, tree = everything
    rows = [texts_of(row) for row in tree.iter(H + "tr")]
    checked = {row[0]: row[-1] for row in rows if len(row) == 9 and row[-1] != "checked"}
    assert checked.pop("ticket").endswith("get or make it again")
    assert checked.pop("mask") == "file is whole; it lies outside of its run"
    proven = {name for name, text in checked.items() if text == "proven by its run"}
    assert proven == {f"level_{level:02d}" for level in range(3)}


def texts_of(row: ElementTree.Element) -> list[str]:
    return ["".join(cell.itertext()).strip() for cell in row]


def test_a_ticket_that_its_run_contradicts_is_told(tmp_path: Path) -> None:
    root = toy_directory(tmp_path)
    other = (root / "chain" / "level_01" / "ticket.safetensors").read_bytes()
    (root / "chain" / "level_02" / "ticket.safetensors").write_bytes(other)
    tree = parse(render("t", "l", build(collect([root]))))
    assert any(
        "not proven: ticket" in text or "put where it is" in text for text in texts(tree, "td")
    )


def test_saved_results_are_those_that_were_read(
    everything: tuple[Path, ElementTree.Element], tmp_path: Path
) -> None:
    _, tree = everything
    links = {link.get("download"): link.get("href") for link in tree.iter(H + "a")}
    url = links["results.csv"]
    assert url is not None
    assert url.startswith("data:text/csv")
    saved = tmp_path / "results.csv"
    saved.write_text(unquote(url.partition(",")[2]))
    again = results.read([saved])
    assert len(again) == len(toy_results())
    for one, two in zip(again, toy_results(), strict=True):
        assert (one.task, one.mask, one.level, one.seed) == (
            two.task,
            two.mask,
            two.level,
            two.seed,
        )
        assert one.value == two.value or (math.isnan(one.value) and not math.isfinite(two.value))


def test_damaged_tickets_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = toy_directory(tmp_path / "runs")
    assert main(["report", str(root), "-o", str(tmp_path / "page.html")]) == 0
    err = capsys.readouterr().err
    assert err.startswith("warning: ticket")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: [str(root / "nowhere")], "does not exist"),
        (lambda root: [str(root)], "holds neither results"),
        (lambda root: [str(SCENES), "-o", str(root)], "cannot be written"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make, message: str
) -> None:
    assert main(["report", *make(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = builtins.__import__

    def without(name: str, *args, **kwargs):
        if name.partition(".")[0] == "jinja2":
            raise ModuleNotFoundError("No module named 'jinja2'", name="jinja2")
        return plain(name, *args, **kwargs)

    for name in [
        name
        for name in sys.modules
        if name.startswith(("jinja2", "lth_core.report", "lth_core.cli.report"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["report", str(SCENES)]) == 2
    assert capsys.readouterr().err == (
        'error: lth report needs jinja2, which is not installed; pip install "lth-core[report]"\n'
    )


NAMES = st.one_of(
    st.sampled_from(["a", "b", HOSTILE, "\ud800\x00\x1b", "$", "x" * 300]),
    st.text(min_size=1, max_size=8),
)
VALUES = st.one_of(
    st.floats(width=64, allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0, 50.0])
)


@st.composite
def runs(draw: st.DrawFn) -> Result:
    level = draw(st.integers(0, 3))
    sparsity = draw(st.sampled_from([1.0, 0.5, 0.2, 1e-9])) if level else 0.0
    return Result(
        draw(st.sampled_from(["a", HOSTILE])),
        draw(NAMES),
        draw(NAMES.filter(lambda name: name != "dense")) if level else "dense",
        level,
        sparsity,
        draw(st.integers(0, 2)),
        draw(st.sampled_from(["loss", "accuracy"])),
        draw(VALUES),
        draw(st.sampled_from(["", "random"])) if level else "",
        draw(st.sampled_from([None, True, False])),
    )


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(runs(), max_size=8))
def test_any_results_make_a_page(found: list[Result]) -> None:
    page_of(found)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_any_text_makes_a_page(cells: list[tuple[str, str]]) -> None:
    table = Table(
        "t", ("a", "b"), tuple((a, Cell(b, "good", b)) for a, b in cells), download="t.csv"
    )
    tree = parse(render("".join(a for a, _ in cells), "", [Section("s", "s", "s", (table,))]))
    assert len(list(tree.iter(H + "tr"))) == 1 + len(cells)


def test_published_curves_stand_beside_measured_ones_of_like_name() -> None:
    (each,) = (
        each
        for each in references(["paper-a", "paper-a:CIFAR-10=mine", "paper-a:CIFAR-10=too"])
        if (each.task, each.weights, each.label) == ("CIFAR-10", "MoCo", "paper-a, transferred")
    )
    assert each.belongs_to("mine", "accuracy/top1", "mocov2")
    assert each.belongs_to("too", "accuracy", "moco_800ep")
    assert not each.belongs_to("other", "accuracy/top1", "mocov2")
    assert not each.belongs_to("mine", "loss", "mocov2")
    assert not each.belongs_to("mine", "accuracy/top1", "simclr")
    (by_name,) = (
        each
        for each in references(["paper-a:VOC detection"])
        if (each.weights, each.label) == ("SimCLR", "paper-a, transferred")
    )
    assert by_name.belongs_to("voc_detection", "coco/bbox_mAP", "simclr")
    assert not by_name.belongs_to("voc_detection", "coco/bbox_mAP_50", "simclr")
    assert by_name.scaled(0.9).points[0][1] == by_name.points[0][1] / 100
    assert by_name.scaled(90.0) == by_name


def test_page_with_published_curves(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    one = Result("digits", "SimCLR", "transferred", 1, 0.2, 0, "accuracy", 90.0)
    results.append(tmp_path / "results.jsonl", [one])
    asked = ["--reference", "paper-a:CIFAR-100=digits"]
    assert main(["report", str(tmp_path), *asked, "-o", str(page)]) == 0
    tree = parse(page.read_text())
    assert any(text.startswith("CIFAR-100: accuracy, as published") for text in texts(tree, "h3"))
    figure = next(tree.iter(H + "figure"))
    drawn = {node.get("class") for node in figure.iter(SVG + "g")} - {None}
    assert drawn == {"k0", "k1", "k2"}  # the ticket's, and both of the paper's for SimCLR


@pytest.mark.parametrize("text", ["paper-x", "paper-a:nothing", "paper-a:=digits", "paper-a:SVHN="])
def test_unknown_references_are_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(SCENES), "--reference", text, "-o", str(page)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not page.exists()


def test_a_figure_shows_the_numbers() -> None:
    """Heights of a line's points are in the proportion of the values, whatever the axis."""
    values = {1: 10.0, 2: 40.0, 3: 20.0}
    found = [Result("t", "w", "m", k, 1 - 0.5**k, 0, "score", value) for k, value in values.items()]
    tree = page_of(found)
    figure = next(tree.iter(H + "figure"))
    groups = (node for node in figure.iter(SVG + "g") if node.get("class") == "k0")
    lines = (path for group in groups for path in group.iter(SVG + "path"))
    path = next(line.get("d") for line in lines if "fill: none" in (line.get("style") or ""))
    assert path is not None
    points = [tuple(map(float, pair)) for pair in re.findall(r"[ML] (\S+) (\S+)", path)]
    (x1, y1), (x2, y2), (x3, y3) = points
    assert x2 - x1 == pytest.approx(x3 - x2, rel=1e-3)  # each halves what is left
    assert (y2 - y1) / (y3 - y1) == pytest.approx(3, rel=1e-3)
