"""Sections of ``lth report`` on masks, against counting by hand."""

from __future__ import annotations

from pathlib import Path

import lth_core as lth
import pytest
import torch
from lth_core.report.chains import Scope, spread, survey
from lth_core.report.masks import masks
from lth_core.report.material import collect
from lth_core.report.page import render
from lth_core.report.section import Section, Table
from lth_core.report.trained import trained

SHAPES = {
    "conv1.weight": (4, 3, 3, 3),
    "layer1.0.conv1.weight": (6, 4, 3, 3),
    "layer1.0.conv2.weight": (5, 6, 1, 1),
    "layer2.0.conv1.weight": (8, 5, 3, 3),
}


def write(path: Path, mask: lth.MaskSet, **meta: object) -> lth.MaskSet:
    path.parent.mkdir(parents=True, exist_ok=True)
    lth.Ticket(mask, meta=dict(meta)).save(path)
    return mask


def chain(root: Path, seed: int, levels: int = 4, **meta: object) -> list[lth.MaskSet]:
    """Random nested masks in the directories of a run."""
    generator = torch.Generator().manual_seed(seed)
    found = [lth.MaskSet({n: torch.ones(shape, dtype=torch.bool) for n, shape in SHAPES.items()})]
    weights = {n: torch.rand(shape, generator=generator) for n, shape in SHAPES.items()}
    for level in range(levels):
        cut = 0.8**level
        found.append(lth.MaskSet({n: w < cut * 0.8 for n, w in weights.items()}))
    for level, mask in enumerate(found):
        place = root / f"level_{level:02d}" / "ticket.safetensors"
        write(place, mask, level=level, seed=seed, **meta)
    return found


def sections(*places: Path) -> dict[str, Section]:
    found = {section.id: section for section in masks(collect(places))}
    page = render("Title", "Lead", list(found.values()))  # all of it can be drawn
    assert "<h1>Title</h1>" in page
    return found


def tables(part: object) -> list[Table]:
    inner = getattr(part, "parts", ())
    return [part] if isinstance(part, Table) else [t for each in inner for t in tables(each)]


def scopes(*places: Path) -> list[Scope]:
    return survey(collect(places))


def test_chains_are_compared_level_by_level(tmp_path: Path) -> None:
    one, other = chain(tmp_path / "a", 0), chain(tmp_path / "b", 1, levels=3)
    (scope,) = scopes(tmp_path)
    assert [each.title for each in scope.chains] == ["a", "b"]
    assert [len(each.looks) for each in scope.chains] == [4, 3]  # dense masks say nothing
    (pairs,) = scope.pairs.values()
    assert len(pairs) == 3
    for level, pair in enumerate(pairs, start=1):
        bits = [torch.cat([m.flatten() for m in c[level].values()]).tolist() for c in (one, other)]
        both = sum(a and b for a, b in zip(*bits, strict=True))
        either = sum(a or b for a, b in zip(*bits, strict=True))
        assert pair.found.iou == both / either
        assert pair.found.iou == pytest.approx(pair.chance.iou, abs=0.1)


def test_tables_hold_what_is_kept(tmp_path: Path) -> None:
    found = chain(tmp_path, 0)
    stages, layers = tables(sections(tmp_path)["layers"])
    assert stages.columns == ("ticket", "sparsity, %", "conv1", "layer1", "layer2", "all")
    last = found[-1]
    kept = {name: int(mask.sum()) for name, mask in last.items()}
    layer1 = kept["layer1.0.conv1.weight"] + kept["layer1.0.conv2.weight"]
    assert stages.rows[-1][3] == f"{layer1} ({100 * layer1 / 246:.1f} %)"
    assert stages.rows[-1][5] == str(last.kept)
    assert [row[0] for row in layers.rows] == list(SHAPES)
    assert [row[5] for row in layers.rows] == [str(kept[name]) for name in SHAPES]


def test_seeds_of_one_chain_are_told_from_different_chains(tmp_path: Path) -> None:
    for seed in (0, 1):
        chain(tmp_path / f"seed_{seed}", seed, mask_name="imp on digits", weights_name="moco")
    chain(tmp_path / "other", 2, mask_name="imp on digits", weights_name="labels")
    (scope,) = scopes(tmp_path)
    titles = [each.title for each in scope.chains]
    assert scope.seeds_of_one == {(titles.index("seed_0"), titles.index("seed_1"))}
    (table,) = tables(sections(tmp_path)["similarity"])
    assert {row[0] for row in table.rows if row[-1] == "the seed"} == {"seed_0 and seed_1"}


