"""What trainings write of themselves: files of results, and scalars beside the loss."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import lth_core as lth
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lth_core import results
from lth_core.cli.main import main
from lth_core.errors import ConfigError
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.naming import (
    comparison_digest,
    names_of_chain,
    start_of,
    task_of,
    variant_name,
)
from lth_core.openmmlab.recording import record, restore, results_of
from lth_core.openmmlab.settings import RecordSettings, parse_imp
from lth_core.results import Result
from lth_core.variant_kinds import make_variant
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import METRICS

from .toy import ToyAccuracy, toy_config

IMP = {"rounds": 2, "amount": 0.5, "rewind": "init"}


def train(directory: Path, *hooks: Hook, **changes: Any) -> Any:
    return LTHRunner.from_cfg(toy_config(directory, **changes), hooks).train()


def lines(directory: Path) -> list[dict[str, Any]]:
    text = (directory / "results.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_dense_training_writes_its_last_validation(tmp_path: Path) -> None:
    seen: list[float] = []

    class Spy(Hook):
        def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
            seen.append(metrics["accuracy"])

    train(tmp_path, Spy(), randomness={"seed": 3})
    (line,) = lines(tmp_path)
    assert line["value"] == seen[-1]
    assert (line["task"], line["weights"], line["mask"]) == ("Toy ToyClassifier", "random", "dense")
    assert (line["level"], line["sparsity"], line["seed"], line["run"]) == (0, 0.0, 3, ".")
    assert line["metric"] == "accuracy"
    assert line["seconds"] > 0
    assert pd.read_json(tmp_path / "results.jsonl", lines=True).value.tolist() == [seen[-1]]


def test_a_ticket_is_told_by_what_it_says_of_itself(ticket: Path, tmp_path: Path) -> None:
    loaded = lth.Ticket.load(ticket)
    loaded.meta |= {
        "level": 5,
        "one_shot": True,
        "criterion": "magnitude",
        "source": "moco.pth.tar",
    }
    loaded.save(ticket)
    train(tmp_path / "own", ticket={"path": str(ticket)})
    train(tmp_path / "kept", ticket={"path": str(ticket), "weights": "keep"})
    perturb = {"type": "perturb", "fraction": 0.25, "seed": 4}
    fresh = {"path": str(ticket), "weights": "reinit", "variant": perturb}
    train(tmp_path / "varied", ticket=fresh)
    own, kept, varied = (lines(tmp_path / name)[0] for name in ("own", "kept", "varied"))
    assert (own["weights"], own["mask"], own["level"]) == ("moco", "one-shot magnitude", 5)
    assert own["sparsity"] == loaded.masks.sparsity
    assert (kept["weights"], varied["weights"]) == ("random", "random")
    assert varied["variant"] == "perturb fraction=0.25 reinit"
    perturbed = make_variant("perturb", {"fraction": 0.25, "seed": 4}).derive(loaded.masks)
    assert varied["sparsity"] == perturbed.sparsity
    assert len({line["config"] for line in (own, kept, varied)}) == 1


def test_names_can_be_given_and_dense_stays_dense(ticket: Path, tmp_path: Path) -> None:
    given = {"task": "colours", "weights": "θ_P", "mask": "m_P"}
    train(tmp_path / "dense", record=given)
    train(tmp_path / "ticket", record=given, ticket={"path": str(ticket)})
    dense, sparse = lines(tmp_path / "dense")[0], lines(tmp_path / "ticket")[0]
    assert (dense["task"], dense["weights"], dense["mask"]) == ("colours", "θ_P", "dense")
    assert (sparse["task"], sparse["weights"], sparse["mask"]) == ("colours", "θ_P", "m_P")
    assert dense["config"] == sparse["config"]


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ({"taks": "x"}, "did you mean 'task'"),
        ({"task": ""}, "record.task"),
        ({"mask": 3}, "record.mask"),
        ("digits", "must be a dict"),
    ],
)
def test_a_malformed_record_is_refused(value: Any, part: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=part):
        train(tmp_path, record=value)
    assert not (tmp_path / "results.jsonl").exists()


def test_a_misspelt_record_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'record'"):
        train(tmp_path, recrod={"task": "x"})


def test_a_chain_writes_each_level_once(tmp_path: Path) -> None:
    levels = train(tmp_path, imp=IMP, randomness={"seed": 7})
    found = lines(tmp_path)
    assert [line["run"] for line in found] == ["level_00", "level_01", "level_02"]
    assert [line["value"] for line in found] == [level.metrics["accuracy"] for level in levels]
    assert [line["sparsity"] for line in found] == [0.0, 0.5, 0.75]
    assert [line["mask"] for line in found] == [
        "dense",
        *2 * ["imp on Toy ToyClassifier, amount 0.5"],
    ]
    assert {line["seed"] for line in found} == {7}
    assert not list(tmp_path.glob("level_*/results.jsonl"))
    train(tmp_path, imp=IMP, randomness={"seed": 7})
    assert lines(tmp_path) == found


def test_a_level_whose_line_a_kill_has_kept_back_is_written_later(tmp_path: Path) -> None:
    train(tmp_path, imp=IMP)
    file = tmp_path / "results.jsonl"
    whole = file.read_text()
    kept = whole.splitlines(keepends=True)
    file.write_text(kept[0] + kept[1][:40])  # killed in the middle of a write
    train(tmp_path, imp=IMP)
    assert sorted(map(repr, results.read([file]))) == sorted(
        map(repr, [Result(**json.loads(line)) for line in kept])
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_chains_file_is_put_right_wherever_it_is_damaged(
    tmp_path: Path, data: st.DataObject
) -> None:
    found = [
        Result("task", "w", "imp" if level else "dense", level, 1 - 0.5**level, 0, "accuracy",
               value=90.125 - level, seconds=1.5, run=f"level_{level:02d}")
        for level in range(3)
    ]  # fmt: skip
    file = tmp_path / "results.jsonl"
    broken = bytearray(results.lines_of(found[: data.draw(st.integers(0, 3))]).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, max(0, len(broken) - 1)))
        broken[place : place + 1] = data.draw(st.binary(max_size=3))
    file.write_bytes(broken)
    for level in range(3):
        restore(tmp_path, found[: level + 1], {f"level_{each:02d}" for each in range(level + 1, 3)})
    there = [replace(each, seconds=1.5) for each in results.read([file])]
    assert there == found
    assert not restore(tmp_path, found, set())


def test_a_damaged_line_does_not_end_a_training(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_bytes(b'{"task": "another", \xff}\n')
    train(tmp_path)
    damaged, own = file.read_bytes().splitlines()
    assert damaged == b'{"task": "another", \xff}'
    assert json.loads(own)["metric"] == "accuracy"


def test_tickets_of_a_chain_name_where_they_come_from(tmp_path: Path) -> None:
    train(tmp_path / "chain", imp=IMP)
    path = tmp_path / "chain" / "level_02" / "ticket.safetensors"
    train(tmp_path / "down", ticket={"path": str(path)}, record={"task": "another"})
    (line,) = lines(tmp_path / "down")
    mask = "imp on Toy ToyClassifier, amount 0.5"
    assert (line["mask"], line["weights"]) == (mask, "random")
    assert (line["level"], line["sparsity"]) == (2, 0.75)


def test_time_adds_up_over_the_pieces_of_a_training(tmp_path: Path) -> None:
    class Stop(Hook):
        def before_train_epoch(self, runner: Any) -> None:
            if runner.epoch == 1:
                raise KeyboardInterrupt

    cfg = toy_config(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        LTHRunner.from_cfg(cfg, (Stop(),)).train()
    assert not (tmp_path / "results.jsonl").exists()
    path = tmp_path / "epoch_1.pth"
    state = torch.load(path, weights_only=False)
    assert state["lth_seconds"] > 0
    state["lth_seconds"] = 1000.0
    torch.save(state, path)
    cfg.resume = True
    LTHRunner.from_cfg(cfg).train()
    (line,) = lines(tmp_path)
    assert 1000 < line["seconds"] < 1100


def test_a_finished_training_that_is_resumed_adds_nothing(tmp_path: Path) -> None:
    train(tmp_path)
    before = lines(tmp_path)
    cfg = toy_config(tmp_path)
    cfg.resume = True
    LTHRunner.from_cfg(cfg).train()
    assert lines(tmp_path) == before


def test_a_diverged_training_is_recorded_as_no_number_once(tmp_path: Path) -> None:
    cfg = toy_config(tmp_path)
    from lth_core.openmmlab.naming import names_of_training

    names = names_of_training(cfg, RecordSettings())
    for _ in range(2):
        record(tmp_path, results_of(tmp_path, tmp_path, names, 0, {"accuracy": math.nan}))
    (result,) = results.read([tmp_path])
    assert math.isnan(result.value)
    assert len(lines(tmp_path)) == 1


def test_a_validation_that_came_to_nothing_is_no_loss(tmp_path: Path) -> None:
    class Nothing(ToyAccuracy):
        def compute_metrics(self, results: list[bool]) -> dict[str, float]:
            return {}

    METRICS.register_module(module=Nothing, force=True)
    train(tmp_path, val_evaluator={"type": "Nothing"})
    (line,) = lines(tmp_path)
    assert line["metric"] == results.NOTHING
    assert math.isnan(line["value"])


def test_what_cocos_metrics_have_no_objects_for_is_no_number(tmp_path: Path) -> None:
    class Sizes(ToyAccuracy):
        def compute_metrics(self, results: list[bool]) -> dict[str, float]:
            return {"coco/bbox_mAP": 0.0, "coco/bbox_mAP_l": -1.0, "margin": -1.0}

    METRICS.register_module(module=Sizes, force=True)
    train(tmp_path, val_evaluator={"type": "Sizes"})
    assert {line["metric"]: line["value"] for line in lines(tmp_path)} == {
        "coco/bbox_mAP": 0.0, "margin": -1.0,
    }  # fmt: skip


def test_without_validation_the_loss_is_written(tmp_path: Path) -> None:
    train(tmp_path, val_dataloader=None, val_cfg=None, val_evaluator=None)
    (line,) = lines(tmp_path)
    assert line["metric"] == "loss"
    assert results.read([tmp_path])[0].sign == -1


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").symlink_to(tmp_path / "gone" / "results.jsonl")
    with pytest.raises(lth.LTHError, match=r"results\.jsonl cannot be written"):
        train(tmp_path)


def loads(checkpoint: str) -> dict[str, Any]:
    """A part of a model that takes its weights from a checkpoint, after its own initialiser."""
    return {"init_cfg": [{"type": "Kaiming"}, {"type": "Pretrained", "checkpoint": checkpoint}]}


NAMES = [
    ({"type": "VOCDataset"}, "VOC"),
    ({"type": "RepeatDataset", "times": 3, "dataset": {"type": "mmdet.CocoDataset"}}, "Coco"),
    ({"type": "ConcatDataset", "datasets": [{"type": "VOCDataset"}] * 2}, "VOC"),
    ({"type": "ConcatDataset", "datasets": [{"type": "A"}, {"type": "B"}]}, "A+B"),
    ({"type": "Dataset"}, "Dataset"),
]


@pytest.mark.parametrize(("dataset", "name"), NAMES)
def test_tasks_are_named_by_the_data_inside_of_wrappers(dataset: Any, name: str) -> None:
    cfg = Config({"train_dataloader": {"dataset": dataset}, "model": {"type": "mmdet.FCOS"}})
    assert task_of(cfg) == f"{name} FCOS"


@pytest.mark.parametrize(
    ("cfg", "name"),
    [
        ({"load_from": "a/b/moco_v2_800ep_pretrain.pth.tar"}, "moco_v2_800ep_pretrain"),
        ({"load_from": "https://x.org/m/resnet50_8xb32_in1k_20210831-ea4938fc.pth"},
         "resnet50_8xb32_in1k"),
        ({"load_from": "resnet50-0676ba61.pth"}, "resnet50"),
        ({"load_from": "runs/simclr/epoch_200.pth"}, "simclr"),
        ({"load_from": "runs/chain/level_03/final.pth"}, "chain level_03"),
        ({"load_from": "final.pth"}, "final"),
        ({"model": {"backbone": loads("torchvision://resnet50")}}, "resnet50"),
        ({"model": {"pretrained": "open-mmlab://resnet50_v1c", "backbone": {}}}, "resnet50_v1c"),
        ({"model": {"neck": loads("n.pth"), "backbone": loads("b.pth")}}, "b"),
        ({"model": {"backbone": {"init_cfg": {"type": "Kaiming"}}}}, "random"),
        ({}, "random"),
    ],
)  # fmt: skip
def test_starts_are_named_by_the_checkpoint_that_is_loaded(cfg: Any, name: str) -> None:
    assert start_of(Config(cfg)) == name


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({"type": "mmpretrain.ImageClassifier", "backbone": {"type": "ResNet", "depth": 18}},
         "Digits ResNet-18"),
        ({"type": "ImageClassifier", "backbone": {"type": "VisionTransformer", "arch": "b"}},
         "Digits VisionTransformer-b"),
        ({"type": "ImageClassifier"}, "Digits ImageClassifier"),
        ({"type": "EncoderDecoder", "decode_head": {"type": "mmseg.FCNHead"}}, "Digits FCN"),
        ({"type": "CascadeEncoderDecoder", "decode_head": [{"type": "A"}, {"type": "OCRHead"}]},
         "Digits OCR"),
        ({"type": "MoCo", "data_preprocessor": {"type": "SelfSupDataPreprocessor"}},
         "MoCo on Digits"),
    ],
)  # fmt: skip
def test_tasks_are_named_by_what_tells_models_apart(model: Any, name: str) -> None:
    data = {"dataset": {"type": "DigitsDataset"}}
    assert task_of(Config({"train_dataloader": data, "model": model})) == name


def test_chains_of_other_kinds_have_other_masks(tmp_path: Path) -> None:
    cfg = toy_config(tmp_path)
    kinds = [
        {},
        {"rewind": "lr"},
        {"rewind": "early", "rewind_at": "1ep"},
        {"criterion": "random"},
        {"allocation": "uniform"},
        {"first_prune": "before"},
    ]
    names = [
        names_of_chain(cfg, RecordSettings(), parse_imp({"rounds": 2, "rewind": "init"} | kind))
        for kind in kinds
    ]
    assert len({(each.mask, each.weights) for each in names}) == len(kinds)
    assert names[0].mask == "imp on Toy ToyClassifier"
    assert names[2].weights == "random, 1ep"


def test_a_variant_in_a_file_is_named_as_one_of_the_config(ticket: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.safetensors"
    arguments = ["variant", str(ticket), "perturb", "--fraction", "0.3", "-o", str(made)]
    assert main(["ticket", *arguments]) == 0
    train(tmp_path / "run", ticket={"path": str(made), "weights": "keep"})
    (line,) = lines(tmp_path / "run")
    assert (line["variant"], line["weights"]) == ("perturb fraction=0.3", "random")


def test_variants_are_named_by_what_is_unusual_about_them() -> None:
    assert variant_name(None) == ""
    assert variant_name(make_variant("random", {"seed": 5})) == "random"
    assert variant_name(make_variant("random", {"match": "layer"})) == "random match=layer"


def test_the_digest_is_of_what_comparisons_have_in_common(tmp_path: Path) -> None:
    one = toy_config(tmp_path, randomness={"seed": 1})
    same = toy_config(tmp_path / "b", randomness={"seed": 2}, ticket={"path": "x"}, resume=True)
    same.model.backbone = {"init_cfg": None}
    one.model.backbone = loads("moco.pth") | {"pretrained": "x"}
    one.model.backbone.init_cfg = one.model.backbone.init_cfg[1]
    same.train_dataloader.num_workers = 4
    same.custom_hooks = [{"type": "JobProgressHook", "rounds": 3}]
    same.default_hooks.logger = {"type": "LoggerHook", "interval": 7}
    assert comparison_digest(one) == comparison_digest(same)
    for change in (
        {"train_cfg.max_epochs": 3},
        {"model.width": 4},
        {"custom_hooks": [{"type": "EMAHook"}]},
        {"train_dataloader.batch_size": 4},
        {"randomness.deterministic": True},
    ):
        other = copy.deepcopy(one)
        other.merge_from_dict(change)
        assert comparison_digest(one) != comparison_digest(other)


class Scalars:
    """What a vis backend that keeps everything in memory was given."""

    def __init__(self, directory: Path) -> None:
        logs = directory.glob("*/vis_data/scalars.json")
        rows = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
        self.rows = rows

    def of(self, name: str) -> list[float]:
        return [row[name] for row in self.rows if name in row]


def test_sparsity_stands_beside_the_loss(ticket: Path, tmp_path: Path) -> None:
    train(tmp_path, ticket={"path": str(ticket)}, default_hooks=LOGGING)
    masks = lth.Ticket.load(ticket).masks
    scalars = Scalars(tmp_path)
    with_loss = [row for row in scalars.rows if "loss" in row]
    assert with_loss
    assert all(row["sparsity"] == pytest.approx(masks.sparsity) for row in with_loss)
    assert all(row["mask_churn"] == 0 for row in with_loss)
    for name, sparsity in masks.layer_sparsity().items():
        assert scalars.of(f"sparsity/{name.removesuffix('.weight')}") == [sparsity] * 2


def test_churn_is_what_a_prune_has_changed(tmp_path: Path) -> None:
    train(tmp_path, imp=IMP, default_hooks=LOGGING)
    churn = [set(Scalars(tmp_path / f"level_{k:02d}").of("mask_churn")) for k in range(3)]
    assert churn == [{0}, {0.5}, {0.25}]


def test_tensorboard_shows_them_too(ticket: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing import event_accumulator as reader

    backends = [{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}]
    visualizer = {"type": "Visualizer", "vis_backends": backends}
    train(tmp_path, ticket={"path": str(ticket)}, default_hooks=LOGGING, visualizer=visualizer)
    (log,) = tmp_path.glob("*/vis_data/events*")
    events = reader.EventAccumulator(str(log))
    events.Reload()
    masks = lth.Ticket.load(ticket).masks
    assert {"loss", "sparsity", "mask_churn"} <= set(events.Tags()["scalars"])
    assert events.Scalars("sparsity")[0].value == pytest.approx(masks.sparsity)
    for name, sparsity in masks.layer_sparsity().items():
        tag = f"sparsity/{name.removesuffix('.weight')}"
        assert events.Scalars(tag)[0].value == pytest.approx(sparsity)


def test_wandb_is_given_them_without_a_network(
    ticket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    visualizer = {"type": "Visualizer", "vis_backends": [{"type": "WandbVisBackend"}]}
    train(tmp_path, ticket={"path": str(ticket)}, default_hooks=LOGGING, visualizer=visualizer)
    (log,) = tmp_path.glob("*/vis_data/wandb/offline-run-*/*.wandb")
    written = log.read_bytes()
    for name in ("loss", "mask_churn", "sparsity", "sparsity/conv2", "sparsity/conv3"):
        assert name.encode() in written


def test_a_chain_shows_its_levels_in_one_place(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing import event_accumulator as reader

    backends = [{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}]
    visualizer = {"type": "Visualizer", "vis_backends": backends}
    for _ in range(2):  # what is finished is not shown again
        levels = train(tmp_path, imp=IMP, visualizer=visualizer)
    wanted = [(level.index, level.sparsity, level.metrics["accuracy"]) for level in levels]
    text = (tmp_path / "vis_data" / "scalars.json").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert [(row["step"], row["sparsity"], row["accuracy"]) for row in rows] == wanted
    found = {"sparsity": {}, "accuracy": {}}
    for log in (tmp_path / "vis_data").glob("events*"):
        events = reader.EventAccumulator(str(log))
        events.Reload()
        for name, values in found.items():
            values.update({each.step: each.value for each in events.Scalars(name)})
    assert found == {
        "sparsity": {step: pytest.approx(value) for step, value, _ in wanted},
        "accuracy": {step: pytest.approx(value) for step, _, value in wanted},
    }


LOGGING = {
    "logger": {"type": "LoggerHook", "interval": 1},
    "checkpoint": {"type": "CheckpointHook", "interval": 1},
}
