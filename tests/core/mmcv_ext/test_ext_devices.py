"""Operators stay on the device of their arguments: tried on pretended and on real GPUs."""

import mmcv.ops
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

ext = mmcv._ext


class Maker:
    """Makes the same tensors on any device."""

    def __init__(self, device):
        self.device = device
        torch.manual_seed(0)

    def __call__(self, *shape):
        return torch.rand(shape).to(self.device)

    def whole(self, *numbers):
        return torch.tensor(numbers, device=self.device)

    def rois(self):
        corner = self(5, 2) * 12
        image = self.whole(0, 1, 0, 1, 1)[:, None].to(corner)
        return torch.cat([image, corner, corner + self(5, 2) * 9 + 1], dim=1)


def deform_conv(make):
    x, offset, weight = make(2, 4, 6, 6), make(2, 18, 6, 6) * 3, make(4, 4, 3, 3)
    space, out = make(0), make(2, 4, 6, 6)
    names = ("kW", "kH", "dW", "dH", "padW", "padH", "dilationW", "dilationH")
    numbers = dict(zip(names, (3, 3, 1, 1, 1, 1, 1, 1), strict=True))
    numbers |= {"group": 1, "deformable_group": 1, "im2col_step": 2}
    grads = torch.zeros_like(x), torch.zeros_like(offset), torch.zeros_like(weight)
    ext.deform_conv_forward(x, weight, offset, out, space, space, **numbers)
    ext.deform_conv_backward_input(x, offset, out, grads[0], grads[1], weight, space, **numbers)
    ext.deform_conv_backward_parameters(x, offset, out, grads[2], space, space, scale=1, **numbers)
    return out, *grads


def modulated_deform_conv(make):
    x, offset, weight = make(2, 4, 6, 6), make(2, 18, 6, 6) * 3, make(4, 4, 3, 3)
    mask, bias, space, out = make(2, 9, 6, 6), make(4), make(0), make(2, 4, 6, 6)
    numbers = dict.fromkeys(["stride_h", "stride_w", "pad_h", "pad_w", "dilation_h"], 1)
    numbers |= {"kernel_h": 3, "kernel_w": 3, "dilation_w": 1, "group": 1, "deformable_group": 1}
    grads = [torch.zeros_like(t) for t in (x, weight, bias, offset, mask)]
    given = (x, weight, bias, space, offset, mask)
    ext.modulated_deform_conv_forward(*given, out, space, **numbers, with_bias=True)
    ext.modulated_deform_conv_backward(*given, space, *grads, out, **numbers, with_bias=True)
    return out, *grads


def carafe(make):
    x, masks, out = make(2, 4, 3, 3), make(2, 9, 6, 6), make(2, 4, 6, 6)
    space, kept = make(0), torch.empty_like(x)
    grads = torch.zeros_like(x), torch.zeros_like(masks)
    ext.carafe_forward(x, masks, kept, space, space, out, 3, 1, 2)
    ext.carafe_backward(out, kept, masks, space, space, space, space, *grads, 3, 1, 2)
    return out, *grads


def psa_mask(make):
    x, out, grad = make(2, 15, 3, 4), make(2, 12, 3, 4), torch.zeros_like(make(2, 15, 3, 4))
    ext.psamask_forward(x, out, 1, 2, 3, 4, 3, 5, 1, 2)
    ext.psamask_backward(out, grad, 1, 2, 3, 4, 3, 5, 1, 2)
    return out, grad


def sync_bn(make):
    x, mean, var, std = make(2, 3, 4), make(3), make(3), make(3)
    weight, bias, running, norm = make(3), make(3), [make(3), make(3)], make(2, 3, 4)
    out, grads, grad = make(2, 3, 4), [make(3), make(3)], make(2, 3, 4)
    ext.sync_bn_forward_mean(x, mean)
    ext.sync_bn_forward_var(x, mean, var)
    ext.sync_bn_forward_output(
        x, mean, var, weight, bias, *running, norm, std, out, 1e-5, make(1), 2
    )
    ext.sync_bn_backward_param(out, norm, *grads)
    ext.sync_bn_backward_data(out, weight, *grads, norm, std, grad)
    return out, *running, *grads, grad


def bbox_overlaps(make):
    one, two = make(3, 4), make(2, 4)
    return (mmcv.ops.bbox_overlaps(one.cumsum(1), two.cumsum(1)),)


def masked_conv(make):
    rows, columns, col = make.whole(0, 2), make.whole(3, 1), make(12, 2)
    ext.masked_im2col_forward(make(1, 3, 3, 4), rows, columns, col, 2, 2, 1, 1)
    image = make(1, 12, 3, 4)
    ext.masked_col2im_forward(col, rows, columns, image, 3, 4, 12)
    return col, image


