"""Top-1 retrieval accuracy: the metric, the loop that feeds it, and SimCLR on two processes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lth_cls.contrastive import LogMeanProbabilityLoss
from lth_cls.evaluation import RetrievalAccuracy, partner_ranks
from lth_cls.evaluation.loops import view_features
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from mmpretrain.registry import METRICS

from . import retrieval_worker

CONFIGS = Path(__file__).parents[2] / "configs"


def accuracy(features: torch.Tensor, **options: Any) -> dict[str, float]:
    """The metric of ``(n, 2, C)`` features."""
    metric = RetrievalAccuracy(**options)
    metric.process(None, [{"views": pair} for pair in features])
    return metric.evaluate(len(features))


def by_definition(features: torch.Tensor, pool: int | None = None) -> float:
    """Eq. 2 of paper A's appendix, view by view, in double precision."""
    right = 0
    for part in features.double().split(pool or len(features)):
        views = part.flatten(0, 1)
        for place, view in enumerate(views):
            others = [
                (torch.cosine_similarity(view, other, dim=0).item(), number)
                for number, other in enumerate(views)
                if number != place
            ]
            best = max(others)
            ties = [number for value, number in others if value == best[0]]
            right += ties == [place ^ 1]
    return 100 * right / (2 * len(features))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 13),
    channels=st.integers(2, 9),
    spread=st.sampled_from([0.1, 0.7, 2.0]),
    block=st.integers(1, 30),
    pool=st.one_of(st.none(), st.integers(1, 15)),
    seed=st.integers(0, 2**31),
)
def test_is_the_definition(
    n: int, channels: int, spread: float, block: int, pool: int | None, seed: int
) -> None:
    noise = torch.Generator().manual_seed(seed)
    features = torch.randn(n, 1, channels, generator=noise)
    features = features + spread * torch.randn(n, 2, channels, generator=noise)
    measured = accuracy(features, block=block, pool=pool)
    assert measured == {"retrieval/top1": pytest.approx(by_definition(features, pool))}


