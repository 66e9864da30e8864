"""What a chain keeps from level to level is what each of its levels would have built itself."""

from __future__ import annotations

import copy
import gc
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
from lth_core.clock import KINDS
from lth_core.imp.directory import read_seconds
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.compat.config_text import format_code
from lth_core.openmmlab.kept import AsIs, KeptData, keeping, settled_heap
from lth_core.openmmlab.launch import load_config
from mmengine.config import Config
from mmengine.config import config as mmengine_config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from torch._dynamo.utils import counters
from yapf.yapflib.yapf_api import FormatCode

from .toy import ToyDataset, toy_config

BUILT: list[str] = []


@DATASETS.register_module(force=True)
class CountedDataset(ToyDataset):
    """Notes each time that it is read."""

    def load_data_list(self) -> list[dict[str, Any]]:
        BUILT.append(type(self).__name__)
        return super().load_data_list()


@DATASETS.register_module(force=True)
class DrawingDataset(CountedDataset):
    """Takes a part of the data at random, from all three streams."""

    def load_data_list(self) -> list[dict[str, Any]]:
        items = super().load_data_list()
        drawn = [random.randrange(32), np.random.randint(32), int(torch.randint(32, ()))]
        return [items[index] for index in drawn]


class Spoiler(Hook):
    """Does to the training's data set what some hooks do: replaces what it goes through."""

    def before_train(self, runner: Any) -> None:
        dataset = runner.train_dataloader.dataset
        assert not hasattr(dataset.pipeline, "spoiled")
        dataset.pipeline.spoiled = True
        dataset.metainfo  # noqa: B018  (a copy)
        dataset._metainfo["spoiled"] = True


def _labels(dataset: BaseDataset) -> list[int]:
    return [dataset[index]["labels"] for index in range(len(dataset))]


@pytest.fixture(autouse=True)
def _nothing_built() -> None:
    BUILT.clear()


def test_data_is_read_once_and_shared() -> None:
    kept = KeptData()
    first, second = (kept.build({"type": "CountedDataset"}) for _ in range(2))
    assert BUILT == ["CountedDataset"]
    assert first is not second
    assert first.pipeline is not second.pipeline
    assert first.data_bytes is second.data_bytes
    assert _labels(first) == _labels(second) == _labels(ToyDataset())
    kept.build({"type": "CountedDataset", "indices": 3})
    assert len(BUILT) == 2


def test_wrapped_data_is_shared_too() -> None:
    kept = KeptData()
    inner = {"type": "CountedDataset"}
    config = {"type": "RepeatDataset", "times": 2, "dataset": inner}
    both = {"type": "ConcatDataset", "datasets": [config, inner]}
    first, second = kept.build(copy.deepcopy(both)), kept.build(copy.deepcopy(both))
    assert len(BUILT) == 2  # of the first
    assert first.datasets[1] is not second.datasets[1]
    assert first.datasets[1].data_bytes is second.datasets[1].data_bytes


def test_data_that_is_not_serialized_is_read_again() -> None:
    kept = KeptData()
    for _ in range(2):
        kept.build({"type": "CountedDataset", "serialize_data": False})
    assert len(BUILT) == 2


