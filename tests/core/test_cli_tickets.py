"""``lth ticket`` and ``lth weights`` as a user calls them."""

from __future__ import annotations

import json

import lth_core as lth
import pytest
import safetensors.torch
import torch
from lth_core.cli.main import main

from .helpers import Backbone, Classifier, bits, random_masks


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def fails(capsys, *arguments: str) -> str:
    try:
        code = main(arguments)
    except SystemExit as left:  # argparse's way
        code = left.code
    assert code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def prints(capsys, *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def papers(masks: lth.MaskSet) -> dict[str, torch.Tensor]:
    return {f"module.{name}_mask": mask.float() for name, mask in masks.items()}


def test_import_show_export(capsys, tmp_path):
    model = Classifier()
    masks = random_masks(model, 0.3)
    torch.save(papers(masks), "mask-5.pt")
    torch.save({"state_dict": model.state_dict()}, "moco.pth")
    out = prints(capsys, "ticket", "import", "mask-5.pt", "--weights", "moco.pth", "-o", "t")
    assert out.startswith("t: MaskSet(2 weights")
    shown = prints(capsys, "ticket", "show", "t")
    assert "t: verified" in shown
    assert f"digest:  {masks.digest()}" in shown
    assert "level: 5" in shown
    assert "parent:  none" in shown
    assert "weights: 18 tensors" in shown
    assert f"{masks.kept:,}" in shown
    for form in ("papers", "torch-prune", "dense"):
        out = prints(capsys, "ticket", "export", "t", "--format", form, "-o", f"{form}.pth")
        assert out == f"{form}.pth: {len(torch.load(f'{form}.pth'))} tensors, format {form}\n"
    prints(capsys, "ticket", "import", "papers.pth", "-o", "again")
    assert lth.Ticket.load("again").masks == masks
    dense = torch.load("dense.pth", weights_only=True)
    assert not dense["layer1.0.conv1.weight"][~masks["layer1.0.conv1.weight"]].any()


def test_collapsed_layers_are_warned_of(capsys, tmp_path):
    masks = {name: torch.zeros(2, 2, dtype=torch.bool) for name in ("a.weight", "b.weight")}
    lth.Ticket(lth.MaskSet(masks | {"c.weight": torch.eye(2, dtype=torch.bool)})).save("t")
    warning = "warning: collapsed: nothing is kept of a.weight, b.weight;"
    assert warning in prints(capsys, "ticket", "show", "t")
    assert json.loads(prints(capsys, "ticket", "show", "t", "--json"))["collapsed"] == list(masks)
    lth.Ticket(lth.MaskSet({"c.weight": torch.eye(2, dtype=torch.bool)})).save("t")
    assert "collapsed" not in prints(capsys, "ticket", "show", "t")


def test_a_chain_goes_into_a_directory(capsys, tmp_path):
    first = random_masks(Backbone(), 0.6)
    second = first & random_masks(Backbone(), 0.6, seed=1)
    torch.save(papers(first), "mask-1.pt")
    torch.save(papers(second), "mask-2.pt")
    prints(capsys, "ticket", "import", "mask-1.pt", "mask-2.pt", "-o", "tickets")
    assert lth.Ticket.load("tickets/mask-2.safetensors").masks == second
    assert f"parent:  {first.digest()}" in prints(
        capsys, "ticket", "show", "tickets/mask-2.safetensors"
    )
    assert "not nested" in fails(
        capsys, "ticket", "import", "mask-2.pt", "mask-1.pt", "-o", "reversed"
    )
    assert not (tmp_path / "reversed").exists()
    assert "same name" in fails(
        capsys, "ticket", "import", "mask-1.pt", "mask-1.pt", "-o", "tickets"
    )


def test_refusals_are_one_line(capsys):
    torch.save(Backbone().state_dict(), "w.pth")
    assert "holds no masks" in fails(capsys, "ticket", "import", "w.pth", "-o", "t")
    assert "does not exist" in fails(capsys, "ticket", "import", "absent.pt", "-o", "t")
    assert "does not exist" in fails(
        capsys, "ticket", "export", "absent", "--format", "dense", "-o", "w"
    )
    assert "is not a ticket" in fails(capsys, "ticket", "show", "w.pth")
    with pytest.raises(SystemExit):
        main(["ticket", "export", "t", "--format", "onnx", "-o", "w"])


def test_compare(capsys):
    one, other = random_masks(Backbone()), random_masks(Backbone(), seed=1)
    lth.Ticket(one).save("one")
    lth.Ticket(other).save("other")
    out = prints(capsys, "ticket", "compare", "one", "other")
    assert f"{one.iou(other):.4f}" in out
    apart = sum(int((one[name] != other[name]).sum()) for name in one) / one.total
    assert f"{apart:.4f}" in prints(
        capsys, "ticket", "compare", "one", "other", "--measure=hamming"
    )
    (pair,) = json.loads(prints(capsys, "ticket", "compare", "one", "other", "--json"))
    assert pair["files"] == ["one", "other"]
    assert pair["hamming"] == apart
    assert pair["sparsity"] == [one.sparsity, other.sparsity]
    assert pair["by_chance_in_layers"].keys() == {"iou", "overlap", "hamming"}


def test_compare_of_different_scopes_says_how_they_differ(capsys):
    lth.Ticket(random_masks(Backbone())).save("a")
    lth.Ticket(random_masks(Backbone(), stem=True)).save("stem")
    lth.Ticket(random_masks(Backbone(8))).save("wide")
    err = fails(capsys, "ticket", "compare", "a", "stem")
    assert "a and stem cannot be compared, their scopes differ: only stem has conv1.weight" in err
    assert "only stem has conv1.weight" in fails(capsys, "ticket", "compare", "stem", "a")
    err = fails(capsys, "ticket", "compare", "a", "wide")
    assert "layer1.0.conv1.weight is (4, 4, 3, 3) and (8, 8, 3, 3)" in err
    assert "at least two" in fails(capsys, "ticket", "compare", "a")


def test_names_are_shown_without_markup_and_control_characters(capsys):
    masks = lth.MaskSet({"[red]a\x1b[2J.weight": torch.ones(2, dtype=torch.bool)})
    lth.Ticket(masks, None, {"note\x1b[1m": "x\x1b[2J\ny"}).save("t")
    out = prints(capsys, "ticket", "show", "t")
    assert "[red]a?[2J.weight" in out
    assert "note?[1m: x?[2J?y" in out
    assert "\x1b[2J" not in out


@pytest.mark.parametrize("output", ["out.pth", "out.safetensors"])
def test_convert_reports_and_writes_plain_weights(capsys, output):
    query, key = Classifier(), Classifier()
    state = {f"module.encoder_q.{n}": t for n, t in query.state_dict().items()}
    state |= {f"module.encoder_k.{n}": t for n, t in key.state_dict().items()}
    del state["module.encoder_q.bn1.running_var"]
    torch.save({"state_dict": state | {"module.queue": torch.zeros(2, 2)}}, "moco.pth.tar")
    out = prints(capsys, "weights", "convert", "moco.pth.tar", "-o", output)
    assert f"{output}: 17 tensors" in out
    assert "matched 17 tensors at state_dict.encoder_q (backbone, torchvision names)" in out
    assert "left 23: encoder_q.fc.weight" in out
    assert "missing 1: bn1.running_var" in out
    read = safetensors.torch.load_file if output.endswith("tensors") else torch.load
    weights = read(output)
    assert bits(weights["conv1.weight"]) == bits(query.conv1.weight)
    model = Backbone()
    assert model.load_state_dict(weights, strict=False).missing_keys == ["bn1.running_var"]


def test_convert_of_several_backbones(capsys):
    state = {f"{part}.{n}": t for part in "ab" for n, t in Backbone().state_dict().items()}
    torch.save(state, "w.pth")
    assert "2 different backbones: a., b." in fails(
        capsys, "weights", "convert", "w.pth", "-o", "o.pth"
    )
    prints(capsys, "weights", "convert", "w.pth", "--prefix", "b", "-o", "o.pth")
    assert bits(torch.load("o.pth")["conv1.weight"]) == bits(state["b.conv1.weight"])


def test_convert_writes_no_more_than_the_weights(capsys, tmp_path):
    """A tensor may be a small view of a large one."""
    state = Backbone().state_dict()
    state["conv1.weight"] = torch.zeros(1000, 3, 3, 3)[:4]
    torch.save(state, "w.pth")
    prints(capsys, "weights", "convert", "w.pth", "-o", "o.pth")
    assert (tmp_path / "o.pth").stat().st_size < 20_000
    (tmp_path / "d").mkdir()
    assert "cannot be written" in fails(capsys, "weights", "convert", "w.pth", "-o", "d")
