"""The picture of ``lth weights show --plot``; needs matplotlib, which only this does."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure


def magnitudes(shares: np.ndarray, values: np.ndarray, name: str) -> bytes:
    """Sorted magnitudes on a logarithmic scale, machine precision marked (paper B, Fig. 6).

    Args:
        shares: Of the weights that are as small or smaller, ``(n,)``.
        values: Their magnitudes; zeros are drawn at the bottom.
        name: Of the file to be, whose ending says the format.
    """
    epsilon = float(np.finfo(np.float32).eps)
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    floor = 1e-12
    axes.plot(shares, np.maximum(values, floor), label="weights, sorted")
    axes.axhline(epsilon, color="grey", linestyle="--", label="machine precision")
    axes.set(xlabel="share of the weights", ylabel="magnitude", yscale="log", xlim=(0, 1))
    axes.set_ylim(floor)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=name.rpartition(".")[2], dpi=150)
    return buffer.getvalue()
