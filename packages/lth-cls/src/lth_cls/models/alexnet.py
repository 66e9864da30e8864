"""AlexNet up to its penultimate layer."""

from __future__ import annotations

from mmpretrain.models.backbones import AlexNet
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class AlexNetTrunk(AlexNet):
    """mmpretrain's AlexNet without the last of its three fully connected layers.

    That one is the head's, as with every other backbone, so that the others can be pruned and the
    head cannot (paper B prunes all but the last layer). Names are torchvision's.
    """

    classifier: nn.Sequential

    def __init__(self) -> None:
        super().__init__(num_classes=1)
        # Up to the ReLU of the second one: 4096 features.
        self.classifier = self.classifier[:-1]

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The features of images.

        Args:
            x: ``(N, 3, 224, 224)``.

        Returns:
            One tensor, ``(N, 4096)``.
        """
        return (self.classifier(self.features(x).flatten(1)),)
