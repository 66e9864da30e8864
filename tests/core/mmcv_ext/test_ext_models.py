"""Upstream configs, made small: they build, train and predict with the stand-in."""

from pathlib import Path

import mmdet.models
import mmseg.models
import pytest
import torch
from mmcv.ops import multi_scale_deform_attn
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

SIZE = 64
META = dict.fromkeys(["img_shape", "batch_input_shape", "pad_shape", "ori_shape"], (SIZE, SIZE))
HALF_A_HEAD = {"roi_head.bbox_head.fc_out_channels": 64}
BOTTLENECKS = {"backbone.depth": 50, "neck.in_channels": [32, 64, 128, 256]}

DETECTORS = {
    "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py": {},
    "retinanet/retinanet_r50_fpn_1x_coco.py": {},
    "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py": HALF_A_HEAD,
    "deformable_detr/deformable-detr_r50_16xb2-50e_coco.py": {
        "encoder.num_layers": 1,
        "decoder.num_layers": 1,
        "num_queries": 20,
    },
}
MORE_DETECTORS = {
    "dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py": HALF_A_HEAD | BOTTLENECKS,
    "dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py": HALF_A_HEAD | BOTTLENECKS,
    "dcn/faster-rcnn_r50_fpn_dpool_1x_coco.py": HALF_A_HEAD,
    "dcnv2/faster-rcnn_r50_fpn_mdpool_1x_coco.py": HALF_A_HEAD,
    "faster_rcnn/faster-rcnn_r50_fpn_soft-nms_1x_coco.py": HALF_A_HEAD,
    "carafe/faster-rcnn_r50_fpn-carafe_1x_coco.py": HALF_A_HEAD,
    "guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco.py": {},
    "reppoints/reppoints-moment_r50_fpn_1x_coco.py": {},
    "tood/tood_r50_fpn_1x_coco.py": {},
    "vfnet/vfnet_r50_fpn_1x_coco.py": {},
    "foveabox/fovea_r50_fpn_gn-head-align_4xb4-2x_coco.py": {},
}


@pytest.fixture(autouse=True)
def _default_scope():
    before = DefaultScope.get_current_instance()
    yield
    if before is not None:
        init_default_scope(before.scope_name)


def load(package, name):
    """Reads an upstream config and narrows its backbone."""
    init_default_scope(package.__name__)
    config = Config.fromfile(Path(package.__path__[0]) / ".mim" / "configs" / name)
    config.model.backbone.update(
        depth=18,
        base_channels=8,
        stem_channels=8,
        init_cfg=None,
        norm_eval=False,
        frozen_stages=-1,
    )
    return config


def detector(name, changes):
    config = load(mmdet, name)
    model = config.model
    neck = model.neck[0] if isinstance(model.neck, list) else model.neck
    neck.in_channels = [8 * 2**stage for stage in model.backbone.out_indices]
    config.merge_from_dict({f"model.{key}": value for key, value in changes.items()})
    return MODELS.build(config.model)


def scene():
    """Two images with two boxes each, drawn into the pixels."""
    images, samples = torch.randn(2, 3, SIZE, SIZE) * 0.1, []
    for image in images:
        boxes = torch.tensor([[6, 8, 30, 34], [34, 28, 60, 58]])
        for label, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
            image[label, y1:y2, x1:x2] += 2
        truth = InstanceData(bboxes=boxes.float(), labels=torch.tensor([0, 1]))
        meta = META | {"scale_factor": (1.0, 1.0)}
        samples.append(DetDataSample(gt_instances=truth, metainfo=meta))
    return images, samples


def train_and_predict(model, images, samples, steps=6):
    """Checks that a few steps on one batch lower the loss, and that prediction runs."""
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    model.train()
    totals = []
    for _ in range(steps):
        total, _ = model.parse_losses(model.loss(images, samples))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert torch.tensor(totals).isfinite().all()
    assert min(totals[1:]) < totals[0]
    model.eval()
    with torch.no_grad():
        # One image, since mmcv's masked convolution takes no more.
        return model.predict(images[:1], samples[:1])


@pytest.fixture
def _attention_by_the_operator(monkeypatch):
    """Has the attention layers call the operator on a CPU, too, as they do on a GPU."""

    def attend(value, shapes, at, weight):
        starts = torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])
        operator = multi_scale_deform_attn.MultiScaleDeformableAttnFunction
        return operator.apply(value, shapes, starts, at, weight, 64)

    monkeypatch.setattr(multi_scale_deform_attn, "multi_scale_deformable_attn_pytorch", attend)


@pytest.mark.usefixtures("_attention_by_the_operator")
@pytest.mark.parametrize("name", DETECTORS)
def test_detector(name):
    results = train_and_predict(detector(name, DETECTORS[name]), *scene())
    boxes = results[0].pred_instances.bboxes
    assert boxes.isfinite().all()
    assert boxes.shape[1] == 4


@pytest.mark.long
@pytest.mark.parametrize("name", MORE_DETECTORS)
def test_more_detectors(name):
    MessageHub.get_current_instance().update_info("epoch", 0)
    train_and_predict(detector(name, MORE_DETECTORS[name]), *scene())


@pytest.mark.long
def test_segmenter_with_psa_masks():
    config = load(mmseg, "psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024.py")
    model, norm = config.model, {"type": "BN"}
    for head, in_channels in ((model.decode_head, 64), (model.auxiliary_head, 32)):
        head.update(in_channels=in_channels, channels=8, num_classes=2, norm_cfg=norm)
    model.decode_head.mask_size = (15, 15)
    model.backbone.norm_cfg = norm
    model.data_preprocessor = model.pretrained = None
    truth = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.long)
    truth[:, :, 10:40, 10:40] = 1
    images = torch.randn(2, 3, SIZE, SIZE) * 0.1 + truth
    samples = [SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo=META) for labels in truth]
    results = train_and_predict(MODELS.build(model), images, samples)
    assert results[0].pred_sem_seg.shape == (SIZE, SIZE)
