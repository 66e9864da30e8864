"""Point-wise spatial attention: from masks around each pixel to attention over the whole map."""

import torch
from torch import Tensor

__all__ = ["psamask_backward", "psamask_forward"]

_COLLECT = 0


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Lays the mask of each pixel over the map, centred on that pixel.

    Args:
        input: Shape (N, h_mask * w_mask, h_feature, w_feature).
        output: Shape (N, h_feature * w_feature, h_feature, w_feature); overwritten. With type 0
            the second axis names the pixel under the mask and the last two the mask's own pixel,
            with type 1 the other way round.
        psa_type: 0 collects, 1 distributes.
        num_: N.
        h_feature: Rows of the map.
        w_feature: Columns of the map.
        h_mask: Rows of a mask.
        w_mask: Columns of a mask.
        half_h_mask: Row of a mask's centre.
        half_w_mask: Column of a mask's centre.
    """
    element, covered = _elements(
        input.device, (h_feature, w_feature), (h_mask, w_mask), (half_h_mask, half_w_mask)
    )
    pixels = h_feature * w_feature
    laid = input.flatten(2).gather(1, element.expand(num_, -1, -1)) * covered
    output.copy_(_turn(laid, psa_type).reshape(num_, pixels, h_feature, w_feature))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Takes the gradient of each mask element back from where the element was laid.

    Args:
        grad_output: Shape (N, h_feature * w_feature, h_feature, w_feature).
        grad_input: Shape (N, h_mask * w_mask, h_feature, w_feature); added to.
        psa_type: As in the forward pass.
        num_: As in the forward pass.
        h_feature: As in the forward pass.
        w_feature: As in the forward pass.
        h_mask: As in the forward pass.
        w_mask: As in the forward pass.
        half_h_mask: As in the forward pass.
        half_w_mask: As in the forward pass.
    """
    element, covered = _elements(
        grad_output.device, (h_feature, w_feature), (h_mask, w_mask), (half_h_mask, half_w_mask)
    )
    laid = _turn(grad_output.flatten(2), psa_type) * covered
    total = torch.zeros_like(grad_input).flatten(2)
    total.scatter_add_(1, element.expand(num_, -1, -1), laid)
    grad_input.add_(total.view_as(grad_input))


def _turn(laid: Tensor, psa_type: int) -> Tensor:
    return laid if psa_type == _COLLECT else laid.transpose(1, 2)


def _elements(
    device: torch.device, size: tuple[int, int], mask: tuple[int, int], centre: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Which mask element of the second pixel lies over the first, and whether one does.

    Returns:
        Two tensors (H * W, H * W): int64 ``row * w_mask + column`` of the element, and bool.
    """
    rows, columns = (
        torch.arange(n, device=device)[:, None] - torch.arange(n, device=device) + half
        for n, half in zip(size, centre, strict=True)
    )
    row, column = rows[:, None, :, None], columns[None, :, None, :]
    covered = (row >= 0) & (row < mask[0]) & (column >= 0) & (column < mask[1])
    element = row.clamp(0, mask[0] - 1) * mask[1] + column.clamp(0, mask[1] - 1)
    pixels = size[0] * size[1]
    return element.reshape(pixels, pixels), covered.reshape(pixels, pixels)
