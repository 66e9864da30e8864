"""Convolution at chosen places only."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["masked_col2im_forward", "masked_im2col_forward"]


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Collects the pixels under the kernel at each chosen place.

    Args:
        im: Shape (1, C, H, W).
        mask_h_idx: Rows of the places, int64 of shape (M,).
        mask_w_idx: Columns of the places, int64 of shape (M,).
        col: Shape (C * kernel_h * kernel_w, M); overwritten.
        kernel_h: Height of the kernel.
        kernel_w: Width of the kernel.
        pad_h: Rows of zeros above and below.
        pad_w: Columns of zeros left and right.
    """
    # Places may be anywhere on the map, however little padding there is behind it.
    padded = F.pad(im[0], (pad_w, kernel_w, pad_h, kernel_h))
    rows = torch.arange(kernel_h, device=im.device)[:, None, None] + mask_h_idx
    columns = torch.arange(kernel_w, device=im.device)[:, None] + mask_w_idx
    col.copy_(padded[:, rows, columns].view_as(col))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Puts results back to their places.

    Args:
        col: Shape (channels, M).
        mask_h_idx: Rows of the places, int64 of shape (M,).
        mask_w_idx: Columns of the places, int64 of shape (M,).
        im: Shape (1, channels, height, width); overwritten at the places.
        height: Rows of ``im``.
        width: Columns of ``im``.
        channels: Channels of ``im``.
    """
    im[0][:, mask_h_idx, mask_w_idx] = col.to(im.dtype)
