"""Smaller dense models from sparse ones: channels that carry nothing are removed.

Zeros spread over a layer save no time where kernels are dense. What does is a channel of which
nothing is left, and masks leave such channels:

- **An output whose filter is all zero is a constant map**: its bias, and after batch norm and
  activation another constant. It goes, and its share of the next layer's outputs becomes part of
  that layer's bias. If that layer pads with zeros, its share is a constant but for the border.
  Zero itself is no problem there; other constants are merged, each in proportion, into one channel
  that stays (:meth:`~lth_core.compaction.channels.Layer.carrier`), which is exact at the border.
- **An input that nobody reads** takes its producer along, and what only that one read, and so on.
- **A sum ties channels together.** A channel of a residual stream goes if all that write it write
  constants, or nobody reads it. A branch's zero filter alone does not free it, and is kept.
- **Grouped convolutions** lose whole groups (a depthwise one, single channels), inputs and outputs
  together. Their inputs and outputs stay or go as one, so constants beside them are kept.
- **Left as they are**: whatever passes a layer norm or group norm, attention, a split or slice, a
  transposed or deformable convolution, or any operator for which there is no rule; layers that
  share a weight; the model's outputs. Of every layer one channel stays, even if nothing is left of
  it, so a model that has collapsed keeps its modules.

All this holds in evaluation mode; a norm in training would take other statistics. Outputs are
compared before anything is returned.

Libraries for structured pruning, torch-pruning above all, find the channels that hang together and
cut them. They do not ask what a channel holds: that takes following constants through the same
graph (norms, activations, pools, borders), and where they are known, what to cut is an index into
each weight. So the graph here is torch's own (:func:`torch.export.export`), there is one of it, and
torch-pruning is what the tests compare with.
"""

from lth_core.compaction.compacting import (
    TOLERANCE,
    Change,
    Compacted,
    compact,
    largest_error,
    tensors,
)
from lth_core.compaction.files import load, save

__all__ = [
    "TOLERANCE",
    "Change",
    "Compacted",
    "compact",
    "largest_error",
    "load",
    "save",
    "tensors",
]
