import math

import mmcv
import pytest
import torch
from mmcv.ops import RoIAlign, RoIPool, deform_roi_pool, roi_align, roi_pool

# Inside, across a border, far outside, single points, the whole map, tiny.
ROIS = [
    [0, 4.3, 2.1, 21.9, 17.2],
    [1, -9.0, -7.5, 12.4, 9.3],
    [0, 20.0, 15.0, 60.0, 55.0],
    [1, 200.0, 200.0, 260.0, 230.0],
    [0, 8.0, 8.0, 8.0, 8.0],
    [1, 0.0, 0.0, 32.0, 24.0],
    [1, 13.2, 11.1, 13.9, 12.3],
]
SCALE = 0.25


def tolerance(dtype):
    return {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-10}


def maps(dtype, channels=3, height=6, width=8):
    return torch.randn(2, channels, height, width, dtype=dtype, requires_grad=True)


def read(image, y, x):
    """Bilinear reading of (C, H, W) with the border repeated for one pixel, then zero."""
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return image[:, 0, 0] * 0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    total = 0
    for row in range(height):
        for column in range(width):
            share = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
            if share:
                total = total + share * image[:, row, column]
    return total


def samples(roi, bins, scale, ratio, aligned):
    """For each bin, the list of its sample points (y, x)."""
    x1, y1, x2, y2 = (c * scale - (0.5 if aligned else 0) for c in roi[1:])
    height, width = y2 - y1, x2 - x1
    if not aligned:
        height, width = max(height, 1), max(width, 1)
    high = ratio or math.ceil(height / bins[0])
    wide = ratio or math.ceil(width / bins[1])
    for i in range(bins[0]):
        for j in range(bins[1]):
            yield (
                i,
                j,
                [
                    (
                        y1 + (i + (a + 0.5) / high) * height / bins[0],
                        x1 + (j + (b + 0.5) / wide) * width / bins[1],
                    )
                    for a in range(high)
                    for b in range(wide)
                ],
            )


def reference_align(features, rois, bins, scale, ratio, mode, aligned):
    out = []
    for roi in rois.tolist():
        image = features[int(roi[0])]
        cells = torch.zeros(image.size(0), *bins, dtype=image.dtype)
        for i, j, points in samples(roi, bins, scale, ratio, aligned):
            if not points:
                continue
            values = torch.stack([read(image, y, x) for y, x in points])
            pooled = values.mean(0) if mode == "avg" else values.max(0).values
            cells = cells.index_put((torch.arange(len(pooled)), *torch.tensor([i, j])), pooled)
        out.append(cells)
    return torch.stack(out)


def compare(actual, expected, leaf, dtype):
    torch.testing.assert_close(actual, expected, **tolerance(dtype))
    grad = torch.randn_like(expected)
    got = torch.autograd.grad(actual, leaf, grad)[0]
    want = torch.autograd.grad(expected, leaf, grad)[0]
    assert want.abs().sum() > 0
    torch.testing.assert_close(got, want, **tolerance(dtype))


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 1, 2])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align(dtype, mode, ratio, aligned):
    features, rois = maps(dtype), torch.tensor(ROIS, dtype=dtype)
    actual = roi_align(features, rois, (3, 2), SCALE, ratio, mode, aligned)
    expected = reference_align(features, rois, (3, 2), SCALE, ratio, mode, aligned)
    compare(actual, expected, features, dtype)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align_gradcheck_on_a_one_pixel_map(mode):
    features = torch.randn(1, 2, 1, 1, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 0.1, 0.2, 0.9, 1.7]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: roi_align(f, rois, 2, 1.0, 2, mode, True), features)


@pytest.mark.parametrize(("mode", "slope"), [("avg", 1), ("max", 0)])
def test_roi_align_samples_exactly_one_pixel_outside_read_the_border(mode, slope):
    features = torch.tensor([[5.0, 6], [7, 8], [9, 10]])[None, None].requires_grad_()
    # Centred on row -1, on row 3, on column -1 and on column 2, half a pixel wide to each side.
    rois = torch.tensor([[0, -1.5], [0, 2.5], [-1.5, 1], [1.5, 1]])
    rois[:2, 0] -= 0.5
    rois[2:, 1] -= 0.5
    rois = torch.cat([torch.zeros(4, 1), rois, rois + 1], dim=1)
    out = roi_align(features, rois, 1, 1.0, 1, mode, False).flatten()
    assert out.tolist() == [5, 9, 7, 8]
    # In mode "max" the compiled operator marks "no sample" by row -1, and so loses that slope.
    grads = [torch.autograd.grad(one, features, retain_graph=True)[0].sum().item() for one in out]
    assert grads == [slope, 1, 1, 1]


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align_without_rois(mode):
    features = maps(torch.float32)
    out = RoIAlign(4, SCALE, pool_mode=mode)(features, torch.zeros(0, 5))
    assert out.shape == (0, 3, 4, 4)
    out.sum().backward()
    assert not features.grad.any()


