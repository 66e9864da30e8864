"""Robust models' files, made by networks that are wrapped as their publishers wrap them.

What is read is put into torchvision's plain network, behind the normalisation that was reported,
and has to give the same outputs as the wrapped one.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dill
import lth_core as lth
import pytest
import torch
import torchvision
from lth_core.backbones import load_backbone, read_backbone
from lth_core.cli import main
from lth_core.exchange import import_tickets, read_masks
from lth_core.normalizing import Normalization, find_normalizations
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

USUAL = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
PIXELS = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def some_network(seed: int) -> nn.Module:
    """torchvision's ResNet-50 with narrow bottlenecks, and statistics that are not the first."""
    torch.manual_seed(seed)
    network = torchvision.models.ResNet(
        torchvision.models.resnet.Bottleneck, [3, 4, 6, 3], num_classes=3, width_per_group=1
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.2, 0.5)
    return network


class Normalize(nn.Module):
    """Buffers of a shape and by names of choice."""

    def __init__(self, mean: Any, std: Any, names: tuple[str, str], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.names = names
        for name, values in zip(names, (mean, std), strict=True):
            self.register_buffer(name, torch.tensor(values).view(shape))

    def forward(self, pixels: Tensor) -> Tensor:
        mean, std = (getattr(self, name).view(1, -1, 1, 1) for name in self.names)
        return (pixels - mean) / std


def advertorch(mean: Any, std: Any) -> Normalize:
    return Normalize(mean, std, ("mean", "std"), (-1,))


class AttackerModel(nn.Module):
    """As MadryLab's library has it: the network is there twice."""

    def __init__(self, model: nn.Module, mean: Any, std: Any) -> None:
        super().__init__()
        new = (("new_mean", "new_std"), (-1, 1, 1))
        self.normalizer = Normalize(mean, std, *new)
        self.model = model
        self.attacker = nn.Module()
        self.attacker.normalize = Normalize(mean, std, *new)
        self.attacker.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(self.normalizer(pixels))


class NormalizedInside(nn.Module):
    """A ResNet whose first layer or whose own buffers normalise: the names of both are beside."""

    def __init__(self, model: nn.Module, mean: Any, std: Any, buffers: bool) -> None:
        super().__init__()
        if buffers:  # RobustBench's first networks
            self.register_buffer("mu", torch.tensor(mean).view(1, 3, 1, 1))
            self.register_buffer("sigma", torch.tensor(std).view(1, 3, 1, 1))
        else:  # paper C's resnet.py
            self.normalize = advertorch(mean, std)
        self.buffers_own = buffers
        for name, child in model.named_children():
            self.add_module(name, child)

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels - self.mu) / self.sigma if self.buffers_own else self.normalize(pixels)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def robustness(network: nn.Module, path: Path, legacy: bool) -> nn.Module:
    """MadryLab's and Salman's: by dill, of a network in DataParallel, with all of training."""
    model = AttackerModel(network, *USUAL)
    optimizer = torch.optim.SGD(model.parameters(), 1e-6, momentum=0.9)
    model(PIXELS).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    content = {
        "model": nn.DataParallel(model).state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "epoch": 90,
        "amp": "N/A",
    }
    torch.save(content, path, pickle_module=dill, _use_new_zipfile_serialization=not legacy)
    return model


def fast(network: nn.Module, path: Path) -> nn.Module:
    """Fast and free adversarial training: normalised by the loop, so that no file tells."""
    model = nn.DataParallel(network)
    content = {
        "epoch": 15,
        "arch": "resnet50",
        "state_dict": model.state_dict(),
        "best_prec1": torch.tensor(55.6),
        "optimizer": torch.optim.SGD(model.parameters(), 0.1).state_dict(),
    }
    torch.save(content, path)
    return nn.Sequential(advertorch(*USUAL), network)


