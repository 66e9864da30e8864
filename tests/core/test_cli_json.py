"""``--json`` of commands that need no OpenMMLab: one document on stdout, the library's numbers."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.analysis import expected_by_chance, similarity
from lth_core.backbones import read_backbone
from lth_core.cli import main
from lth_core.matching import match
from lth_core.results import Result, append, read

from .helpers import Backbone, random_masks


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(Backbone(8).state_dict(), "w.pth")


def facts(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The one document, without what JSON does not know."""
    assert main([*arguments, "--json"]) == 0

    def odd(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(capsys.readouterr().out, parse_constant=odd)


def expected(file: str) -> dict[str, Any]:
    ticket = lth.Ticket.load(file)
    return {
        "file": file,
        "digest": ticket.masks.digest(),
        "kept": sum(int(mask.sum()) for mask in ticket.masks.values()),
        "total": sum(mask.numel() for mask in ticket.masks.values()),
        "sparsity": ticket.masks.sparsity,
        "weights": len(ticket.weights or {}),
        "parent": ticket.meta.get("parent"),
        "meta": json.loads(json.dumps(ticket.meta)),
    }


def test_make_variant_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert facts(capsys, "ticket", "make", "w.pth", "--level", "2", "-o", "t") == expected("t")
    found = facts(capsys, "ticket", "variant", "t", "complement", "-o", "c")
    assert found == expected("c")
    assert found["weights"] == 0
    shown = facts(capsys, "ticket", "show", "t")
    layers = shown.pop("layers")
    assert shown.pop("verified") == {}
    assert shown.pop("collapsed") == []
    assert shown == expected("t")
    masks = lth.Ticket.load("t").masks
    assert [layer["name"] for layer in layers] == list(masks)
    for layer in layers:
        mask = masks[layer["name"]]
        assert layer["shape"] == list(mask.shape)
        assert layer["kept"] == int(mask.sum())
        assert layer["sparsity"] == pytest.approx(1 - int(mask.sum()) / mask.numel())


def test_import_and_export(capsys: pytest.CaptureFixture[str]) -> None:
    first = random_masks(Backbone(), 0.6)
    for level, masks in enumerate((first, first & random_masks(Backbone(), 0.6, seed=1)), 1):
        torch.save({f"{n}_mask": m.float() for n, m in masks.items()}, f"mask-{level}.pt")
    found = facts(capsys, "ticket", "import", "mask-1.pt", "mask-2.pt", "-o", "d")
    assert found == [expected("d/mask-1.safetensors"), expected("d/mask-2.safetensors")]
    assert found[1]["parent"] == found[0]["digest"]
    written = facts(
        capsys, "ticket", "export", "d/mask-1.safetensors", "--format", "papers", "-o", "p.pth"
    )
    assert written == {
        "file": "p.pth",
        "source": "d/mask-1.safetensors",
        "format": "papers",
        "tensors": len(torch.load("p.pth")),
    }


def test_convert(capsys: pytest.CaptureFixture[str]) -> None:
    found = facts(capsys, "weights", "convert", "w.pth", "-o", "o.pth")
    report = json.loads(json.dumps(asdict(read_backbone("w.pth")[1])))
    assert found == {"file": "o.pth", "source": "w.pth", **report}
    assert len(found["matched"]) == len(torch.load("o.pth"))


def test_compare(capsys: pytest.CaptureFixture[str]) -> None:
    masks = [random_masks(Backbone(), seed=seed) for seed in range(3)]
    for name, each in zip("abc", masks, strict=True):
        lth.Ticket(each).save(name)
    found = facts(capsys, "ticket", "compare", "a", "b", "c")
    assert [pair["files"] for pair in found] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert found[2] == {
        "files": ["b", "c"],
        "sparsity": [masks[1].sparsity, masks[2].sparsity],
        **asdict(similarity(masks[1], masks[2])),
        "by_chance": asdict(expected_by_chance(masks[1], masks[2])),
        "by_chance_in_layers": asdict(expected_by_chance(masks[1], masks[2], match="layer")),
    }


def test_match(capsys: pytest.CaptureFixture[str]) -> None:
    measured = {0: (1, 2, 3), 1: (2, 3, 4), 2: (math.nan,)}
    sparsities = (0.0, 0.2, 0.36)
    append(
        "results.jsonl",
        [
            Result("t", "w", "m", level, sparsities[level], seed, "accuracy", value)
            for level, values in measured.items()
            for seed, value in enumerate(values)
        ],
    )
    found = facts(capsys, "match", "results.jsonl")
    (own,) = match(read(["results.jsonl"]))
    (each,) = found["matches"]
    assert each["family"] == asdict(own.family)
    assert each["dense"] == {"mean": 2.0, "deviation": 1.0, "count": 3}
    assert each["by_rule"] == own.by_rule == pytest.approx(0.2)
    assert [level["sparsity"] for level in each["levels"]] == pytest.approx([0.2, 0.36])
    assert each["levels"][1]["found"]["mean"] is None


def test_errors_stay_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ticket", "show", "absent", "--json"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("error: ticket absent does not exist")
    assert err.count("\n") == 1


def test_nothing_is_cut_where_stdout_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "layer1." + "long." * 40 + "[bold]weight"
    file = "ticket-" + "x" * 150
    lth.Ticket(lth.MaskSet({name: torch.ones(2, 2, dtype=torch.bool)})).save(file)
    assert main(["ticket", "show", file]) == 0
    out = capsys.readouterr().out
    assert name in out
    assert f"{file}: verified" in out
    assert main(["ticket", "compare", file, file]) == 0
    assert capsys.readouterr().out.count(file) == 3


def test_narrow_terminals_fold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    name = "layer1." + "long." * 20 + "weight"
    lth.Ticket(lth.MaskSet({name: torch.ones(2, 2, dtype=torch.bool)})).save("t")
    assert main(["ticket", "show", "t"]) == 0
    table = capsys.readouterr().out.partition("weights: ")[0]
    assert max(map(len, table.splitlines())) <= 40
    assert "…" not in table
    column = "".join(line.split("│")[1].strip() for line in table.splitlines() if "│" in line)
    assert name in column