def test_roi_align_of_non_contiguous_features_and_gradients():
    features = maps(torch.float64).detach().transpose(2, 3).requires_grad_()
    rois = torch.tensor(ROIS, dtype=torch.float64)
    for mode in ("avg", "max"):
        out = roi_align(features, rois, (2, 2), SCALE, 2, mode, True)
        same = roi_align(features.contiguous(), rois, (2, 2), SCALE, 2, mode, True)
        assert torch.equal(out, same)
        grad = torch.randn(2, 2, 3, len(rois), dtype=torch.float64).permute(3, 2, 0, 1)
        got = torch.autograd.grad(out, features, grad)[0]
        torch.testing.assert_close(got, torch.autograd.grad(same, features, grad)[0])


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_roi_align_of_half_precision_is_rounded_float32(half):
    features = maps(torch.float32).detach().to(half)
    rois = torch.tensor(ROIS, dtype=half)
    for mode in ("avg", "max"):
        out = roi_align(features, rois, (2, 2), SCALE, 2, mode, True)
        exact = roi_align(features.float(), rois.float(), (2, 2), SCALE, 2, mode, True)
        assert out.dtype == half
        torch.testing.assert_close(out, exact.to(half))


def reference_pool(features, rois, bins, scale):
    out = []
    for roi in rois.tolist():
        image = features[int(roi[0])]
        height, width = image.shape[1:]
        x1, y1 = roi[1] * scale, roi[2] * scale
        x2, y2 = (roi[3] + 1) * scale, (roi[4] + 1) * scale
        tall, broad = (y2 - y1) / bins[0], (x2 - x1) / bins[1]
        rows = []
        for i in range(bins[0]):
            for j in range(bins[1]):
                top = max(math.floor(i * tall + y1), 0)
                bottom = max(min(math.ceil((i + 1) * tall + y1), height), 0)
                left = max(math.floor(j * broad + x1), 0)
                right = max(min(math.ceil((j + 1) * broad + x1), width), 0)
                cell = image[:, top:bottom, left:right].flatten(1)
                bad = x2 <= x1 or y2 <= y1 or not cell.numel()
                rows.append(image[:, 0, 0] * 0 if bad else cell.max(1).values)
        out.append(torch.stack(rows, 1).view(-1, *bins))
    return torch.stack(out)


def test_roi_pool(dtype):
    features = maps(dtype)
    rois = torch.tensor([*ROIS, [0, 9.0, 9.0, 4.0, 12.0]], dtype=dtype)
    actual = roi_pool(features, rois, (3, 2), SCALE)
    compare(actual, reference_pool(features, rois, (3, 2), SCALE), features, dtype)


def test_roi_pool_gradcheck_and_one_pixel_map():
    features = torch.randn(1, 2, 1, 1, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 0, 0, 0, 0], [0, -3, -3, 3, 3.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: roi_pool(f, rois, 2, 1.0), features)


def test_roi_pool_gives_ties_to_the_first_pixel_and_takes_no_rois():
    features = torch.ones(1, 1, 4, 4, requires_grad=True)
    roi_pool(features, torch.tensor([[0, 0, 0, 3, 3.0]]), 2, 1.0).sum().backward()
    expected = torch.zeros(4, 4)
    expected[::2, ::2] = 1
    assert torch.equal(features.grad[0, 0], expected)
    assert RoIPool(3)(features, torch.zeros(0, 5)).shape == (0, 1, 3, 3)


def test_roi_pool_names_the_pixel_it_took():
    features = torch.randn(2, 2, 5, 5)
    rois = torch.tensor([[1, 0, 0, 4, 4], [0, 90, 90, 99, 99.0]])
    output, argmax = torch.empty(2, 2, 2, 2), torch.empty(2, 2, 2, 2, dtype=torch.int32)
    mmcv._ext.roi_pool_forward(features, rois, output, argmax, 2, 2, 1.0)
    taken = features[1].flatten(1).gather(1, argmax[0].flatten(1).long()).view(2, 2, 2)
    assert torch.equal(output[0], taken)
    assert torch.equal(argmax[1], torch.full((2, 2, 2), -1, dtype=torch.int32))


