import mmcv
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import MaskedConv2d, PSAMask, bbox_overlaps, carafe, carafe_naive
from mmcv.ops.sync_bn import SyncBatchNormFunction


def compare(actual, expected, leaves, rtol=1e-9, atol=1e-10):
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)
    grad = torch.randn_like(expected)
    got = torch.autograd.grad(actual, leaves, grad)
    want = torch.autograd.grad(expected, leaves, grad)
    for one, other in zip(got, want, strict=True):
        assert other.abs().sum() > 0
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


# bbox_overlaps


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("mode", ["iou", "iof"])
@pytest.mark.parametrize("aligned", [True, False])
def test_bbox_overlaps(dtype, mode, offset, aligned):
    one = torch.rand(5, 4, dtype=dtype) * 4
    two = torch.rand(5 if aligned else 3, 4, dtype=dtype) * 4
    one[:, 2:] += one[:, :2]
    two[:, 2:] += two[:, :2]
    rows = []
    for i, a in enumerate(one.tolist()):
        row = []
        for b in two.tolist():
            wide = max(0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
            high = max(0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
            area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
            area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
            base = area_a + area_b - wide * high if mode == "iou" else area_a
            row.append(wide * high / base)
        rows.append(row[i] if aligned else row)
    expected = torch.tensor(rows, dtype=dtype)
    assert expected.any()
    torch.testing.assert_close(bbox_overlaps(one, two, mode, aligned, offset), expected)


def test_bbox_overlaps_without_boxes():
    assert bbox_overlaps(torch.zeros(0, 4), torch.zeros(2, 4)).shape == (0, 2)


# carafe


def carafe_reference(features, masks, kernel_size, groups, scale):
    count, channels, height, width = features.shape
    half, per_group = kernel_size // 2, channels // groups
    out = []
    for c in range(channels):
        for row in range(height * scale):
            for column in range(width * scale):
                total = features[:, 0, 0, 0] * 0
                for i in range(kernel_size):
                    for j in range(kernel_size):
                        y, x = row // scale + i - half, column // scale + j - half
                        if 0 <= y < height and 0 <= x < width:
                            tap = ((c // per_group) * kernel_size + i) * kernel_size + j
                            total = total + features[:, c, y, x] * masks[:, tap, row, column]
                out.append(total)
    return torch.stack(out, 1).view(count, channels, height * scale, width * scale)


@pytest.mark.parametrize(("kernel_size", "groups", "scale"), [(3, 1, 2), (3, 2, 1), (5, 2, 3)])
def test_carafe(kernel_size, groups, scale):
    features = torch.randn(2, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    taps = groups * kernel_size**2
    masks = torch.randn(2, taps, 2 * scale, 3 * scale, dtype=torch.float64, requires_grad=True)
    expected = carafe_reference(features, masks, kernel_size, groups, scale)
    compare(carafe(features, masks, kernel_size, groups, scale), expected, (features, masks))


def test_carafe_naive():
    features = torch.randn(2, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    masks = torch.randn(2, 18, 4, 6, dtype=torch.float64, requires_grad=True)
    expected = carafe_reference(features, masks, 3, 2, 2)
    torch.testing.assert_close(carafe_naive(features, masks, 3, 2, 2), expected)
    # mmcv lets the backward pass of the plain form run on CUDA only, so call the operator itself.
    grad = torch.randn_like(expected)
    got = torch.zeros_like(features), torch.zeros_like(masks)
    mmcv._ext.carafe_naive_backward(
        grad, features, masks, *got, kernel_size=3, group_size=2, scale_factor=2
    )
    want = torch.autograd.grad(expected, (features, masks), grad)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other)


def test_carafe_float32_and_one_pixel():
    features = torch.randn(1, 2, 1, 1, requires_grad=True)
    masks = torch.randn(1, 9, 2, 2, requires_grad=True)
    expected = carafe_reference(features, masks, 3, 1, 2)
    compare(carafe(features, masks, 3, 1, 2), expected, (features, masks), 1e-5, 1e-6)


# masked convolution


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (1, 0), ((3, 5), (1, 2))])
def test_masked_conv2d(dtype, kernel, padding):
    layer = MaskedConv2d(3, 4, kernel, padding=padding).to(dtype)
    x = torch.randn(1, 3, 6, 7, dtype=dtype)
    mask = torch.rand(1, 6, 7) > 0.6
    dense = F.conv2d(x, layer.weight, layer.bias, padding=padding)
    torch.testing.assert_close(layer(x, mask), dense * mask)
    assert not layer(x, torch.zeros(1, 6, 7)).any()
    assert torch.equal(layer(x), dense)


def test_masked_im2col_reads_zeros_behind_the_map():
    x = torch.randn(1, 2, 3, 4)
    rows, columns = torch.tensor([0, 2, 2]), torch.tensor([1, 3, 0])
    col = torch.empty(2 * 3 * 2, 3)
    mmcv._ext.masked_im2col_forward(x, rows, columns, col, kernel_h=3, kernel_w=2, pad_h=0, pad_w=0)
    for c in range(2):
        for i in range(3):
            for j in range(2):
                for m in range(3):
                    y, z = rows[m] + i, columns[m] + j
                    want = x[0, c, y, z] if y < 3 and z < 4 else torch.zeros(())
                    assert col[(c * 3 + i) * 2 + j, m] == want


# PSA masks


@pytest.mark.parametrize("kind", ["collect", "distribute"])
@pytest.mark.parametrize("mask", [(3, 5), (5, 7), (9, 9), (1, 1)])
def test_psa_mask(dtype, kind, mask):
    height, width = 3, 4
    x = torch.randn(2, mask[0] * mask[1], height, width, dtype=dtype, requires_grad=True)
    expected = torch.zeros(2, height, width, height, width, dtype=dtype)
    for h in range(height):
        for w in range(width):
            for i in range(mask[0]):
                for j in range(mask[1]):
                    y, z = h + i - (mask[0] - 1) // 2, w + j - (mask[1] - 1) // 2
                    if 0 <= y < height and 0 <= z < width:
                        value = x[:, i * mask[1] + j, h, w]
                        if kind == "collect":
                            expected[:, y, z, h, w] = value
                        else:
                            expected[:, h, w, y, z] = value
    expected = expected.view(2, height * width, height, width)
    compare(PSAMask(kind, mask)(x), expected, (x,))


# synchronised batch normalisation, the steps that one process does


@pytest.mark.parametrize("stats_mode", ["default", "N"])
@pytest.mark.parametrize("shape", [(4, 3, 5, 2), (6, 3, 1, 1), (1, 3, 1, 1)])
def test_sync_batch_norm_of_one_process(shape, stats_mode):
    x = (torch.randn(shape) * 2 + 1).requires_grad_()
    weight, bias = torch.rand(3, requires_grad=True), torch.randn(3, requires_grad=True)
    mean, var = torch.randn(3), torch.rand(3)
    want_mean, want_var = mean.clone(), var.clone()
    actual = SyncBatchNormFunction.apply(x, mean, var, weight, bias, 0.1, 1e-3, None, 1, stats_mode)
    if x.numel() == 3:
        # torch refuses single values; they are their own mean.
        torch.testing.assert_close(actual, bias.view(1, 3, 1, 1).expand_as(actual))
        torch.testing.assert_close(mean, want_mean * 0.9 + x.detach().flatten() * 0.1)
        return
    expected = F.batch_norm(x, want_mean, want_var, weight, bias, True, 0.1, 1e-3)
    compare(actual, expected, (x, weight, bias), 1e-4, 1e-5)
    torch.testing.assert_close(mean, want_mean)
    torch.testing.assert_close(var, want_var)


def test_sync_batch_norm_steps_of_two_processes_make_one_batch():
    ext = mmcv._ext
    parts = torch.randn(2, 4, 3, 5).double().unbind(0)
    whole = torch.cat(parts).requires_grad_()
    weight = torch.rand(3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    expected = F.batch_norm(whole, None, None, weight, bias, True, 0.1, 1e-5)
    grad = torch.randn_like(expected)
    want = torch.autograd.grad(expected, (whole, weight, bias), grad)

    def mean_of(step):
        found = [torch.zeros(3, dtype=torch.float64) for _ in parts]
        for part, out in zip(parts, found, strict=True):
            step(part, out)
        return torch.stack(found).mean(0)

    mean = mean_of(ext.sync_bn_forward_mean)
    var = mean_of(lambda part, out: ext.sync_bn_forward_var(part, mean, out))
    norms, std = [torch.empty_like(part) for part in parts], torch.empty(3, dtype=torch.float64)
    running = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for part, norm, rows in zip(parts, norms, expected.split(4), strict=True):
        out = torch.empty_like(part)
        ext.sync_bn_forward_output(
            part, mean, var, weight, bias, *running, norm, std, out, 1e-5, 1.0, group_size=2
        )
        torch.testing.assert_close(out, rows)
    torch.testing.assert_close(running[1], whole.transpose(0, 1).flatten(1).var(1))
    grads = [torch.empty(2, 3, dtype=torch.float64) for _ in parts]
    for rows, norm, out in zip(grad.split(4), norms, grads, strict=True):
        ext.sync_bn_backward_param(rows, norm, out[0], out[1])
    total = torch.stack(grads).sum(0)
    torch.testing.assert_close(total[0], want[1])
    torch.testing.assert_close(total[1], want[2])
    for rows, norm, one in zip(grad.split(4), norms, want[0].split(4), strict=True):
        out = torch.empty_like(rows)
        ext.sync_bn_backward_data(rows, weight, total[0] / 2, total[1] / 2, norm, std, out)
        torch.testing.assert_close(out, one)


def test_sync_batch_norm_without_affine_and_running_statistics():
    x, norm, out = torch.randn(4, 3, 5), torch.empty(4, 3, 5), torch.empty(4, 3, 5)
    mean, var, std = (
        x.mean((0, 2)),
        x.transpose(0, 1).flatten(1).var(1, correction=0),
        torch.empty(3),
    )
    mmcv._ext.sync_bn_forward_output(
        x, mean, var, None, None, None, None, norm, std, out, 1e-5, 0.1, group_size=1
    )
    torch.testing.assert_close(out, F.batch_norm(x, None, None, training=True))
