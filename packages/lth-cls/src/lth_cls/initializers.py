"""Published weights for single layers, those of a head or a neck.

A backbone's are loaded by :class:`lth_core.openmmlab.pretrained.PretrainedBackbone`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from lth_core.checkpoints import read_state
from lth_core.errors import CheckpointError
from lth_core.scope import is_twin, join_some, misfits, strays
from mmengine.logging import print_log
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn


@WEIGHT_INITIALIZERS.register_module()
class PretrainedLayers:
    """Loads single layers, those of a head or a neck, from a checkpoint.

    ``head=dict(..., init_cfg=dict(type='PretrainedLayers', checkpoint=..., layers={'fc': 'fc'}))``

    Args:
        checkpoint: Path of the file.
        layers: By a layer's name in the module its name in the file, or several that it may have
            in files of different origin. What stands before it (``module.encoder_q.``) is left
            out.

    Raises:
        CheckpointError: When the model is initialised: if the file is missing or cannot be read,
            or has no such layer, or one of another shape.
    """

    def __init__(self, checkpoint: str, layers: Mapping[str, str | Sequence[str]]) -> None:
        self.checkpoint = checkpoint
        self.layers = {
            layer: (names,) if isinstance(names, str) else tuple(names)
            for layer, names in layers.items()
        }

    def __call__(self, module: nn.Module) -> None:
        """Sets the layers' parameters and buffers, and leaves the rest of ``module``."""
        state = read_state(self.checkpoint)
        found = {
            layer: dict(_under(state, self._place(state, layer, names)))
            for layer, names in self.layers.items()
        }
        for layer, tensors in found.items():
            _load(module.get_submodule(layer), tensors, self.checkpoint, f"{layer}.")
        names = ", ".join(self.layers)
        print_log(f"lth: {self.checkpoint}: loaded {names}", logger="current")

    def _place(self, state: Mapping[str, Tensor], layer: str, names: Sequence[str]) -> str:
        """What stands before the layer's tensors in the file, with a dot at the end."""
        for name in names:
            places = [
                key.removesuffix("weight")
                for key in state
                if f".{key}".endswith(f".{name}.weight") and not is_twin(key)
            ]
            places.sort(key=lambda place: (len(place), place))
            copies = [dict(_under(state, place)) for place in places]
            # Robust models hold their network twice, by itself and inside of its attacker.
            if copies and all(_equal(copy, copies[0]) for copy in copies[1:]):
                return places[0]
            if places:
                raise CheckpointError(
                    f"{self.checkpoint} has several layers {name}: {join_some(places)}"
                )
        raise CheckpointError(
            f"{self.checkpoint} has no layer {' or '.join(names)} for {layer}; take the file as "
            "it was published (converted ones have no heads), or set this init_cfg to None to "
            "start the layer at random"
        )


def _under(state: Mapping[str, Tensor], place: str) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in state.items():
        if name.startswith(place):
            yield name[len(place) :], tensor


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(t, other[n]) for n, t in one.items())


def _load(module: nn.Module, tensors: Mapping[str, Tensor], path: str, where: str) -> None:
    """Sets all of ``module``; an error, and nothing set, if names or shapes differ."""
    state = module.state_dict()
    problems = misfits(state, tensors) + strays(state, tensors)
    if problems:
        raise CheckpointError(
            f"{path} does not fit the config's {type(module).__name__}: "
            f"{join_some(where + problem for problem in problems)}"
        )
    module.load_state_dict(tensors, strict=False)
