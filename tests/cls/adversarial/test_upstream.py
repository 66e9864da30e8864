"""Classifiers of mmpretrain's shipped configs go through a step of adversarial training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lth_cls.adversarial import PixelSpace
from lth_cls.adversarial.settings import apply
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.models import build_model
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from torch import Tensor

SHORT = (
    "resnet/resnet18_8xb16_cifar10.py",
    "deit/deit-tiny_4xb256_in1k.py",  # a transformer; mixup, cutmix and smoothed labels
    "mobilenet_v3/mobilenet-v3-small_8xb16_cifar10.py",
)
LONG = (
    "resnet/resnet50_8xb32-mixup_in1k.py",
    "resnet/resnet50_8xb256-rsb-a3-100e_in1k.py",  # mixed images under binary cross-entropy
    "resnet/resnet50_8xb16_cifar100.py",
    "csra/resnet101-csra_1xb16_voc07-448px.py",  # several labels an image
    "vision_transformer/vit-base-p16_64xb64_in1k.py",
    "swin_transformer/swin-tiny_16xb64_in1k.py",
    "convnext/convnext-tiny_32xb128_in1k.py",
    "efficientnet/efficientnet-b0_8xb32_in1k.py",
    "conformer/conformer-tiny-p16_8xb128_in1k.py",  # two heads
    "vgg/vgg11bn_8xb32_in1k.py",
    "inception_v3/inception-v3_8xb32_in1k.py",  # auxiliary scores
    "densenet/densenet121_4xb256_in1k.py",
    "mlp_mixer/mlp-mixer-base-p16_64xb64_in1k.py",
    "shufflenet_v2/shufflenet-v2-1x_16xb64_in1k.py",
)


def sizes(pipeline: Any) -> Iterator[int]:
    """Sides of the pictures that a pipeline makes, in order."""
    for step in pipeline:
        for key in ("scale", "crop_size"):
            size = step.get(key)
            if size is not None:
                yield size if isinstance(size, int) else size[0]


def one_batch(cfg: Config) -> dict[str, Any]:
    """Two pictures of noise, of the size that the config's pipeline makes, and their labels."""
    side = [*sizes(cfg.train_dataloader.dataset.pipeline)][-1]
    classes = (cfg.model.get("head") or {}).get("num_classes", cfg.data_preprocessor.num_classes)
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    several = "voc" in str(cfg.filename)
    samples = []
    for number in range(2):
        sample = DataSample().set_gt_label([number, number + 3] if several else number)
        sample.set_field(classes, "num_classes", field_type="metainfo")
        samples.append(sample)
    return {"inputs": images, "data_samples": samples}


def train_a_step(cfg: Config) -> None:
    """Trains, and looks at the images that the model's own loss was taken of."""
    torch.manual_seed(0)
    cfg.adversarial = {"attack": {"preset": "pgd-3", "steps": 2}}
    apply(cfg)
    if cfg.model.get("backbone"):
        cfg.model.backbone.pop("init_cfg", None)  # files that would be downloaded
    model: Any = build_model(cfg)
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():  # heads that begin as zeros have no slope
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.train()
    seen: list[Tensor] = []
    own_loss = model.own_loss

    def watched(inputs: Tensor, samples: Any) -> Any:
        seen.append(inputs.detach().clone())
        return own_loss(inputs, samples)

    model.own_loss = watched
    before = [parameter.detach().clone() for parameter in model.parameters()]
    losses = model.train_step(
        one_batch(cfg), OptimWrapper(torch.optim.SGD(model.parameters(), 1e-3))
    )
    assert math.isfinite(losses["loss"])
    assert len(seen) == 3
    pixels = [PixelSpace(model.data_preprocessor).to_pixels(each) for each in seen]
    assert not torch.equal(pixels[0], pixels[1])
    assert (pixels[0] - pixels[2]).abs().max() <= 2 * 8 / 255 + 1e-5
    assert all(each.min() >= -1e-5 and each.max() <= 1 + 1e-5 for each in pixels)
    after = list(model.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("name", SHORT)
def test_a_config(name: str) -> None:
    train_a_step(load_config(f"mmpretrain::{name}"))


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_more_configs(name: str) -> None:
    train_a_step(load_config(f"mmpretrain::{name}"))


@pytest.mark.long
def test_a_network_of_timms() -> None:
    pytest.importorskip("timm")
    cfg = load_config("mmpretrain::resnet/resnet18_8xb32_in1k.py")
    cfg.model = {"type": "TimmClassifier", "model_name": "resnet18"}
    train_a_step(cfg)