def roi_align(make):
    maps, out, grad = make(2, 3, 6, 6), make(5, 3, 2, 2), make(2, 3, 6, 6) * 0
    empty, rois = make(0), make.rois()
    ext.roi_align_forward(maps, rois, out, empty, empty, 2, 2, 0.5, 0, 1, True)
    ext.roi_align_backward(out, rois, empty, empty, grad, 2, 2, 0.5, 0, 1, True)
    return out, grad


def focal_losses(make):
    logits, target = make(4, 3), make.whole(0, 2, 1, 1)
    out, buff, grad = make(4, 3), make(4), make(4, 3)
    found = []
    for weight in (make(0), make(3)):
        ext.sigmoid_focal_loss_forward(logits, target, weight, out, 2.0, 0.25)
        found += [out.clone()]
        ext.sigmoid_focal_loss_backward(logits, target, weight, grad, 2.0, 0.25)
        found += [grad.clone()]
        ext.softmax_focal_loss_forward(logits.softmax(1), target, weight, buff, 2.0, 0.25)
        found += [buff.clone()]
        ext.softmax_focal_loss_backward(logits.softmax(1), target, weight, buff, grad, 2.0, 0.25)
        found += [grad.clone()]
    return tuple(found)


def nms(make):
    corner = make(40, 2) * 9
    boxes = torch.cat([corner, corner + make(40, 2) * 9], dim=1)
    return tuple(ext.nms(boxes, make(40), 0.4, offset) for offset in (0, 1))


def roi_align_max(make):
    maps, grad, rois = make(2, 3, 6, 6), make(2, 3, 6, 6) * 0, make.rois()
    out, y, x = make(5, 3, 2, 2), make(5, 3, 2, 2), make(5, 3, 2, 2)
    ext.roi_align_forward(maps, rois, out, y, x, 2, 2, 0.5, 0, 0, True)
    ext.roi_align_backward(out, rois, y, x, grad, 2, 2, 0.5, 0, 0, True)
    return out, y, x, grad


def roi_pool(make):
    maps, grad, rois = make(2, 3, 6, 6), make(2, 3, 6, 6) * 0, make.rois()
    out, argmax = make(5, 3, 2, 2), make(5, 3, 2, 2).int()
    ext.roi_pool_forward(maps, rois, out, argmax, 2, 2, 0.5)
    ext.roi_pool_backward(out, rois, argmax, grad, 2, 2, 0.5)
    return out, argmax, grad


def deform_roi_pool(make):
    maps, grad, rois = make(2, 3, 6, 6), make(2, 3, 6, 6) * 0, make.rois()
    out, offset = make(5, 3, 2, 2), make(5, 2, 2, 2)
    grad_offset = torch.zeros_like(offset)
    ext.deform_roi_pool_forward(maps, rois, offset, out, 2, 2, 0.5, 0, 0.1)
    ext.deform_roi_pool_backward(out, maps, rois, offset, grad, grad_offset, 2, 2, 0.5, 0, 0.1)
    return out, grad, grad_offset


def ms_deform_attn(make):
    value, at, weight = make(2, 13, 2, 3), make(2, 4, 2, 2, 2, 2), make(2, 4, 2, 2, 2)
    given = (value, make.whole([3, 3], [2, 2]), make.whole(0, 9), at, weight)
    out = ext.ms_deform_attn_forward(*given, 64)
    grads = [torch.zeros_like(t) for t in (value, at, weight)]
    ext.ms_deform_attn_backward(*given, out, *grads, 64)
    return out, *grads


WITHOUT_LOOKING_AT_VALUES = [
    bbox_overlaps,
    carafe,
    deform_conv,
    masked_conv,
    modulated_deform_conv,
    psa_mask,
    roi_align,
    sync_bn,
]
LOOKING_AT_VALUES = [deform_roi_pool, focal_losses, ms_deform_attn, nms, roi_align_max, roi_pool]


@pytest.mark.parametrize("operator", WITHOUT_LOOKING_AT_VALUES)
def test_nothing_is_made_on_another_device(operator):
    with FakeTensorMode():
        results = operator(Maker("cuda"))
    assert {result.device.type for result in results} == {"cuda"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("operator", WITHOUT_LOOKING_AT_VALUES + LOOKING_AT_VALUES)
def test_a_gpu_finds_what_a_cpu_finds(operator):
    expected, results = operator(Maker("cpu")), operator(Maker("cuda"))
    for one, other in zip(results, expected, strict=True):
        assert one.is_cuda
        torch.testing.assert_close(one.cpu(), other, rtol=1e-3, atol=1e-4)