@settings(max_examples=60, deadline=None)
@given(
    # Unit vectors in floating point, too, so that products are exact and ties are ties.
    corners=st.lists(st.integers(0, 15), min_size=2, max_size=20),
    block=st.integers(1, 9),
)
def test_ties_are_wrong(corners: list[int], block: int) -> None:
    signs = torch.tensor([[(c >> b & 1) - 0.5 for b in range(4)] for c in corners])
    features = signs[: len(signs) // 2 * 2].view(-1, 2, 4)
    measured = accuracy(features, block=block)["retrieval/top1"]
    assert measured == pytest.approx(by_definition(features))


def test_collapsed_features_find_nothing() -> None:
    for value in (0.0, 1.0, torch.inf, torch.nan):
        assert accuracy(torch.full((5, 2, 4), value)) == {"retrieval/top1": 0}


def test_one_broken_view_spoils_itself_only() -> None:
    features = torch.eye(4)[:, None].repeat(1, 2, 1)
    assert accuracy(features) == {"retrieval/top1": 100}
    features[0, 0, 2] = torch.nan
    # Its partner has nothing to find, and to all others it is no worse than a near neighbour.
    assert partner_ranks(features).flatten().tolist()[:2] == [7, 7]


def test_topk_counts_what_is_nearer() -> None:
    # On a half circle: 0 and its partner at 3, with the other image's views in between.
    angles = torch.tensor([[0.0, 3.0], [1.0, 1.6]])
    features = torch.stack([angles.cos(), angles.sin()], dim=-1)
    assert partner_ranks(features).tolist() == [[2, 2], [0, 0]]
    found = accuracy(features, topk=(1, 2, 3))
    assert found == {"retrieval/top1": 50, "retrieval/top2": 50, "retrieval/top3": 100}


def test_blocks_do_not_matter() -> None:
    features = torch.randn(300, 2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(partner_ranks(features, block=64), partner_ranks(features, block=600))


@pytest.mark.long
def test_fifty_thousand_images_need_no_square_matrix() -> None:
    # 100,000 views compared with each other in one matrix would take 40 GB.
    features = torch.randn(50_000, 2, 8, generator=torch.Generator().manual_seed(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ranks = partner_ranks(features)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2_000_000  # kB
    # Partners that have nothing to do with each other lie anywhere.
    assert 49_000 < ranks.double().mean() < 51_000


@pytest.mark.parametrize("settings", [{"pool": 0}, {"topk": 0}, {"topk": (1, 2.5)}, {"block": -1}])
def test_numbers_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(lth.LTHError, match="must be a whole number above 0"):
        METRICS.build({"type": "RetrievalAccuracy", **settings})


def test_no_images_is_an_error() -> None:
    with pytest.raises(lth.LTHError, match="no images"):
        RetrievalAccuracy().evaluate(0)


def test_two_processes_measure_and_train_as_one(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    worker = str(Path(retrieval_worker.__file__))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, worker, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [json.loads((tmp_path / f"rank{r}.json").read_text()) for r in (0, 1)]
    one = {
        "all": retrieval_worker.metric_of(0, 1),
        "pool": retrieval_worker.metric_of(0, 1, pool=4),
    }
    assert 0 < one["all"]["retrieval/top1"] < one["pool"]["retrieval/top1"] < 100
    for result in ranks:
        assert {key: result[key] for key in one} == one
    gradient, loss = retrieval_worker.gradient(0, 1)
    for result in ranks:
        assert result["gradient"][0] == pytest.approx(gradient, rel=1e-4, abs=1e-7)
        assert result["gradient"][1] == pytest.approx(loss)


def test_loss_of_the_released_code() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [-3.0, 1.0, 0.5]])
    probabilities = logits.softmax(1)[:, 0]
    loss = LogMeanProbabilityLoss()(logits, torch.zeros(2, dtype=torch.long))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(-probabilities.mean().log().item())
    plain = torch.nn.functional.cross_entropy(logits, torch.zeros(2, dtype=torch.long))
    assert loss < plain


def digits(name: str, work_dir: Path, **options: Any) -> Any:
    """A pre-training on digits that is validated by retrieval, small."""
    cfg = load_config(str(CONFIGS / f"cls/pretrain_{name}_digits.py"))
    cfg.train_dataloader.dataset.indices = 32
    cfg.train_dataloader.batch_size = 16
    cfg.val_dataloader = {
        **cfg.train_dataloader,
        "dataset": {**cfg.train_dataloader.dataset, "split": "test", "indices": 20},
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "drop_last": False,
    }
    cfg.val_evaluator = {"type": "RetrievalAccuracy"}
    cfg.val_cfg = {"type": "TwoViewValLoop"}
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_cfg = {"type": "TwoViewTestLoop"}
    cfg.train_cfg.update(max_epochs=2, val_interval=1)
    cfg.param_scheduler = None
    cfg.log_level = "ERROR"
    cfg.work_dir = str(work_dir)
    cfg.merge_from_dict({key.replace("__", "."): value for key, value in options.items()})
    return cfg


@pytest.mark.parametrize("name", ["simclr", "mocov2"])
def test_levels_of_a_chain_are_validated(name: str, tmp_path: Path) -> None:
    cfg = digits(name, tmp_path, train_cfg__max_epochs=1)
    cfg.imp = {"rounds": 1, "rewind": "init"}
    results = LTHRunner.from_cfg(cfg).train()
    assert [list(result.metrics) for result in results] == [["retrieval/top1"]] * 2
    assert "retrieval/top1" in (tmp_path / "results.csv").read_text().splitlines()[0]
    for level, result in enumerate(results):
        cfg = digits(name, tmp_path / f"test_{level}")
        cfg.load_from = str(tmp_path / f"level_{level:02d}/epoch_1.pth")
        # By itself, the same number: views do not depend on what was loaded before.
        assert LTHRunner.from_cfg(cfg).test() == pytest.approx(result.metrics)


def test_every_validation_sees_the_same_views(tmp_path: Path) -> None:
    cfg = digits("simclr", tmp_path, optim_wrapper__optimizer__lr=0.0)
    # What moves although the rate is zero: decay, and batch norms' statistics.
    cfg.optim_wrapper.optimizer = {"type": "SGD", "lr": 0.0}
    cfg.custom_hooks = []
    runner = LTHRunner.from_cfg(cfg)
    seen = []
    process = runner.val_loop.evaluator.process
    runner.val_loop.evaluator.process = lambda **kw: (
        seen.append(kw["data_batch"]["inputs"]),
        process(**kw),
    )
    runner.val()
    runner.val()
    half = len(seen) // 2
    assert half == 2
    for first, second in zip(seen[:half], seen[half:], strict=True):
        assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not torch.equal(seen[0][0], seen[0][1])


def test_features_are_the_backbones(tmp_path: Path) -> None:
    cfg = digits("simclr", tmp_path)
    runner = LTHRunner.from_cfg(cfg)
    batch = next(iter(runner.val_dataloader))
    model = runner.model.eval()
    with torch.no_grad():
        found = view_features(model, batch)
        data = model.data_preprocessor(batch, False)["inputs"]
        expected = [model.backbone(view)[-1].mean((2, 3)) for view in data]
    assert len(found) == 16
    assert found[3]["views"].shape == (2, 128)
    assert torch.allclose(found[3]["views"], torch.stack([e[3] for e in expected]))


def test_one_view_is_refused(tmp_path: Path) -> None:
    cfg = digits("simclr", tmp_path)
    cfg.val_dataloader["dataset"]["pipeline"] = [{"type": "PackInputs"}]
    with pytest.raises(lth.LTHError, match=r"the pipeline gives one; wrap its transforms"):
        LTHRunner.from_cfg(cfg).val()
