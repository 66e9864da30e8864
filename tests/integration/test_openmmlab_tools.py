"""OpenMMLab's own tools, as their wheels ship them, on ticket configs and what these leave."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import lth_core as lth
import pytest
import torch
from lth_core import results
from lth_core.cli import main as lth_command
from mmengine.analysis.print_helper import _format_size

from .openmmlab_runs import FAMILIES, SIZE, TICKET, Family, check_exact, prepare, run, small

SHAPE = [str(size) for size in SIZE]

INFERENCE = {
    "mmpretrain": """
        from mmpretrain import ImageClassificationInferencer, get_model
        model = get_model(config, checkpoint)
        result = ImageClassificationInferencer(model)(picture)[0]
        other = ImageClassificationInferencer(config, checkpoint)(picture)[0]
        scores, others = result["pred_scores"], other["pred_scores"]
        """,
    "mmdet": """
        from mmdet.apis import DetInferencer, inference_detector, init_detector
        model = init_detector(config, checkpoint, device="cpu")
        scores = inference_detector(model, picture).pred_instances.scores
        other = DetInferencer(config, checkpoint, device="cpu", show_progress=False)(picture)
        others = other["predictions"][0]["scores"]
        """,
    "mmseg": """
        from mmseg.apis import MMSegInferencer, inference_model, init_model
        model = init_model(config, checkpoint, device="cpu")
        scores = inference_model(model, picture).pred_sem_seg.data[0]
        others = MMSegInferencer(config, checkpoint, device="cpu")(picture)["predictions"]
        """,
}
"""What a user writes who has never heard of lth, with both interfaces of each package."""

CHECK = """
import torch
stored = torch.load(checkpoint, weights_only=True)["state_dict"]
assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in stored.items())
assert len(scores) == len(others) > 0
assert torch.allclose(torch.as_tensor(scores).float(), torch.as_tensor(others).float())
"""


RATES = {"mmpretrain": 0.1 * 2 / 256, "mmdet": 0.01 * 2 / 16, "mmseg": 0.01}
"""Learning rates after ``--auto-scale-lr``, which mmseg's tool does not have."""


def train(
    family: Family, folder: Path, *arguments: str, processes: int = 1, longer: str = ""
) -> Path:
    """Trains in ``folder`` with the package's own tool; the work directory."""
    launch: tuple[str, ...] = ()
    if processes > 1:
        launch = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}")
        arguments = ("--launcher", "pytorch", *arguments)
    options = small(family, longer) if longer else small(family)
    tool = family.tool("train.py")
    run(folder, tool, "mine.py", "--work-dir", "work", *arguments, *options, python=launch)
    return folder / "work"


@pytest.mark.parametrize("name", FAMILIES)
def test_trained_tested_and_used(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    family = FAMILIES[name]
    prepare(family, tmp_path)
    masks = lth.Ticket.load(tmp_path / TICKET).masks
    scaled = () if name == "mmseg" else ("--auto-scale-lr",)
    checkpoint = train(family, tmp_path, *scaled) / family.checkpoints[0]
    check_exact(checkpoint, masks)
    recorded = results.read([tmp_path])
    assert {(r.run, r.level, r.sparsity) for r in recorded} == {(".", 10, masks.sparsity)}
    groups = torch.load(checkpoint, weights_only=True)["optimizer"]["param_groups"]
    assert [g["initial_lr"] for g in groups] == pytest.approx([RATES[name]] * len(groups))

    # From here on the ticket's file is out of reach.
    monkeypatch.setenv("LTH_TICKETS", "moved")
    monkeypatch.chdir(tmp_path)
    relative = Path("work") / checkpoint.name
    check_tests_agree(family, relative)
    assert results.read([tmp_path]) == recorded  # a test is no training
    check_inference_and_counts(family, relative, masks, capsys)


def check_tests_agree(family: Family, checkpoint: Path) -> None:
    """The package's ``tools/test.py`` and ``lth test`` measure the same."""
    found = []
    for tool in ("theirs", "ours"):
        # Detections themselves tell more than the precision of a detector that has seen little.
        boxes = (f"test_evaluator.outfile_prefix={tool}",) if family.package == "mmdet" else ()
        arguments = ["mine.py", str(checkpoint), "--work-dir", tool, *small(family, *boxes)]
        if tool == "theirs":
            run(Path.cwd(), family.tool("test.py"), *arguments)
        else:
            assert lth_command(["test", *arguments]) == 0
        metrics = json.loads(next(Path(tool).glob("*/*.json")).read_text())
        seen = {key: value for key, value in metrics.items() if "time" not in key}
        if boxes:
            seen["boxes"] = json.loads(Path(f"{tool}.bbox.json").read_text())
            assert seen["boxes"]
        found.append(seen)
    assert found[0] == found[1] != {}


def check_inference_and_counts(
    family: Family, checkpoint: Path, masks: lth.MaskSet, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package's ``apis`` take the checkpoint; its ``get_flops.py`` and ours count the same."""
    config = Path("work/mine.py")  # as mmengine leaves it there, with the small options in it
    picture = next(p for p in Path("data").rglob("*") if p.suffix in (".JPEG", ".jpg", ".png"))
    names = f"config, checkpoint, picture = {str(config)!r}, {str(checkpoint)!r}, {str(picture)!r}"
    tool = str(family.tool("analysis_tools/get_flops.py"))
    argv = [tool, str(config), *(() if family.package == "mmdet" else ("--shape", *SHAPE))]
    flops = (
        f"import runpy, sys; sys.argv = {argv!r}\nrunpy.run_path({tool!r}, run_name='__main__')\n"
    )
    script = names + textwrap.dedent(INFERENCE[family.package]) + CHECK + flops
    printed = run(Path.cwd(), "-c", script)

    capsys.readouterr()
    command = ["ticket", "flops", str(checkpoint), "--config", str(config), "--json", "--shape"]
    assert lth_command([*command, *SHAPE]) == 0
    counts = json.loads(capsys.readouterr().out)
    total, stages = counts["total"], counts["stages"]
    # mmpretrain's leaves the head's FLOPs out.
    beside = stages["head"]["flops"] if family.package == "mmpretrain" else 0
    assert f"Flops: {_format_size(total['flops'] - beside)}\n" in printed
    assert f"Params: {_format_size(total['params'])}\n" in printed
    assert total["params"] - total["kept_params"] == masks.total - masks.kept
    assert stages["backbone.layer4"]["kept_flops"] < 0.3 * stages["backbone.layer4"]["flops"]


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_two_processes_then_resumed_by_one(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    prepare(family, tmp_path)
    masks = lth.Ticket.load(tmp_path / TICKET).masks
    work = train(family, tmp_path, processes=2)
    check_exact(work / family.checkpoints[0], masks)
    train(family, tmp_path, "--resume", longer=family.longer)
    check_exact(work / family.checkpoints[1], masks)
    logs = "".join(path.read_text() for path in work.glob("*/*.log"))
    assert f"resumed epoch: {0 if name == 'mmseg' else 1}, iter: " in logs
