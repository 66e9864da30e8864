"""The section of a report on double-win tickets."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from lth_core.cli.main import main
from lth_core.report.double_wins import choose
from lth_core.report.material import Material
from lth_core.report.page import render
from lth_core.report.pipeline import build
from lth_core.results import Result, append

from .test_double_win import BAD, DENSE, RA, SA, results, runs
from .test_report import SVG, H, parse, texts

FOUND = results(
    (3, (DENSE, DENSE, DENSE)), (10, (DENSE, DENSE, BAD)), (12, (DENSE, None, (1.0, math.nan)))
)
CONTROL = results((3, (BAD, BAD, BAD)), dense=(None, None, None), variant="random")


def page_of(found: list[Result], *pairs: tuple[str, str]) -> ElementTree.Element:
    material = choose(Material((), tuple(found)), pairs)
    return parse(render("title", "lead", build(material)))


def section(page: ElementTree.Element) -> ElementTree.Element:
    (found,) = (node for node in page.iter(H + "section") if node.get("id") == "double-wins")
    return found


def rows(page: ElementTree.Element) -> list[list[str]]:
    return [
        ["".join(cell.itertext()).strip() for cell in row]
        for row in section(page).iter(H + "tr")
    ]  # fmt: skip


def upright(figure: ElementTree.Element) -> int:
    """How many vertical lines of a kind of ticket go from the bottom of a panel to its top."""
    lines = 0
    for group in figure.iter(SVG + "g"):
        if re.fullmatch(r"k\d+", group.get("class", "")):
            for path in group.iter(SVG + "path"):
                corners = re.fullmatch(r"M (\S+) (\S+)\s+L (\S+) (\S+)\s*", path.get("d", ""))
                if corners and corners[1] == corners[3]:
                    lines += abs(float(corners[2]) - float(corners[4])) > 100
    return lines


def test_conditions_side_by_side_with_the_sparsest_double_win() -> None:
    page = page_of([*FOUND, *CONTROL], ("std", "adv"))
    ticket, random = "transferred from moco", "transferred random from moco"
    assert rows(page)[:5] == [
        ["ticket", "by the", "std"],
        [ticket, "papers' rule", "48.80 %"],
        [ticket, "test", "none"],
        [random, "papers' rule", "none"],
        [random, "test", "none"],
    ]
    assert ["89.26 %", "papers' rule", "matches", "matches", "does not", "no"] in rows(page)
    assert ["93.13 %", "papers' rule", "matches", "missing", "does not", "no"] in rows(page)
    figures = list(section(page).iter(H + "figure"))
    assert texts(section(page), "figcaption") == [
        f"{name}, from moco" for name in ("standard SA", "adversarial SA", "adversarial RA")
    ]
    assert [upright(figure) for figure in figures] == [1, 1, 1]  # the ticket's, by the rule
    said = figures[2][1].get("aria-label", "")
    assert said.startswith(f"{RA} of adv over sparsity, from moco. {ticket}: dense 95 ± 1 (3)")
    notes = texts(section(page), "p")
    assert "level 12 is missing in adversarial SA" in notes
    assert "adversarial RA: level 12: 1 of 2 runs came to no number" in notes


def test_names_tell_which_tasks_belong_together() -> None:
    def named(task: str) -> list[Result]:
        names = {"std": task, "adv": f"{task}, adversarial"}
        return [replace(run, task=names[run.task]) for run in FOUND]

    page = page_of([*named("CIFAR-10"), *named("SVHN"), *runs(DENSE, 1, "VOC", metric=SA)])
    assert rows(page)[:2] == [
        ["ticket", "by the", "CIFAR-10", "SVHN"],
        ["transferred from moco", "papers' rule", "48.80 %", "48.80 %"],
    ]
    fast = [replace(run, task="SVHN, adversarial fast") for run in FOUND if run.task == "adv"]
    assert rows(page_of([*named("SVHN"), *fast]))[0][2:] == [
        "SVHN, adversarial", "SVHN, adversarial fast",
    ]  # fmt: skip
    other = [run for run in named("CIFAR-10") if run.metric != RA]
    assert not [n for n in page_of(other).iter() if n.get("id") == "double-wins"]


def test_results_that_cannot_be_judged_are_no_obstacle() -> None:
    odd = runs(DENSE, 1, "std", metric=SA, variant="odd", higher_is_better=False)
    assert not [n for n in page_of([*FOUND, *odd]).iter() if n.get("id") == "double-wins"]


def test_published_sparsities_are_shown_where_they_are_asked_for(tmp_path: Path) -> None:
    append(tmp_path / "results.jsonl", FOUND)
    page = tmp_path / "page.html"
    asked = ["report", str(tmp_path), "-o", str(page), "--pictures", "0"]
    assert main([*asked, "--reference", "paper-c", "--reference", "paper-c:CIFAR-10"]) == 0
    assert rows(parse(page.read_text())) == [
        ["ticket", "CIFAR-10", "CIFAR-100"],
        ["transferred from ImageNet labels", "89.26 %", "73.79 %"],
        ["transferred from ImageNet labels, fast adversarial", "89.26 %", "79.03 %"],
        ["transferred from ImageNet labels, adversarial", "91.41 %", "83.22 %"],
    ]
    assert main([*asked, "--double-win", "std", "adv", "--reference", "paper-c:CIFAR-100"]) == 0
    told = rows(parse(page.read_text()))
    assert ["transferred from ImageNet labels", "73.79 %"] in told
    assert ["transferred from moco", "papers' rule", "48.80 %"] in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--double-win", "std", "avd"], "no ticket has results of the task 'avd'; did you mean"),
        (["--reference", "paper-c:SVHN"], "paper-c has no task 'SVHN'; it has CIFAR-10, CIFAR-100"),
        (["--reference", "paper-c:CIFAR-10=std"], "paper-c has no curves to draw with 'std'"),
        (["--reference", "paper-z:SVHN"], "no numbers of 'paper-z' are here"),
        (["--robust-metric", RA], "--robust-metric goes with --double-win STANDARD ADVERSARIAL"),
    ],
)
def test_what_is_not_there(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    append(tmp_path / "results.jsonl", FOUND)
    page = tmp_path / "page.html"
    asked = ["report", str(tmp_path), "-o", str(page), "--pictures", "0"]
    assert main([*asked, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not page.exists()
    assert main([*asked, "--double-win", "std", "adv", "--robust-metric", RA]) == 0
    assert "Which tickets win twice" in page.read_text()
