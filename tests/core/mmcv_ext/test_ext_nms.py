import math

import mmcv
import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms, nms_match, soft_nms


def iou(a, b, offset=0):
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, 0)
    areas = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union else math.nan


def by_score(scores):
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def greedy(boxes, scores, threshold, offset=0, order=None):
    kept = []
    for i in order or by_score(scores):
        if not any(iou(boxes[k], boxes[i], offset) > threshold for k in kept):
            kept.append(i)
    return kept


def soft(boxes, scores, threshold, sigma, min_score, method, offset=0):
    """Step by step as the compiled operator goes, moves included."""
    rows = [[list(b), s, i] for i, (b, s) in enumerate(zip(boxes, scores, strict=True))]
    count, start = len(rows), 0
    while start < count:
        best = start
        for i in range(start + 1, count):
            if rows[i][1] > rows[best][1]:
                best = i
        rows[start], rows[best] = rows[best], rows[start]
        i = start + 1
        while i < count:
            overlap = iou(rows[start][0], rows[i][0], offset)
            if method == "gaussian":
                rows[i][1] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                rows[i][1] *= 0 if method == "naive" else 1 - overlap
            if rows[i][1] < min_score:
                rows[i] = list(rows[count - 1])
                count -= 1
            else:
                i += 1
        start += 1
    return rows[:count]


def random_boxes(count, dtype=torch.float64, size=40):
    corner = torch.rand(count, 2, dtype=dtype) * size
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, dtype=dtype) * size / 2], dim=1)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_nms(dtype, offset, threshold):
    boxes, scores = random_boxes(60, dtype, size=6), torch.rand(60, dtype=dtype)
    dets, kept = nms(boxes, scores, threshold, offset=offset)
    expected = greedy(boxes.tolist(), scores.tolist(), threshold, offset)
    assert 0 < len(expected) < 60
    assert kept.tolist() == expected
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[expected])


def test_nms_takes_the_first_of_equal_scores():
    boxes = torch.tensor([[0, 0, 4, 4], [1, 1, 5, 5], [0, 0, 4, 4], [20, 20, 24, 24.0]])
    assert nms(boxes, torch.ones(4), 0.3)[1].tolist() == [0, 3]


def test_many_equal_scores_come_in_the_order_of_an_unstable_sort():
    # As a compiled mmcv has them. Below 17 numbers PyTorch's sort happens to be stable.
    boxes, scores = random_boxes(80, size=15), (torch.rand(80) * 3).round() / 4
    order = scores.sort(descending=True).indices.tolist()
    assert order != by_score(scores.tolist())
    kept = nms(boxes.float(), scores, 0.3)[1]
    assert kept.tolist() == greedy(boxes.float().tolist(), scores.tolist(), 0.3, order=order)
    firsts = [int(group[0]) for group in nms_match(torch.cat([boxes, scores[:, None]], 1), 0.3)]
    assert firsts == greedy(boxes.tolist(), scores.tolist(), 0.3, order=order)


@pytest.mark.parametrize("threshold", [0.3, 0.7, 0.1, 0.9])
def test_nms_keeps_an_overlap_that_equals_the_threshold(threshold):
    # Boxes of ten pixels and of ten times the threshold: their IoU is the threshold itself.
    boxes = torch.tensor([[0, 0, 10, 1], [0, 0, round(threshold * 10), 1]], dtype=torch.float32)
    assert nms(boxes, torch.tensor([0.9, 0.8]), threshold)[1].tolist() == [0, 1]
    assert nms(boxes, torch.tensor([0.9, 0.8]), threshold - 1e-3)[1].tolist() == [0]
    inclusive = boxes - torch.tensor([0, 0, 1, 1])
    assert nms(inclusive, torch.tensor([0.9, 0.8]), threshold, offset=1)[1].tolist() == [0, 1]


def test_nms_without_boxes_and_with_boxes_without_area():
    dets, kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.long
    flat = torch.tensor([[3, 3, 3, 3], [3, 3, 3, 3.0]])
    assert nms(flat, torch.tensor([0.1, 0.2]), 0.5)[1].tolist() == [1, 0]


def test_nms_score_threshold_max_num_and_numpy():
    boxes, scores = random_boxes(30).float().numpy(), torch.rand(30).numpy()
    dets, kept = nms(boxes, scores, 0.5, score_threshold=0.4, max_num=3)
    above = [i for i in range(30) if scores[i] > 0.4]
    expected = greedy(boxes[above].tolist(), scores[above].tolist(), 0.5)[:3]
    assert isinstance(kept, np.ndarray)
    assert kept.tolist() == [above[i] for i in expected]
    assert dets.shape == (3, 5)


def test_nms_of_half_precision_boxes():
    boxes, scores = random_boxes(30).half(), torch.rand(30).half()
    assert nms(boxes, scores, 0.5)[1].tolist() == greedy(boxes.tolist(), scores.tolist(), 0.5)


@pytest.mark.parametrize("split_thr", [10000, 10])
@pytest.mark.parametrize("kind", ["nms", "soft_nms"])
def test_batched_nms_keeps_classes_apart(split_thr, kind):
    boxes, scores = random_boxes(50, size=10), torch.rand(50, dtype=torch.float64)
    labels = torch.randint(0, 4, (50,))
    config = {"type": kind, "iou_threshold": 0.4, "split_thr": split_thr}
    dets, kept = batched_nms(boxes, scores, labels, config)
    expected = {}
    for label in range(4):
        own = (labels == label).nonzero().squeeze(1).tolist()
        own_boxes, own_scores = boxes[own].tolist(), scores[own].tolist()
        if kind == "nms":
            expected |= {own[i]: own_scores[i] for i in greedy(own_boxes, own_scores, 0.4)}
        else:
            left = soft(own_boxes, own_scores, 0.4, 0.5, 1e-3, "linear")
            expected |= {own[i]: score for _, score, i in left}
    order = sorted(expected, key=lambda i: -expected[i])
    assert kept.tolist() == order
    assert torch.equal(dets[:, :4], boxes[order])
    want = torch.tensor([expected[i] for i in order], dtype=torch.float64)
    torch.testing.assert_close(dets[:, 4], want)