def test_map_shows_zero_kernels_of_more_than_one_weight(tmp_path: Path) -> None:
    found = chain(tmp_path, 0, levels=6)
    look = scopes(tmp_path)[0].chains[0].looks[-1]
    zero = [
        not bool(found[-1][name][o, i].any())
        for name in SHAPES
        if SHAPES[name][2] > 1
        for o in range(SHAPES[name][0])
        for i in range(SHAPES[name][1])
    ]
    assert any(zero)
    assert look.run == 1
    assert look.picture.flatten()[: len(zero)].tolist() == [float(z) for z in zero]
    assert sum(count.zero_spatial for count in look.kernels.values()) == sum(zero)


def test_masks_of_other_weights_are_not_compared(tmp_path: Path) -> None:
    chain(tmp_path / "convolutions", 0)
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        mask = lth.MaskSet({"<b>$x$": torch.randperm(35, generator=generator).view(7, 5) < 17})
        write(tmp_path / f"linear_{seed}.safetensors", mask)
    convolutions, linear = scopes(tmp_path)
    assert not convolutions.pairs
    assert [each.title for each in linear.chains] == ["linear_0", "linear_1"]
    found = sections(tmp_path)
    assert [len(t.rows) for t in tables(found["similarity"])] == [len(linear.pairs)]
    assert list(found) == ["layers", "similarity", "kernels"]


def test_damaged_collapsed_and_lonely_tickets(tmp_path: Path) -> None:
    shape = (2, 2, 1, 1)
    collapsed = {"a.weight": torch.zeros(shape, dtype=torch.bool)}
    write(tmp_path / "x.safetensors", lth.MaskSet(collapsed))
    write(tmp_path / "damaged.safetensors", lth.MaskSet(collapsed))
    content = (tmp_path / "damaged.safetensors").read_bytes()
    (tmp_path / "damaged.safetensors").write_bytes(content[:-1])
    found = sections(tmp_path)
    assert list(found) == ["layers", "kernels"]
    alarm = tables(found["layers"])[0]
    assert [str(alarm.rows[0][0]), alarm.rows[0][2].text] == ["x", "a.weight"]  # type: ignore[union-attr]


def test_natural_sparsity_is_of_what_is_not_pruned(tmp_path: Path) -> None:
    found = chain(tmp_path / "run", 0, levels=2)
    for level, mask in enumerate(found):
        folder = tmp_path / "run" / f"level_{level:02d}"
        weights = {name: own.float() for name, own in mask.items()}
        weights["conv1.weight"][0, 0, 0, :2] = 0  # by training, where nothing is pruned yet
        state = {f"backbone.{n}": w for n, w in weights.items()} | {
            "head.fc.weight": torch.zeros(2, 2)
        }
        torch.save({"state_dict": state}, folder / "final.pth")
        (folder / "last_checkpoint").write_text("/moved/final.pth")
    (tmp_path / "run" / "level_02" / "final.pth").write_bytes(b"damaged")
    (section,) = trained(collect([tmp_path]))
    render("t", "", [section])
    (table,) = tables(section)
    own = sum(bool(bit) for bit in found[1]["conv1.weight"][0, 0, 0, :2])
    assert [row[2] for row in table.rows[:2]] == [
        f"{100 * 2 / found[0].total:.4f}",
        f"{100 * own / found[1].kept:.4f}",
    ]
    assert "final.pth" in table.rows[2][2].text  # type: ignore[union-attr]


def test_dense_tickets_alone_say_nothing(tmp_path: Path) -> None:
    chain(tmp_path, 0, levels=0)
    assert sections(tmp_path) == {}


def test_many_chains_are_cut_and_said_to_be(tmp_path: Path) -> None:
    for seed in range(10):
        chain(tmp_path / f"c{seed}", seed, levels=2)
    (scope,) = scopes(tmp_path)
    assert (len(scope.chains), scope.left_out) == (8, 2)
    page = render("t", "", list(sections(tmp_path).values()))
    assert "2 more are left out" in page


@pytest.mark.parametrize("most", [1, 2, 3, 7, 20])
def test_spread_keeps_the_ends(most: int) -> None:
    found = spread(range(15), most)
    assert found == sorted(set(found))
    assert len(found) == min(most, 15)
    assert found[-1] == 14
    assert most == 1 or found[0] == 0
