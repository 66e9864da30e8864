"""A few tiny images in ImageNet's folders, and weights as they are published, but narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.models import ResNet
from PIL import Image
from torch import Tensor

WIDTH = 4
"""Channels of the narrow networks' stem and first stage; ResNet-50's are 64."""

FEATURES = 32 * WIDTH


def make_imagenet(root: Path, images: int = 8) -> Path:
    """Writes ``imagenet/train`` and ``imagenet/val`` with all of its 1,000 classes.

    Args:
        root: The data root to be.
        images: In each split; the first classes have one each, the others none.

    Returns:
        ``root``.
    """
    pixels = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(1000):
            folder = root / "imagenet" / split / f"n{number:08d}"
            folder.mkdir(parents=True)
            if number < images:
                content = pixels.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(content).resize((40, 36)).save(folder / f"{split}_{number}.JPEG")
    return root


def narrow_backbone(depth: int = 50) -> dict[str, Tensor]:
    """Weights of a narrow ResNet, by torchvision's names."""
    torch.manual_seed(depth)
    network = ResNet(depth, stem_channels=WIDTH, base_channels=WIDTH, zero_init_residual=False)
    network.init_weights()
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def linear(outputs: int, inputs: int, bias: bool = True) -> dict[str, Tensor]:
    """Weights of a linear layer."""
    layer = torch.nn.Linear(inputs, outputs, bias=bias)
    return {name: tensor.detach() for name, tensor in layer.state_dict().items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with names that begin with ``prefix``."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def torchvision_file(depth: int = 50) -> dict[str, Any]:
    """As torchvision's files: backbone and ``fc``."""
    return narrow_backbone(depth) | under("fc.", linear(1000, FEATURES))


def moco_file(depth: int = 50) -> dict[str, Any]:
    """As MoCo v2's files, with an encoder of the keys that is another network."""
    query = narrow_backbone(depth)
    head = under("fc.0.", linear(FEATURES, FEATURES)) | under("fc.2.", linear(128, FEATURES))
    encoder = query | head
    keys = {name: tensor + 1 for name, tensor in encoder.items()}
    state = under("module.encoder_q.", encoder) | under("module.encoder_k.", keys)
    return {"epoch": 800, "arch": "resnet50", "state_dict": state}


def simclr_file(depth: int = 50) -> dict[str, Any]:
    """As tonylins/simclr-converter's files."""
    return {"state_dict": torchvision_file(depth)}


def robust_file(depth: int = 50) -> dict[str, Any]:
    """As the library ``robustness`` writes them (Salman et al., 2020): the network twice."""
    network = torchvision_file(depth)
    state = under("module.model.", network) | under("module.attacker.model.", network)
    for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
        for place in ("normalizer", "attacker.normalize"):
            state[f"module.{place}.new_{name}"] = torch.tensor(values).view(3, 1, 1)
    return {"model": state, "epoch": 90, "amp": "N/A"}


def fast_file(depth: int = 50) -> dict[str, Any]:
    """As those of fast adversarial training (Wong et al., 2020)."""
    return {"epoch": 15, "state_dict": under("module.", torchvision_file(depth))}


def paper_c_file(depth: int = 50) -> dict[str, Any]:
    """As paper C's rounds write them: pruned by torch, and under ``init`` what they go back to."""
    start = torchvision_file(depth) | {"normalize.mean": torch.zeros(3)}
    start["normalize.std"] = torch.ones(3)
    state = {}
    for name, tensor in start.items():
        if tensor.dim() == 4:
            state[f"{name}_orig"] = 1.1 * tensor
            state[f"{name}_mask"] = (tensor.abs() > tensor.abs().median()).float()
        else:
            state[name] = tensor
    return {"epoch": 300, "state_dict": state, "state_prune": 10, "init": start}


def simclrv2_file(depth: int = 152) -> dict[str, Any]:
    """As Separius/SimCLRv2-Pytorch's files."""
    renamed = {}
    for name, tensor in (torchvision_file(depth)).items():
        renamed[_separius(name)] = tensor
    norm = {
        "weight": torch.rand(FEATURES),
        "bias": torch.rand(FEATURES),
        "running_mean": torch.rand(FEATURES),
        "running_var": torch.rand(FEATURES),
        "num_batches_tracked": torch.tensor(0),
    }
    head: dict[str, Tensor] = {}
    for place, outputs in ((0, FEATURES), (3, FEATURES), (6, 128)):
        head |= under(f"layers.{place}.", linear(outputs, FEATURES, bias=False))
        cut = {n: t[:outputs] if t.dim() else t for n, t in norm.items()}
        head |= under(f"layers.{place + 1}.", cut)
    return {"resnet": renamed, "head": head}


def _separius(name: str) -> str:
    if not name.startswith("layer"):
        return name.replace("bn1.", "net.0.1.0.").replace("conv1.", "net.0.0.")
    stage, block, rest = name.removeprefix("layer").split(".", 2)
    parts = {
        "conv1.": "net.0.",
        "bn1.": "net.1.0.",
        "conv2.": "net.2.",
        "bn2.": "net.3.0.",
        "conv3.": "net.4.",
        "bn3.": "net.5.0.",
        "downsample.0.": "projection.shortcut.",
        "downsample.1.": "projection.bn.0.",
    }
    for ours, theirs in parts.items():
        if rest.startswith(ours):
            return f"net.{stage}.blocks.{block}.{theirs}{rest.removeprefix(ours)}"
    raise AssertionError(name)


def shrink(cfg: Config, work_dir: Path, batch: int = 4) -> Config:
    """Makes a config of ImageNet's small: narrow networks, 32 pixels, one process, one epoch."""
    cfg.model.backbone.update(stem_channels=WIDTH, base_channels=WIDTH)
    for part, sizes in (("neck", ("in_channels", "hid_channels")), ("head", ("in_channels",))):
        for size in sizes:
            if size in cfg.model[part]:
                cfg.model[part][size] = FEATURES
    if "queue_len" in cfg.model:
        cfg.model.queue_len = 16
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=batch, num_workers=0, persistent_workers=False)
        for step in (*loader.dataset.pipeline, *_views(loader.dataset.pipeline)):
            if "scale" in step:
                step.scale = 36 if step.type == "ResizeEdge" else 32
            if "crop_size" in step:
                step.crop_size = 32
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.log_level = "ERROR"
    cfg.work_dir = str(work_dir)
    return cfg


def _views(pipeline: list[Any]) -> list[Any]:
    return [s for step in pipeline if step.type == "MultiView" for s in step.transforms[0]]
