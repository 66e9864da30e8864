"""Non-maximum suppression: greedy, soft, and greedy with the groups it forms."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.ops import nms as torchvision_nms

__all__ = ["nms", "nms_match", "softnms"]

_NAIVE, _LINEAR, _GAUSSIAN = range(3)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Keeps the boxes that no better-scored kept box overlaps by more than a threshold.

    Args:
        boxes: Shape (N, 4) as (x1, y1, x2, y2).
        scores: Shape (N,).
        iou_threshold: A box is dropped if its IoU with a kept one is greater.
        offset: 0, or 1 where x2 and y2 name the last pixel inside the box.

    Returns:
        Indices of the kept boxes, int64 of shape (K,), by falling score.
    """
    if boxes.numel() == 0:
        return torch.empty(0, dtype=torch.long, device=boxes.device)
    # torchvision's own sort is stable. mmcv's is not, so that among many equal scores it decides
    # which boxes stay; in its order, torchvision leaves them as they are.
    order = _by_score(scores)
    boxes, scores = boxes[order], scores[order]
    if boxes.dtype != torch.float64:
        boxes, scores = boxes.float(), scores.float()
        # mmcv compares in float32, so that an IoU of exactly 0.3 is not greater than 0.3.
        # torchvision takes the threshold in double precision, where float32(0.3) > 0.3.
        iou_threshold = float(np.float32(iou_threshold))
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return order[torchvision_nms(boxes, scores.to(boxes.dtype), iou_threshold)]


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lowers the scores of boxes by their overlap with better ones. CPU only, as in mmcv.

    Args:
        boxes: Shape (N, 4) as (x1, y1, x2, y2).
        scores: Shape (N,).
        dets: Shape (N, 5). Its first K rows are overwritten with the boxes that stay and their
            new scores, by falling score; the rest is left without meaning.
        iou_threshold: Overlap from which methods 0 and 1 act.
        sigma: Width of method 2.
        min_score: A box whose score falls below is dropped.
        method: 0 drops, 1 scales by ``1 - iou``, 2 scales by ``exp(-iou² / sigma)``.
        offset: 0, or 1 where x2 and y2 name the last pixel inside the box.

    Returns:
        Indices of the boxes that stay, int64 of shape (K,), in the order of ``dets``.
    """
    if boxes.numel() == 0:
        return torch.empty(0, dtype=torch.long)
    # Which of two equal scores is first depends on where earlier steps have moved the boxes, so
    # the moves are mmcv's: the winner trades places, a dropped box is replaced by the last one.
    # NumPy, since there are thousands of small steps and each costs less there.
    box = boxes.detach().numpy().copy()
    score = scores.detach().numpy().astype(box.dtype, copy=True)
    index = np.arange(len(box))
    threshold, width = box.dtype.type(iou_threshold), box.dtype.type(sigma)
    count, start = len(box), 0
    while start < count:
        best = start + _first_largest(score[start:count])
        for values in (box, score, index):
            values[[start, best]] = values[[best, start]]
        rest = slice(start + 1, count)
        iou = _iou_with(box[start], box[rest], offset)
        if method == _NAIVE:
            score[rest] *= ~(iou >= threshold)
        elif method == _LINEAR:
            score[rest] *= np.where(iou >= threshold, 1 - iou, 1)
        elif method == _GAUSSIAN:
            score[rest] *= np.exp(-(iou * iou) / width)
        dropped = score[rest] < min_score
        count -= int(dropped.sum())
        holes = start + 1 + np.flatnonzero(dropped)
        holes = holes[holes < count]
        tail = np.flatnonzero(~dropped)[::-1][: len(holes)] + start + 1
        for values in (box, score, index):
            values[holes] = values[tail]
        start += 1
    kept = np.concatenate([box[:count], score[:count, None]], axis=1)
    dets[:count] = torch.from_numpy(kept).to(dets.dtype)
    return torch.from_numpy(index[:count].copy())


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups boxes with the better-scored box that suppresses them. CPU only, as in mmcv.

    Args:
        dets: Shape (N, 5) as (x1, y1, x2, y2, score).
        iou_threshold: A box joins a group if its IoU with the group's first is at least this.

    Returns:
        One list of indices per kept box: that box, then those it suppresses, by falling score.
    """
    order = _by_score(dets[:, 4].detach().contiguous()).numpy()
    box = dets[:, :4].detach().numpy()
    threshold = box.dtype.type(iou_threshold)
    groups = []
    while len(order):
        first, order = order[0], order[1:]
        joins = _iou_with(box[first], box[order], offset=0) >= threshold
        groups.append([int(first), *order[joins].tolist()])
        order = order[~joins]
    return groups


def _by_score(scores: Tensor) -> Tensor:
    """Indices by falling score, equal ones in the order of PyTorch's unstable sort, as in mmcv."""
    return scores.sort(dim=0, descending=True).indices


def _first_largest(scores: npt.NDArray) -> int:
    """Where a search that keeps what nothing exceeds ends, which NaN never does."""
    best = int(np.argmax(scores))
    if np.isnan(scores[best]):  # NumPy takes NaN for the largest number
        return 0 if np.isnan(scores[0]) else int(np.nanargmax(scores))
    return best


def _iou_with(one: npt.NDArray, many: npt.NDArray, offset: int) -> npt.NDArray:
    """IoU of a box (4,) with boxes (M, 4); NaN for two boxes without area, as in mmcv."""
    size = np.minimum(one[2:], many[:, 2:]) - np.maximum(one[:2], many[:, :2]) + offset
    inter = np.maximum(size, 0).prod(axis=1)
    area = (one[2:] - one[:2] + offset).prod()
    areas = (many[:, 2:] - many[:, :2] + offset).prod(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return inter / (area + areas - inter)
