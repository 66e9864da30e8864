"""``fully_shard`` with two processes: each holds a part of every weight and of every mask."""

from __future__ import annotations

from typing import Any

import lth_core as lth
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from . import fsdp_worker
from .helpers import bits


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What both processes have found."""
    directory = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(fsdp_worker.work, (2, str(directory)), nprocs=2)
    return [torch.load(directory / f"rank{rank}.pth") for rank in range(2)]


def reference(option: fsdp_worker.Option) -> tuple[dict[str, Tensor], Tensor]:
    """One process, both ranks' data, and ``weight * mask`` in every forward pass."""
    model, masks = fsdp_worker.start()
    with torch.no_grad():
        for name, mask in masks.items():
            model.backbone.get_parameter(name).mul_(mask)
            model.teacher.get_parameter(name).mul_(mask)
    masks = masks.with_prefix("backbone.")
    optimizer = option.optimizer(p for p in model.parameters() if p.requires_grad)
    norms = []
    for step in range(fsdp_worker.STEPS):
        optimizer.zero_grad()
        for rank in range(2):
            for part in range(option.accumulate):
                x, y = fsdp_worker.batch(rank, step * option.accumulate + part)
                effective = {n: model.get_parameter(n) * mask for n, mask in masks.items()}
                loss = F.cross_entropy(functional_call(model, effective, (x,)), y)
                (loss / (2 * option.accumulate)).backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), fsdp_worker.CLIP))
        optimizer.step()
        model.follow()
    return model.state_dict(), torch.stack(norms)


@pytest.mark.parametrize("name", fsdp_worker.OPTIONS)
def test_zeros_in_every_part_and_live_weights_as_in_one_process(
    name: str, ranks: list[dict[str, Any]]
) -> None:
    option = fsdp_worker.OPTIONS[name]
    one, other = (rank[name] for rank in ranks)
    assert one["twins"] == other["twins"] == ["teacher."]
    for key in ("norms", "gradients", "states", "weights"):
        torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)
    _, masks = fsdp_worker.start()
    assert len(one["gradients"]) == fsdp_worker.STEPS
    states = 0
    for weight, mask in masks.items():
        for where in ("backbone.", "teacher."):
            assert not any(bits(one["weights"][where + weight][~mask]))
            assert one["weights"][where + weight][mask].all()
        for gradients in one["gradients"]:
            assert not gradients["backbone." + weight][~mask].any()
            assert gradients["backbone." + weight][mask].any()
        for key, state in one["states"].items():
            if key.startswith(f"backbone.{weight} "):
                assert not state[~mask].any()
                assert state[mask].any()
                states += 1
    assert states >= len(masks)
    # The sharded model is pruned as the one with whole weights, on every rank.
    backbone = {n.removeprefix("backbone."): w for n, w in one["weights"].items()}
    pruned = lth.prune({n: backbone[n] for n in masks}, masks, 0.3)
    assert lth.MaskSet(one["pruned"]) == pruned
    assert lth.MaskSet(ranks[1][name]["pruned"]) == pruned
    expected, norms = reference(option)
    # Gradients are summed in another order than in one process, and bfloat16 has 8 bits.
    tolerance = 3e-2 if option.bfloat16 else 1e-5
    torch.testing.assert_close(one["norms"], norms, rtol=tolerance, atol=0)
    assert norms.gt(fsdp_worker.CLIP).any(), "nothing was clipped"
    torch.testing.assert_close(one["weights"], expected, rtol=tolerance, atol=tolerance / 10)


def test_gradients_changed_by_hand_do_not_reach_the_optimizer(ranks: list[dict[str, Any]]) -> None:
    _, masks = fsdp_worker.start()
    mask = next(iter(masks.values()))
    changes = ranks[0]["changes by hand"]
    assert len(changes) == 4
    for how, gradient in changes.items():
        assert not gradient[~mask].any(), how
        assert gradient[mask].gt(0.5).all(), how


def test_problems_are_found_by_who_has_them(ranks: list[dict[str, Any]]) -> None:
    zero, one = (rank["problems"] for rank in ranks)
    assert "was removed or replaced" in zero.pop("attached too early")
    assert "attach masks after the model has been wrapped" in one.pop("attached too early")
    for rank in (zero, one):
        assert rank.pop("flattened") == (
            "the masks do not fit FullyShardedDataParallel, which flattens weights; "
            "shard the model with torch's fully_shard"
        )
    assert zero == {}
    assert one["spoilt on rank 1"].startswith("weight backbone.2.weight has ")


def test_a_snapshot_is_whole_and_restored_part_by_part(ranks: list[dict[str, Any]]) -> None:
    model, _ = fsdp_worker.start()
    for rank in ranks:
        found = rank["rewind"]
        assert found["types"] == {"Tensor"}
        assert found["plain"] == found["kept"] == found["after"] == found["sharded"]
        assert found["same parameters"]
        for name, tensor in model.state_dict().items():
            assert bits(found["spoilt"][name]) == bits(tensor + 1)
