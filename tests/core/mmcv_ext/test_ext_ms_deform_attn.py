import math

import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

SHAPES = [(4, 5), (2, 3), (1, 1)]


def tolerance(dtype):
    return {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-10}


def inputs(dtype, count=2, heads=2, width=3, queries=4, points=2, shapes=SHAPES):
    pixels = sum(h * w for h, w in shapes)
    value = torch.randn(count, pixels, heads, width, dtype=dtype, requires_grad=True)
    at = torch.rand(count, queries, heads, len(shapes), points, 2, dtype=dtype) * 1.6 - 0.3
    weight = torch.rand(count, queries, heads, len(shapes), points, dtype=dtype)
    sizes = torch.tensor(shapes)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), sizes.prod(1).cumsum(0)[:-1]])
    return value, sizes, starts, at.requires_grad_(), weight.requires_grad_()


def reference(value, sizes, starts, at, weight):
    """One number after the other; autograd does the rest."""
    count, _, heads, width = value.shape
    _, queries, _, levels, points, _ = at.shape
    rows = []
    for n in range(count):
        for q in range(queries):
            for m in range(heads):
                total = value[n, 0, m] * 0
                for level in range(levels):
                    height, wide = sizes[level].tolist()
                    for k in range(points):
                        x = at[n, q, m, level, k, 0] * wide - 0.5
                        y = at[n, q, m, level, k, 1] * height - 0.5
                        if not (-1 < y < height and -1 < x < wide):
                            continue
                        y0, x0 = math.floor(y.item()), math.floor(x.item())
                        for row, share_y in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
                            for column, share_x in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
                                if 0 <= row < height and 0 <= column < wide:
                                    pixel = value[n, starts[level] + row * wide + column, m]
                                    share = share_y * share_x * weight[n, q, m, level, k]
                                    total = total + share * pixel
                rows.append(total)
    return torch.stack(rows).view(count, queries, heads * width)


def compare(args, dtype, step=64):
    actual = MultiScaleDeformableAttnFunction.apply(*args, step)
    expected = reference(*args)
    torch.testing.assert_close(actual, expected, **tolerance(dtype))
    leaves = (args[0], args[3], args[4])
    grad = torch.randn_like(expected)
    got = torch.autograd.grad(actual, leaves, grad)
    want = torch.autograd.grad(expected, leaves, grad)
    for one, other in zip(got, want, strict=True):
        assert other.abs().sum() > 0
        torch.testing.assert_close(one, other, **tolerance(dtype))


def test_forward_and_backward(dtype):
    compare(inputs(dtype), dtype)


def test_batch_larger_than_im2col_step():
    compare(inputs(torch.float64, count=4, queries=2), torch.float64, step=2)


def test_levels_are_found_by_their_start():
    value, sizes, starts, at, weight = inputs(torch.float64)
    padded = torch.cat([value[:, :20], torch.full_like(value[:, :7], 9e9), value[:, 20:]], dim=1)
    starts = starts + torch.tensor([0, 7, 7])
    actual = MultiScaleDeformableAttnFunction.apply(padded, sizes, starts, at, weight, 64)
    torch.testing.assert_close(actual, reference(padded, sizes, starts, at, weight))


def test_places_on_the_line_outside_have_no_slope():
    # Exactly one pixel outside on either side; 4 and 0.125 are exact in binary.
    value, sizes, starts, _, _ = inputs(torch.float64, 1, 1, 2, 1, 4, shapes=[(4, 4)])
    at = torch.tensor([[-0.125, 0.5], [0.5, -0.125], [1.125, 0.5], [0.5, 1.125]])
    at = at.double().view(1, 1, 1, 1, 4, 2).requires_grad_()
    weight = torch.ones(1, 1, 1, 1, 4, dtype=torch.float64, requires_grad=True)
    out = MultiScaleDeformableAttnFunction.apply(value, sizes, starts, at, weight, 64)
    out.sum().backward()
    assert not out.any()
    assert not at.grad.any()
    assert not weight.grad.any()


def test_gradcheck():
    value, sizes, starts, at, weight = inputs(torch.float64, 1, 1, 2, 2, 2, shapes=[(3, 2), (1, 1)])
    assert torch.autograd.gradcheck(
        lambda v, a, w: MultiScaleDeformableAttnFunction.apply(v, sizes, starts, a, w, 64),
        (value, at, weight),
    )


def test_half_precision_is_rounded_float32():
    value, sizes, starts, at, weight = (
        t.detach().half() if t.is_floating_point() else t for t in inputs(torch.float32)
    )
    leaves = [t.requires_grad_() for t in (value, at, weight)]
    out = MultiScaleDeformableAttnFunction.apply(value, sizes, starts, at, weight, 64)
    exact = reference(value.float(), sizes, starts, at.float(), weight.float())
    assert out.dtype == torch.float16
    torch.testing.assert_close(out, exact.half(), rtol=1e-2, atol=1e-2)
    for leaf, grad in zip(leaves, torch.autograd.grad(out.sum(), leaves), strict=True):
        assert grad.dtype == torch.float16
        assert grad.shape == leaf.shape


def test_the_layer_of_mmcv_agrees_with_the_operator():
    # On a CPU the layer takes a form of its own; this pins the two to the same meaning.
    layer = MultiScaleDeformableAttention(8, 2, 3, 2, batch_first=True).eval()
    _, sizes, starts, _, _ = inputs(torch.float32)
    memory = torch.randn(2, 27, 8)
    query, points = torch.randn(2, 4, 8), torch.rand(2, 4, 3, 2)
    options = {"reference_points": points, "spatial_shapes": sizes, "level_start_index": starts}
    expected = layer(query, value=memory, **options)
    seen = {}
    layer.output_proj.register_forward_hook(lambda _, args, __: seen.update(out=args[0]))
    layer(query, value=memory, **options)
    value = layer.value_proj(memory).view(2, 27, 2, 4)
    shift = layer.sampling_offsets(query).view(2, 4, 2, 3, 2, 2)
    at = points[:, :, None, :, None] + shift / sizes.flip(1)[:, None]
    weight = layer.attention_weights(query).view(2, 4, 2, 6).softmax(-1).view(2, 4, 2, 3, 2)
    actual = MultiScaleDeformableAttnFunction.apply(value, sizes, starts, at, weight, 64)
    torch.testing.assert_close(actual, seen["out"], rtol=1e-4, atol=1e-5)
    assert expected.shape == query.shape


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_sweep(seed):
    torch.manual_seed(seed)
    levels = int(torch.randint(1, 5, ()))
    shapes = [tuple(pair) for pair in torch.randint(1, 6, (levels, 2)).tolist()]
    compare(inputs(torch.float64, queries=3, points=3, shapes=shapes), torch.float64)
