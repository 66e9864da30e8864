import math

import mmcv
import pytest
import torch
from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss

REDUCE = {"none": lambda t: t, "mean": lambda t: t.sum() / len(t), "sum": torch.sum}


def tolerance(dtype):
    return {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-11}


def sigmoid_reference(logits, target, gamma, alpha, weight):
    """From the definition, with log-sigmoids that autograd can follow."""
    rows = []
    for n, label in enumerate(target.tolist()):
        row = []
        for c, x in enumerate(logits[n]):
            p = torch.sigmoid(x)
            if c == label:
                loss = -alpha * (1 - p) ** gamma * torch.nn.functional.logsigmoid(x)
            else:
                loss = -(1 - alpha) * p**gamma * torch.nn.functional.logsigmoid(-x)
            row.append(loss)
        factor = weight[label] if weight is not None and label < len(weight) else 1
        rows.append(torch.stack(row) * factor)
    return torch.stack(rows)


def softmax_reference(logits, target, gamma, alpha, weight):
    rows = []
    for n, label in enumerate(target.tolist()):
        if label < 0:
            rows.append(logits[n].sum() * 0)
            continue
        log_p = torch.log_softmax(logits[n], 0)[label]
        factor = weight[label] if weight is not None else 1
        rows.append(-alpha * (1 - log_p.exp()) ** gamma * log_p * factor)
    return torch.stack(rows)


def compare(actual, expected, logits, dtype):
    torch.testing.assert_close(actual, expected, **tolerance(dtype))
    grad = torch.randn_like(expected) if expected.dim() != 1 else torch.ones_like(expected)
    got = torch.autograd.grad(actual, logits, grad)[0]
    want = torch.autograd.grad(expected, logits, grad)[0]
    assert want.abs().sum() > 0
    torch.testing.assert_close(got, want, **tolerance(dtype))


@pytest.mark.parametrize("reduction", REDUCE)
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.75)])
def test_sigmoid_focal_loss(dtype, gamma, alpha, weighted, reduction):
    logits = (torch.randn(7, 4, dtype=dtype) * 3).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 4, 4, 1])
    weight = torch.rand(4, dtype=dtype) + 0.5 if weighted else None
    actual = sigmoid_focal_loss(logits, target, gamma, alpha, weight, reduction)
    expected = REDUCE[reduction](sigmoid_reference(logits, target, gamma, alpha, weight))
    compare(actual, expected, logits, dtype)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.75)])
def test_softmax_focal_loss(dtype, gamma, alpha, weighted, reduction):
    logits = torch.randn(6, 4, dtype=dtype, requires_grad=True)
    target = torch.tensor([0, 1, 2, 3, -1, 1])
    weight = torch.rand(4, dtype=dtype) + 0.5 if weighted else None
    actual = softmax_focal_loss(logits, target, gamma, alpha, weight, reduction)
    expected = REDUCE[reduction](softmax_reference(logits, target, gamma, alpha, weight))
    compare(actual, expected, logits, dtype)


def test_softmax_focal_loss_without_reduction():
    logits, target = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, -1, 0])
    actual = softmax_focal_loss(logits, target, 2.0, 0.25, None, "none")
    torch.testing.assert_close(actual, softmax_reference(logits, target, 2.0, 0.25, None))


def test_gradcheck():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 3, 2, 1])
    assert torch.autograd.gradcheck(
        lambda x: sigmoid_focal_loss(x, target, 2.0, 0.25, None, "none"), logits
    )
    target = torch.tensor([0, -1, 2, 1])
    assert torch.autograd.gradcheck(
        lambda x: softmax_focal_loss(x, target, 2.0, 0.25, None, "sum"), logits
    )


def test_certain_mistakes_are_bounded_by_the_smallest_float():
    # A float32 probability of exactly one has no logarithm; mmcv takes that of FLT_MIN instead.
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0]), 2.0, 0.25, None, "none")
    bound = -math.log(1.1754943508222875e-38)
    assert loss.tolist()[0] == pytest.approx([0.25 * bound, 0.75 * bound])
    loss.sum().backward()
    assert logits.grad.isfinite().all()


def test_no_rows():
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, "sum")
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == (0, 4)
    labels = torch.zeros(0, dtype=torch.long)
    out = torch.empty(0)
    mmcv._ext.softmax_focal_loss_forward(torch.zeros(0, 4), labels, out, out, 2.0, 0.25)


def test_classes_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"class 5.*largest here is 4"):
        sigmoid_focal_loss(torch.zeros(2, 4), torch.tensor([0, 5]), 2.0, 0.25)
    with pytest.raises(ValueError, match=r"class 4.*largest here is 3"):
        softmax_focal_loss(torch.zeros(2, 4), torch.tensor([0, 4]), 2.0, 0.25)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_float32(half):
    logits, target = torch.randn(5, 3).to(half), torch.tensor([0, 1, 2, 3, 3])
    out = sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "none")
    exact = sigmoid_reference(logits.float(), target, 2.0, 0.25, None)
    assert out.dtype == half
    torch.testing.assert_close(out, exact.to(half), rtol=1e-2, atol=1e-3)