def paper_c(network: nn.Module, path: Path) -> nn.Module:
    """What its rounds leave: pruned by torch, and the start under ``init``."""
    model = NormalizedInside(network, *USUAL, buffers=False)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch_prune.global_unstructured(
        [(m, "weight") for m in model.modules() if isinstance(m, nn.Conv2d)],
        pruning_method=torch_prune.L1Unstructured,
        amount=0.2,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)  # as if trained
    model(PIXELS)  # the hooks' weights, and running statistics
    content = {
        "epoch": 30,
        "arch": "resnet50",
        "state_dict": model.state_dict(),
        "best_acc1": torch.tensor([41.0]),
        "optimizer": torch.optim.SGD(model.parameters(), 5e-4).state_dict(),
        "state_prune": 1,
        "init": start,
    }
    torch.save(content, path)
    return model


def plain(content: Callable[[nn.Module], Any], wrap: Callable[[nn.Module], nn.Module]) -> Any:
    def publish(network: nn.Module, path: Path) -> nn.Module:
        model = wrap(network)
        torch.save(content(model), path)
        return model

    return publish


def bare(model: nn.Module) -> dict[str, Tensor]:
    return model.state_dict()


def held(model: nn.Module) -> dict[str, Any]:
    return {"state_dict": model.state_dict(), "epoch": 3}


def timm(network: nn.Module, path: Path) -> nn.Module:
    save_file(network.state_dict(), path)
    return nn.Sequential(advertorch(*USUAL), network)


PUBLISHED: dict[str, tuple[Callable[[nn.Module, Path], nn.Module], Any, str]] = {
    "robustness.ckpt": (lambda n, p: robustness(n, p, legacy=False), USUAL, "model.model."),
    "robustness_2019.pt": (lambda n, p: robustness(n, p, legacy=True), USUAL, "model.model."),
    "fast.pth.tar": (fast, None, "state_dict."),
    "1-checkpoint.pth.tar": (paper_c, USUAL, "state_dict."),
    "paper_c_weights.pth": (
        plain(bare, lambda n: NormalizedInside(n, *USUAL, buffers=False)), USUAL, "",
    ),
    "advertorch.pth": (
        plain(bare, lambda n: nn.Sequential(advertorch(*CIFAR10), n)), CIFAR10, "1.",
    ),
    "advertorch_parallel.pth.tar": (
        plain(held, lambda n: nn.DataParallel(nn.Sequential(advertorch(*CIFAR10), n))),
        CIFAR10,
        "state_dict.1.",
    ),
    "robustbench.pt": (
        plain(
            bare,
            lambda n: nn.Sequential(
                OrderedDict(
                    normalize=Normalize(*USUAL, ("mean", "std"), (1, 3, 1, 1)), model=n
                )
            ),
        ),
        USUAL,
        "model.",
    ),
    "robustbench_2020.pt": (
        plain(held, lambda n: NormalizedInside(n, *CIFAR10, buffers=True)), CIFAR10, "state_dict.",
    ),
    "timm.safetensors": (timm, None, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_same_outputs(name: str, tmp_path: Path) -> None:
    publish, normalization, prefix = PUBLISHED[name]
    network = some_network(3)
    wrapped = publish(network, tmp_path / name).eval()
    found, report = read_backbone(tmp_path / name)
    assert (report.prefix, report.arch, report.missing) == (prefix, "ResNet-50", ())
    usual = normalization in (USUAL, None)
    assert [n.is_usual for n in report.normalizations] == [usual] * (normalization is not None)
    assert not any("mean" in n.split(".") or n in ("mu", "sigma") for n in found)
    again = some_network(4)
    fc = {n: t for n, t in network.state_dict().items() if n.startswith("fc.")}
    again.load_state_dict(found | fc)
    in_front = report.normalizations[0] if report.normalizations else Normalization(*USUAL)
    with torch.no_grad():
        want = wrapped(PIXELS)
        ours = nn.Sequential(advertorch(in_front.mean, in_front.std), again.eval())(PIXELS)
    assert want.std() > 0
    assert torch.allclose(ours, want, rtol=1e-5, atol=1e-6)


def test_an_unusual_normalisation_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, normalization in (("a.pth", USUAL), ("b.pth", CIFAR10)):
        torch.save(nn.Sequential(advertorch(*normalization), some_network(0)).state_dict(),
                   tmp_path / name)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_backbone(tmp_path / "a.pth")
    told = r"b\.pth: .*by mean \(0\.4914, 0\.4822, 0\.4465\) and std \(0\.247, 0\.2435, 0\.2616\)"
    with pytest.warns(UserWarning, match=told):
        load_backbone(tmp_path / "b.pth")
    out = str(tmp_path / "c.pth")
    assert main(["weights", "convert", str(tmp_path / "a.pth"), "-o", out]) == 0
    assert "normalised in the model, as usual on ImageNet" in capsys.readouterr().out
    assert main(["weights", "convert", str(tmp_path / "b.pth"), "-o", out]) == 0
    assert "by mean (0.4914, 0.4822, 0.4465)" in capsys.readouterr().out
    assert main(["weights", "convert", str(tmp_path / "b.pth"), "-o", out, "--json"]) == 0
    assert '"mean"' in capsys.readouterr().out
    assert main(["weights", "show", str(tmp_path / "a.pth"), "--json"]) == 0
    assert "ResNet-50" in capsys.readouterr().out


def test_pixels_up_to_255_count_as_those_up_to_1() -> None:
    state = {
        "data_preprocessor.mean": torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1),
        "data_preprocessor.std": torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1),
        "bn1.running_mean": torch.zeros(3),
        "mean": torch.zeros(3),  # whose std is not there
        "layer.mu": torch.zeros(8),
        "layer.sigma": torch.ones(8),
    }
    names, found = find_normalizations(state)
    assert names == {"data_preprocessor.mean", "data_preprocessor.std"}
    assert [each.is_usual for each in found] == [True]
    grey = {"mean": torch.tensor([0.1]), "std": torch.tensor([0.3])}
    assert not find_normalizations(grey)[1][0].is_usual