def test_data_drawn_at_random_is_only_kept_from_where_it_was_drawn() -> None:
    def seeded(seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    def build(kept: KeptData, seed: int) -> tuple[list[int], float]:
        seeded(seed)
        return _labels(kept.build({"type": "DrawingDataset"})), float(torch.rand(()))

    kept = KeptData()
    wanted = {seed: build(KeptData(), seed) for seed in (1, 2)}
    BUILT.clear()
    assert [build(kept, seed) for seed in (1, 2, 1)] == [wanted[1], wanted[2], wanted[1]]
    assert len(BUILT) == 2


def test_a_built_data_set_goes_through_mmengine_as_it_is() -> None:
    dataset = ToyDataset()
    assert copy.deepcopy({"dataset": AsIs(dataset)})["dataset"] is dataset


def test_the_heap_is_only_settled_once() -> None:
    before = gc.get_freeze_count()
    gc.unfreeze()
    with settled_heap():
        frozen = gc.get_freeze_count()
        assert frozen > 0
        with settled_heap():
            assert gc.get_freeze_count() == frozen
        assert gc.get_freeze_count() == frozen
    assert gc.get_freeze_count() == 0
    if before:
        gc.freeze()


def _chain(directory: Path) -> Any:
    cfg = toy_config(directory, epochs=1, imp={"rounds": 2, "rewind": "init"})
    for name in ("train", "val"):
        cfg[f"{name}_dataloader"]["dataset"]["type"] = "CountedDataset"
    return LTHRunner.from_cfg(cfg)


def test_a_chain_reads_its_data_once(tmp_path: Path) -> None:
    _chain(tmp_path).train()
    assert len(BUILT) == 1  # both loaders ask for the same


def test_a_level_does_not_see_what_the_one_before_has_done_to_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = toy_config(tmp_path)
    with keeping(KeptData()):
        for level in range(2):
            cfg.work_dir = str(tmp_path / str(level))
            LTHRunner.from_cfg(cfg, (Spoiler(),)).train()
            assert "spoiled" not in ToyDataset.METAINFO


def test_a_chain_says_what_its_time_went_to(tmp_path: Path) -> None:
    _chain(tmp_path / "run").train()
    seconds = read_seconds(tmp_path / "run")
    assert list(seconds) == ["level_00", "level_01", "level_02"]
    for level in seconds.values():
        assert level.keys() <= KINDS.keys()
        assert {"building", "training", "evaluating", "saving"} <= level.keys()
        assert min(level.values()) >= 0
    # A level that is finished takes no time, and what it took is not forgotten.
    _chain(tmp_path / "run").train()
    assert read_seconds(tmp_path / "run") == seconds
    (tmp_path / "run" / "seconds.json").write_text("{")
    assert read_seconds(tmp_path / "run") == {}


@pytest.mark.parametrize(
    "config",
    [
        "configs/det/ticket_moco_90.py",
        "configs/seg/digits_deeplabv3plus.py",
        "configs/imp/mocov2_resnet50_imagenet_code.py",
        "mmdet::detr/detr_r50_8xb2-150e_coco.py",
        None,
    ],
)
def test_a_configs_text_is_what_yapf_makes_of_it(
    config: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {"a": {"b-c": [1, {"d": (2,)}], 3: "x=1\ny=2"}, "e": [], "f": {}, "g": "it's", "h": None}
    cfg = Config(odd) if config is None else load_config(config)
    assert mmengine_config.FormatCode is format_code
    texts = [cfg.pretty_text, cfg.pretty_text]
    monkeypatch.setattr(mmengine_config, "FormatCode", FormatCode)
    assert texts == [cfg.pretty_text] * 2


@torch._dynamo.config.patch(recompile_limit=4, fail_on_recompile_limit_hit=True)  # 8 as it is
def test_each_level_of_a_chain_is_compiled_alike(tmp_path: Path) -> None:
    trained = []
    for name, keys in (("plain", {}), ("compiled", {"compile": {"backend": "aot_eager"}})):
        imp = {"rounds": 5, "rewind": "init"}
        cfg = toy_config(tmp_path / name, epochs=1, imp=imp, **keys)
        trained.append([level.digest for level in LTHRunner.from_cfg(cfg).train()])
    assert trained[0] == trained[1]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")
def test_kernels_are_generated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    trained, misses = [], []
    for name in ("cold", "warm"):
        torch.compiler.reset()
        counters.clear()
        cfg = toy_config(tmp_path / name, epochs=1, imp={"rounds": 1, "rewind": "init"})
        cfg.compile = True
        trained.append([level.digest for level in LTHRunner.from_cfg(cfg).train()])
        misses.append(counters["inductor"]["fxgraph_cache_miss"])
        assert counters["inductor"]["fxgraph_cache_hit"] >= misses[0]  # at level 1, at the least
    assert trained[0] == trained[1]
    assert misses[0] > 0 == misses[1]