def deform_reference(features, rois, offset, bins, scale, ratio, gamma):
    """Values, and the gradient of the offsets by the formula of the compiled operator."""
    out, slopes = [], []
    for n, roi in enumerate(rois.tolist()):
        image = features[int(roi[0])].detach()
        height, width = image.shape[1:]
        tall, broad = (roi[4] - roi[2]) * scale, (roi[3] - roi[1]) * scale
        cells = torch.zeros(image.size(0), *bins, dtype=image.dtype)
        slope = torch.zeros(2, image.size(0), *bins, dtype=image.dtype)
        for i, j, points in samples(roi, bins, scale, ratio, True):
            for y, x in points:
                x = x + gamma * broad * offset[n, 0, i, j].item()
                y = y + gamma * tall * offset[n, 1, i, j].item()
                cells[:, i, j] += read(image, y, x) / len(points)
                if not (-1 <= y <= height and -1 <= x <= width):
                    continue
                y0, x0 = (min(int(max(c, 0)), s - 1) for c, s in ((y, height), (x, width)))
                y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
                dx = (image[:, y1, x1] - image[:, y1, x0]) * (y - y0)
                dx += (image[:, y0, x1] - image[:, y0, x0]) * (y1 - y)
                dy = (image[:, y1, x1] - image[:, y0, x1]) * (x - x0)
                dy += (image[:, y1, x0] - image[:, y0, x0]) * (x1 - x)
                slope[0, :, i, j] += gamma * broad * dx / len(points)
                slope[1, :, i, j] += gamma * tall * dy / len(points)
        out.append(cells)
        slopes.append(slope)
    return torch.stack(out), torch.stack(slopes)


@pytest.mark.parametrize("ratio", [0, 2])
def test_deform_roi_pool(dtype, ratio):
    features, rois = maps(dtype), torch.tensor(ROIS, dtype=dtype)
    offset = torch.randn(len(rois), 2, 3, 2, dtype=dtype, requires_grad=True)
    actual = deform_roi_pool(features, rois, offset, (3, 2), SCALE, ratio, 0.1)
    expected, slopes = deform_reference(features, rois, offset, (3, 2), SCALE, ratio, 0.1)
    torch.testing.assert_close(actual, expected, **tolerance(dtype))
    grad = torch.randn_like(actual)
    got = torch.autograd.grad(actual, offset, grad)[0]
    want = (slopes * grad[:, None]).sum(2)
    torch.testing.assert_close(got, want, **tolerance(dtype))


def test_deform_roi_pool_gradcheck_inside_the_map():
    features = maps(torch.float64, channels=2)
    rois = torch.tensor([[1, 7.1, 6.3, 22.7, 18.2]], dtype=torch.float64)
    offset = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda f, o: deform_roi_pool(f, rois, o, (2, 2), SCALE, 2, 0.1), (features, offset)
    )


def test_deform_roi_pool_without_offsets_is_roi_align():
    features, rois = maps(torch.float64), torch.tensor(ROIS, dtype=torch.float64)
    actual = deform_roi_pool(features, rois, None, (3, 2), SCALE, 0, 0.1)
    expected = reference_align(features, rois, (3, 2), SCALE, 0, "avg", True)
    compare(actual, expected, features, torch.float64)
    assert deform_roi_pool(features, rois[:0], None, (3, 2), SCALE).shape == (0, 3, 3, 2)


def test_many_rois_are_done_in_batches(monkeypatch):
    from lth_core.openmmlab.compat.mmcv_ext import _regions

    features = maps(torch.float64)
    rois = torch.rand(60, 5, dtype=torch.float64) * 20
    rois[:, 3:] += rois[:, 1:3]
    rois[:, 0] = torch.randint(0, 2, (60,))
    together = [roi_align(features, rois, 2, SCALE, 0, "max"), roi_pool(features, rois, 2, SCALE)]
    monkeypatch.setattr(_regions, "_BATCH", 1)
    apart = [roi_align(features, rois, 2, SCALE, 0, "max"), roi_pool(features, rois, 2, SCALE)]
    for one, other in zip(together, apart, strict=True):
        assert torch.equal(one, other)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40))
def test_sweep(seed):
    torch.manual_seed(seed)
    height, width, high, wide = (int(n) for n in torch.randint(1, 9, (4,)))
    features = maps(torch.float64, 2, height, width)
    rois = (torch.rand(6, 5, dtype=torch.float64) - 0.2) * 40
    rois[:, 3:] = rois[:, 1:3] + (rois[:, 3:] + 8).abs()
    rois[:, 0] = torch.randint(0, 2, (6,))
    ratio, aligned = seed % 3, bool(seed % 2)
    for mode in ("avg", "max"):
        actual = roi_align(features, rois, (high, wide), SCALE, ratio, mode, aligned)
        expected = reference_align(features, rois, (high, wide), SCALE, ratio, mode, aligned)
        torch.testing.assert_close(actual, expected, **tolerance(torch.float64))
    actual = roi_pool(features, rois, (high, wide), SCALE)
    expected = reference_pool(features, rois, (high, wide), SCALE)
    torch.testing.assert_close(actual, expected, **tolerance(torch.float64))