def test_tickets_of_paper_c(tmp_path: Path) -> None:
    """Its masks are of every convolution, and its rounds' files hold the start beside."""
    network = some_network(5)
    start = {n: t.clone() for n, t in network.state_dict().items()}
    convolutions = [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    paper_c(network, tmp_path / "1-checkpoint.pth.tar")
    masks = read_masks(tmp_path / "1-checkpoint.pth.tar")
    assert list(masks) == [f"{name}.weight" for name in convolutions]
    assert "conv1.weight" in masks
    assert masks.kept == masks.total - round(0.2 * masks.total)
    # The largest of the start, as the golden rule has it.
    plain_network = some_network(5)
    ones = lth.MaskSet.ones(plain_network, lth.prunable(plain_network, stem=True))
    assert lth.prune(plain_network, ones, amount=0.2) == masks

    torch.save({f"{n}_mask": m.float() for n, m in masks.items()}, tmp_path / "mask.pth")
    assert read_masks(tmp_path / "mask.pth") == masks
    behind = {f"1.{n}_mask": m.float() for n, m in masks.items()}
    torch.save({"state_dict": behind | {"0.mean": torch.zeros(3)}}, tmp_path / "transfer.pth.tar")
    assert read_masks(tmp_path / "transfer.pth.tar") == masks

    init = read_backbone(tmp_path / "1-checkpoint.pth.tar", prefix="init")[0]
    torch.save(init, tmp_path / "init.pth")
    (ticket,) = import_tickets([tmp_path / "1-checkpoint.pth.tar"], tmp_path / "init.pth")
    assert (ticket.meta["level"], ticket.meta["stem"]) == (1, True)
    assert all(
        torch.equal(
            tensor, start[name].masked_fill(~masks[name], 0) if name in masks else start[name]
        )
        for name, tensor in (ticket.weights or {}).items()
    )
    out = str(tmp_path / "ticket.safetensors")
    command = ["ticket", "import", str(tmp_path / "1-checkpoint.pth.tar"), "-o", out]
    assert main([*command, "--weights", str(tmp_path / "init.pth")]) == 0
    assert lth.Ticket.load(out).masks == masks


def test_code_in_a_robust_file_is_not_run(tmp_path: Path) -> None:
    """By dill anything can be pickled; what is more than tensors is refused by name."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "made"), "w"))

    torch.save(
        {"model": some_network(0).state_dict(), "args": Evil()},
        tmp_path / "w.pt",
        pickle_module=dill,
    )
    with pytest.raises(lth.LTHError, match=r"w\.pt cannot be read .* it needs \S*open"):
        load_backbone(tmp_path / "w.pt")
    assert not (tmp_path / "made").exists()
