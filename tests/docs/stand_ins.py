"""Small files under the names and in the formats of those that pages take for granted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import lth_core as lth
import numpy as np
import torch
from cls import small_data, toy_imagenet, toy_voc07
from det import toy_coco, toy_voc
from lth_core.cli import main as lth_command
from seg import toy_data

IMAGES = 4


def moco(place: Path) -> None:
    """MoCo v2's published file, with a narrow ResNet-50, beside the page and under weights/."""
    content = toy_imagenet.moco_file()
    for name, tensor in content["state_dict"].items():
        if ".fc.2." in name:  # the head is as narrow as all that configs build here
            content["state_dict"][name] = tensor[:8].clone()
    (place / "weights").mkdir(exist_ok=True)
    for folder in (place, place / "weights"):
        torch.save(content, folder / "moco_v2_800ep_pretrain.pth.tar")


def weights(place: Path) -> None:
    """All published files that configs name."""
    moco(place)
    for name, content in (
        ("resnet50-0676ba61.pth", toy_imagenet.torchvision_file()),
        ("resnet50-1x.pth", toy_imagenet.simclr_file()),
    ):
        torch.save(content, place / "weights" / name)


def tickets(place: Path) -> None:
    """All tickets that configs name, and those of chains that pages have not run themselves."""
    weights(place)
    for name, file in (
        ("imagenet", "resnet50-0676ba61.pth"),
        ("mocov2", "moco_v2_800ep_pretrain.pth.tar"),
        ("simclr", "resnet50-1x.pth"),
    ):
        _ticket(place, f"weights/{file}", 10, f"tickets/resnet50_{name}_level10.safetensors")


def simclr_chain(place: Path) -> None:
    """One level of a chain on SimCLR."""
    weights(place)
    (place / "tickets").mkdir(exist_ok=True)
    _ticket(place, "weights/resnet50-1x.pth", 5, "work_dirs/simclr/level_05/ticket.safetensors")


def a_level(place: Path) -> None:
    """One level's ticket, by itself."""
    moco(place)
    _ticket(place, "moco_v2_800ep_pretrain.pth.tar", 5, "level_05/ticket.safetensors")


def transfer_chains(place: Path) -> None:
    """The levels of a chain on MoCo, and three of one on CIFAR-100."""
    tickets(place)
    for level in range(19):
        chain = f"work_dirs/mocov2_resnet50_imagenet/level_{level:02d}"
        _ticket(place, "weights/resnet50-0676ba61.pth", level, f"{chain}/ticket.safetensors")
    for level in (0, 5):
        chain = f"work_dirs/cifar100_pt_trans/level_{level:02d}"
        _ticket(place, "weights/resnet50-0676ba61.pth", level, f"{chain}/ticket.safetensors")


def _ticket(place: Path, file: str, level: int, name: str) -> None:
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    make = ["ticket", "make", str(place / file), "--level", str(level), "-o", str(place / name)]
    assert lth_command(make) == 0


def paper_mask(place: Path) -> None:
    """A mask as paper A's code writes it."""
    moco(place)
    _ticket(place, "moco_v2_800ep_pretrain.pth.tar", 10, "made.safetensors")
    masks = lth.Ticket.load(place / "made.safetensors").masks
    torch.save({f"{name}_mask": mask.float() for name, mask in masks.items()}, place / "mask-10.pt")


def robust(place: Path) -> None:
    """Robust models as they are published, and a file that paper C's rounds leave."""
    (place / "weights").mkdir(exist_ok=True)
    for name, content in (
        ("resnet50-0676ba61.pth", toy_imagenet.torchvision_file()),
        ("resnet50_linf_eps8.0.ckpt", toy_imagenet.robust_file()),
        ("imagenet_model_weights_4px.pth.tar", toy_imagenet.fast_file()),
    ):
        torch.save(content, place / "weights" / name)
    torch.save(toy_imagenet.paper_c_file(), place / "10-checkpoint.pth.tar")


def my_ticket(place: Path) -> None:
    """A detector's config from a ticket, and what it inherits."""
    my_detector(place)
    content = '_base_ = ["my_detector.py", "lth_det::_base_/tickets/moco_90.py"]\n'
    (place / "my_ticket.py").write_text(content)


def my_detector(place: Path) -> None:
    """A detector's config of the reader's own."""
    content = '_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"\n'
    (place / "my_detector.py").write_text(content)


def voc(place: Path) -> None:
    """VOC 2007 and 2012."""
    toy_voc.make_voc(place / "data", images=IMAGES)


def voc07(place: Path) -> None:
    """VOC 2007 for classification."""
    toy_voc07.make_voc07(place / "data")


def coco(place: Path) -> None:
    """COCO."""
    toy_coco.make_coco(place / "data", images=IMAGES)


def voc_segmentation(place: Path) -> None:
    """VOC 2012 for segmentation."""
    toy_data.make_voc(place / "data", images=IMAGES)


def cifar(place: Path) -> None:
    """CIFAR-10 and CIFAR-100."""
    small_data.write_cifar(place / "data", "cifar10", each=8)
    small_data.write_cifar(place / "data", "cifar100", each=8)


def corruptions(place: Path) -> None:
    """CIFAR-10, and a file of CIFAR-10-C."""
    cifar(place)
    small_data.write_corruptions(place / "data")


def imagenet(place: Path) -> None:
    """ImageNet of a few pictures."""
    toy_imagenet.make_imagenet(place / "data", images=8)


def birds(place: Path) -> None:
    """Annotations as COCO's with two classes, whose numbers do not begin at 1."""
    categories = [{"id": 3, "name": "gull"}, {"id": 7, "name": "owl"}]
    for split in ("train", "val"):
        images, boxes = [], []
        for index in range(IMAGES):
            _picture(place / "data/birds" / split / f"{index}.jpg", index)
            images.append({"id": index, "file_name": f"{index}.jpg", "width": 96, "height": 64})
            box = {"bbox": [5, 7, 40, 43], "area": 1720, "iscrowd": 0, "image_id": index}
            boxes += [box | {"id": len(boxes) + k, "category_id": c} for k, c in ((1, 3), (2, 7))]
        content = {"images": images, "annotations": boxes, "categories": categories}
        (place / "data/birds" / f"{split}.json").write_text(json.dumps(content))


def pets(place: Path) -> None:
    """Pictures and boxes in VOC's folders."""
    toy_voc.make_voc(place / "data", images=IMAGES)
    (place / "data/VOCdevkit/VOC2007").rename(place / "data/pets")


def fields(place: Path) -> None:
    """Pictures and labels of every pixel."""
    for split in ("train", "val"):
        for index in range(IMAGES):
            _picture(place / "data/fields/images" / split / f"{index}.jpg", index)
            labels = np.zeros((64, 96), np.uint8)
            labels[10:40, 10:40], labels[30:60, 50:90], labels[30:32, 50:90] = 1, 2, 255
            path = place / "data/fields/labels" / split / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), labels)


def leaves(place: Path) -> None:
    """A folder a class."""
    for split in ("train", "val"):
        for index in range(6):
            _picture(place / "data/leaves" / split / f"kind_{index}" / "0.png", index)


def flowers(place: Path) -> None:
    """A folder a class, and three splits."""
    for split in ("train", "val", "test"):
        for index in range(6):
            _picture(place / "data/flowers" / split / f"kind_{index}" / "0.png", index)


def _picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (64, 96, 3), np.uint8))


StandIn = Callable[[Path], None]