def test_batched_nms_class_agnostic_equals_nms():
    boxes, scores = random_boxes(40, size=10), torch.rand(40, dtype=torch.float64)
    labels = torch.randint(0, 4, (40,))
    config = {"type": "nms", "iou_threshold": 0.4}
    kept = batched_nms(boxes, scores, labels, config, class_agnostic=True)[1]
    assert kept.tolist() == greedy(boxes.tolist(), scores.tolist(), 0.4)
    assert len(batched_nms(boxes, scores, labels, config)[1]) > len(kept)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("min_score", [1e-3, 0.2])
def test_soft_nms(dtype, method, offset, min_score):
    boxes, scores = random_boxes(40, dtype, size=15), torch.rand(40, dtype=dtype)
    dets, kept = soft_nms(boxes, scores, 0.3, 0.5, min_score, method, offset)
    expected = soft(boxes.tolist(), scores.tolist(), 0.3, 0.5, min_score, method, offset)
    assert any(score != scores[i].item() for _, score, i in expected) or len(expected) < 40
    assert kept.tolist() == [index for _, _, index in expected]
    assert torch.equal(dets[:, :4], boxes[kept])
    want = torch.tensor([score for _, score, _ in expected], dtype=dtype)
    torch.testing.assert_close(dets[:, 4], want)


def test_soft_nms_order_of_equal_scores_follows_the_moves():
    corners = torch.randint(0, 6, (60, 2)).double()
    boxes = torch.cat([corners, corners + torch.randint(2, 5, (60, 2))], dim=1)
    scores = torch.randint(1, 4, (60,)).double() / 4
    kept = soft_nms(boxes, scores, 0.3, 0.5, 0.2, "linear")[1]
    expected = soft(boxes.tolist(), scores.tolist(), 0.3, 0.5, 0.2, "linear")
    assert kept.tolist() == [index for _, _, index in expected]


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms_of_boxes_without_area(method):
    # Their overlap with one another is not a number, and then neither is a score.
    boxes = random_boxes(40, size=3)
    boxes[::2, 2:] = boxes[::2, :2]
    scores = torch.rand(40, dtype=torch.float64)
    dets, kept = soft_nms(boxes, scores, 0.3, 0.5, 0.05, method)
    expected = soft(boxes.tolist(), scores.tolist(), 0.3, 0.5, 0.05, method)
    assert kept.tolist() == [index for _, _, index in expected]
    want = torch.tensor([score for _, score, _ in expected], dtype=torch.float64)
    torch.testing.assert_close(dets[:, 4], want, equal_nan=True)


def test_soft_nms_writes_into_the_tensor_it_is_given():
    boxes, scores = torch.tensor([[0, 0, 2, 2], [5, 5, 9, 9.0]]), torch.tensor([0.2, 0.6])
    dets = torch.full((2, 5), -1.0)
    kept = mmcv._ext.softnms(boxes, scores, dets, 0.3, 0.5, 1e-3, 1, 0)
    assert kept.tolist() == [1, 0]
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[[1, 0]])
    assert scores.tolist() == pytest.approx([0.2, 0.6])


def test_soft_nms_without_boxes():
    dets, kept = soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_nms_match(dtype, threshold):
    boxes, scores = random_boxes(40, dtype, size=15), torch.rand(40, dtype=dtype)
    groups = nms_match(torch.cat([boxes, scores[:, None]], dim=1), threshold)
    expected, left = [], by_score(scores.tolist())
    rows = boxes.tolist()
    while left:
        joins = [i for i in left[1:] if iou(rows[left[0]], rows[i]) >= threshold]
        expected.append([left[0], *joins])
        left = [i for i in left[1:] if i not in joins]
    assert [group.tolist() for group in groups] == expected
    assert max(map(len, expected)) > 1


def test_nms_match_joins_at_the_threshold_and_takes_nothing():
    pair = np.array([[0, 0, 10, 1, 0.9], [0, 0, 3, 1, 0.8]], dtype=np.float32)
    assert [group.tolist() for group in nms_match(pair, 0.3)] == [[0, 1]]
    assert nms_match(torch.zeros(0, 5), 0.3) == []


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100))
def test_sweep(seed):
    torch.manual_seed(seed)
    count = int(torch.randint(1, 150, ()))
    boxes = random_boxes(count, size=float(torch.randint(3, 60, ())))
    scores, threshold = torch.rand(count, dtype=torch.float64), float(torch.rand(()))
    for offset in (0, 1):
        kept = nms(boxes, scores, threshold, offset=offset)[1]
        assert kept.tolist() == greedy(boxes.tolist(), scores.tolist(), threshold, offset)
        for method in ("naive", "linear", "gaussian"):
            kept = soft_nms(boxes, scores, threshold, 0.5, 0.05, method, offset)[1]
            want = soft(boxes.tolist(), scores.tolist(), threshold, 0.5, 0.05, method, offset)
            assert kept.tolist() == [index for _, _, index in want]
