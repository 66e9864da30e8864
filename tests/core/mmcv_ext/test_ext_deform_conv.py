import mmcv
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import (
    DeformConv2dPack,
    ModulatedDeformConv2dPack,
    deform_conv2d,
    modulated_deform_conv2d,
)

GEOMETRIES = {
    "plain": {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "deform_groups": 1},
    "no padding": {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "deform_groups": 1},
    "groups": {"stride": 1, "padding": 1, "dilation": 1, "groups": 2, "deform_groups": 1},
    "deform groups": {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "deform_groups": 2},
    "all": {
        "stride": (2, 1),
        "padding": (1, 2),
        "dilation": (1, 2),
        "groups": 2,
        "deform_groups": 4,
    },
}


def tolerance(dtype):
    return {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def reference(x, offset, weight, mask, bias, stride, padding, dilation, groups, deform_groups):
    """Dense: every place reads all pixels through triangular weights; autograd does the rest."""
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    count, channels, height, width = x.shape
    kh, kw = weight.shape[2:]
    high, wide = offset.shape[2:]
    offset = offset.view(count, deform_groups, kh, kw, 2, high, wide)
    base_y = (torch.arange(high) * sh - ph)[:, None] + torch.zeros(1, wide)
    base_x = (torch.arange(wide) * sw - pw)[None, :] + torch.zeros(high, 1)
    rows, columns = torch.arange(height), torch.arange(width)
    seen = []
    for g in range(deform_groups):
        part = x[:, g * channels // deform_groups : (g + 1) * channels // deform_groups]
        taps = []
        for i in range(kh):
            for j in range(kw):
                y = base_y + i * dh + offset[:, g, i, j, 0]
                z = base_x + j * dw + offset[:, g, i, j, 1]
                inside = (y > -1) & (y < height) & (z > -1) & (z < width)
                low_y, low_z = y.detach().floor()[..., None], z.detach().floor()[..., None]
                frac_y, frac_z = y[..., None] - low_y, z[..., None] - low_z
                share_y = (rows == low_y) * (1 - frac_y) + (rows == low_y + 1) * frac_y
                share_z = (columns == low_z) * (1 - frac_z) + (columns == low_z + 1) * frac_z
                read = torch.einsum("nchw,nabh,nabw->ncab", part, share_y, share_z)
                read = torch.where(inside[:, None], read, 0)
                if mask is not None:
                    read = (
                        read
                        * mask.view(count, deform_groups, kh, kw, high, wide)[:, g, i, j][:, None]
                    )
                taps.append(read)
        seen.append(torch.stack(taps, dim=2))
    seen = torch.cat(seen, dim=1)
    out = []
    per_group, out_group = channels // groups, weight.size(0) // groups
    for g in range(groups):
        kernels = weight[g * out_group : (g + 1) * out_group].flatten(2)
        out.append(
            torch.einsum("nckab,ock->noab", seen[:, g * per_group : (g + 1) * per_group], kernels)
        )
    out = torch.cat(out, dim=1)
    return out if bias is None else out + bias[:, None, None]


def arguments(dtype, geometry, offsets="random", count=2, kernel=3, size=(6, 7)):
    (sh, sw), (ph, pw), (dh, dw) = (pair(geometry[k]) for k in ("stride", "padding", "dilation"))
    high = (size[0] + 2 * ph - dh * (kernel - 1) - 1) // sh + 1
    wide = (size[1] + 2 * pw - dw * (kernel - 1) - 1) // sw + 1
    places = geometry["deform_groups"] * kernel * kernel
    x = torch.randn(count, 4, *size, dtype=dtype)
    offset = torch.randn(count, places * 2, high, wide, dtype=dtype) * 2
    if offsets == "whole":
        offset = offset.round()
    elif offsets == "zero":
        offset = torch.zeros_like(offset)
    weight = torch.randn(6, 4 // geometry["groups"], kernel, kernel, dtype=dtype)
    mask = torch.rand(count, places, high, wide, dtype=dtype)
    bias = torch.randn(6, dtype=dtype)
    return [t.requires_grad_() for t in (x, offset, weight, mask, bias)]


def compare(actual, expected, leaves, dtype):
    torch.testing.assert_close(actual, expected, **tolerance(dtype))
    grad = torch.randn_like(expected)
    got = torch.autograd.grad(actual, leaves, grad)
    want = torch.autograd.grad(expected, leaves, grad)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, **tolerance(dtype))


@pytest.mark.parametrize("offsets", ["random", "whole", "zero"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_deform_conv2d(dtype, name, offsets):
    geometry = GEOMETRIES[name]
    x, offset, weight, _, _ = arguments(dtype, geometry, offsets)
    actual = deform_conv2d(x, offset, weight, *geometry.values())
    expected = reference(x, offset, weight, None, None, **geometry)
    compare(actual, expected, (x, offset, weight), dtype)


@pytest.mark.parametrize("offsets", ["random", "whole", "zero"])
@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("with_bias", [True, False])
def test_modulated_deform_conv2d(dtype, name, offsets, with_bias):
    geometry = GEOMETRIES[name]
    x, offset, weight, mask, bias = arguments(dtype, geometry, offsets)
    bias = bias if with_bias else None
    actual = modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry.values())
    expected = reference(x, offset, weight, mask, bias, **geometry)
    leaves = (x, offset, weight, mask) + ((bias,) if with_bias else ())
    compare(actual, expected, leaves, dtype)


def test_zero_offsets_are_an_ordinary_convolution():
    geometry = GEOMETRIES["plain"]
    x, offset, weight, mask, bias = arguments(torch.float64, geometry, "zero")
    expected = F.conv2d(x, weight, padding=1)
    torch.testing.assert_close(deform_conv2d(x, offset, weight, 1, 1), expected)
    ones = torch.ones_like(mask)
    torch.testing.assert_close(
        modulated_deform_conv2d(x, offset, ones, weight, bias, 1, 1),
        expected + bias.view(1, -1, 1, 1),
    )


def test_offsets_to_the_line_outside_the_map_have_no_slope():
    # In mmcv a place exactly one pixel outside has left the map; zero offsets put padding there.
    x = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    weight = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    offset = torch.zeros(1, 18, 2, 2, dtype=torch.float64, requires_grad=True)
    deform_conv2d(x, offset, weight, 1, 1).sum().backward()
    slope = offset.grad.view(3, 3, 2, 2, 2)
    assert not slope[0, :, :, 0].any()
    assert not slope[:, 0, :, :, 0].any()


@pytest.mark.parametrize("version", [1, 2])
def test_gradcheck(version):
    geometry = GEOMETRIES["all"]
    x, offset, weight, mask, bias = arguments(torch.float64, geometry, count=1, size=(3, 4))
    numbers = tuple(geometry.values())
    if version == 1:
        assert torch.autograd.gradcheck(
            lambda *leaves: deform_conv2d(*leaves, *numbers), (x, offset, weight)
        )
    else:
        assert torch.autograd.gradcheck(
            lambda *leaves: modulated_deform_conv2d(*leaves, *numbers),
            (x, offset, mask, weight, bias),
        )


def test_batch_larger_than_im2col_step():
    geometry = GEOMETRIES["deform groups"]
    x, offset, weight, _, _ = arguments(torch.float64, geometry, count=6)
    actual = deform_conv2d(x, offset, weight, *geometry.values(), False, 2)
    expected = reference(x, offset, weight, None, None, **geometry)
    compare(actual, expected, (x, offset, weight), torch.float64)


def test_arguments_that_are_not_contiguous():
    geometry = GEOMETRIES["all"]
    numbers = tuple(geometry.values())
    leaves = [
        leaf.detach().transpose(2, 3).contiguous().transpose(2, 3).requires_grad_()
        for leaf in arguments(torch.float64, geometry)[:4]
    ]
    x, offset, weight, mask = leaves
    actual = modulated_deform_conv2d(x, offset, mask, weight, None, *numbers)
    compare(actual, reference(*leaves, None, **geometry), leaves, torch.float64)
    actual = deform_conv2d(x, offset, weight, *numbers)
    expected = reference(x, offset, weight, None, None, **geometry)
    compare(actual, expected, leaves[:3], torch.float64)


def test_one_pixel_map():
    geometry = GEOMETRIES["plain"]
    x, offset, weight, mask, bias = arguments(torch.float64, geometry, size=(1, 1))
    actual = modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry.values())
    expected = reference(x, offset, weight, mask, bias, **geometry)
    compare(actual, expected, (x, offset, weight, mask, bias), torch.float64)


def test_the_scale_of_the_weight_gradient():
    geometry = GEOMETRIES["plain"]
    x, offset, weight, _, _ = arguments(torch.float64, geometry)
    grad = torch.randn(2, 6, 6, 7, dtype=torch.float64)
    want = torch.autograd.grad(deform_conv2d(x, offset, weight, 1, 1), weight, grad)[0]
    got, space = torch.ones_like(weight), x.new_empty(0)
    numbers = {"kW": 3, "kH": 3, "dW": 1, "dH": 1, "padW": 1, "padH": 1, "group": 1}
    numbers |= {"dilationW": 1, "dilationH": 1, "deformable_group": 1, "im2col_step": 2}
    mmcv._ext.deform_conv_backward_parameters(
        x, offset, grad, got, space, space, scale=0.5, **numbers
    )
    torch.testing.assert_close(got, 1 + want / 2)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_float32(half):
    geometry = GEOMETRIES["plain"]
    x, offset, weight, mask, bias = (
        t.detach().to(half).requires_grad_() for t in arguments(torch.float32, geometry)
    )
    out = modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry.values())
    wide = [t.float() for t in (x, offset, weight, mask, bias)]
    exact = reference(*wide, **geometry)
    assert out.dtype == half
    torch.testing.assert_close(out, exact.to(half), rtol=1e-2, atol=1e-2)
    out.sum().backward()
    assert x.grad.dtype == half


def test_layers_of_mmcv_train_from_their_initial_state():
    x = torch.randn(2, 4, 5, 5)
    for layer in (
        DeformConv2dPack(4, 3, 3, padding=1),
        ModulatedDeformConv2dPack(4, 3, 3, padding=1),
    ):
        layer(x).square().sum().backward()
        assert layer.weight.grad.abs().sum() > 0
        assert layer.conv_offset.weight.grad.abs().sum() > 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(60))
def test_sweep(seed):
    torch.manual_seed(seed)
    draw = lambda low, high: int(torch.randint(low, high, ()))  # noqa: E731
    geometry = {
        "stride": (draw(1, 4), draw(1, 4)),
        "padding": (draw(0, 4), draw(0, 4)),
        "dilation": (draw(1, 3), draw(1, 3)),
        "groups": 2 ** draw(0, 2),
        "deform_groups": 2 ** draw(0, 3),
    }
    offsets = ("random", "whole", "zero")[seed % 3]
    size = (draw(5, 9), draw(5, 9))
    x, offset, weight, mask, bias = arguments(
        torch.float64, geometry, offsets, draw(1, 4), size=size
    )
    actual = modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry.values())
    expected = reference(x, offset, weight, mask, bias, **geometry)
    compare(actual, expected, (x, offset, weight, mask, bias), torch.float64)
    actual = deform_conv2d(x, offset, weight, *geometry.values())
    expected = reference(x, offset, weight, None, None, **geometry)
    compare(actual, expected, (x, offset, weight), torch.float64)
