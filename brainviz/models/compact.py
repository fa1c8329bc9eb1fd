"""AlexNetCompact: a small AlexNet for the demo's 64-pixel pictures, with torchvision's AlexNet's layer names."""

from __future__ import annotations

import torch
from torch import nn

#: Pixels on a side of the pictures it was trained on.
COMPACT_INPUT_SIZE = 64


class AlexNetCompact(nn.Module):
    """AlexNet in small: the same kinds of layers under the same names.

    ``features.0`` ... ``features.12`` and ``classifier.0`` ... ``classifier.6``. The last pooling moves by one instead
    of two, so that `features.12` keeps 5 x 5 places of a 64-pixel picture.

    Parameters
    ----------
    n_classes : int
        Number of logits.
    dropout : float
        Share of units dropped before the first two linear layers.

    References
    ----------
    Krizhevsky, Sutskever & Hinton 2012, NeurIPS 25, in the form of torchvision's `alexnet`.
    """

    def __init__(self, n_classes: int = 80, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 24, kernel_size=7, stride=2, padding=3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(24, 48, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(48, 96, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(96, 64, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=1),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((5, 5))
        self.classifier = nn.Sequential(
            nn.Dropout(p=dropout),
            nn.Linear(64 * 5 * 5, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(p=dropout),
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, n_classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits.

        Parameters
        ----------
        images : (B, 3, s, s) float tensor
            Pictures normalised with ImageNet's mean and standard deviation, as for torchvision's networks.

        Returns
        -------
        (B, n_classes) float tensor
        """
        logits: torch.Tensor = self.classifier(torch.flatten(self.avgpool(self.features(images)), 1))
        return logits
