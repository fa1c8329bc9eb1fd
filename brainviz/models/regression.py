"""The regression baseline: a backbone and one linear map from its logits to every vertex's response."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brainviz.errors import SpecError


class RegressionNetwork(nn.Module):
    """Backbone f and linear head: the predicted responses are ``head(f(x))``, with one bias per vertex.

    Everything is trainable. The state dict's keys begin with ``backbone.`` and ``head.``.

    Parameters
    ----------
    backbone : nn.Module
        Maps pictures (B, 3, s, s) to logits (B, n_logits).
    n_logits, n_vertices : int
        Widths of logits and responses.
    seed : int
        Of the head's initial weights; the global random state is left as it was.

    References
    ----------
    Mulrooney & Brockmeier 2024, arXiv 2410.06067, the regression baseline.
    """

    def __init__(self, backbone: nn.Module, n_logits: int, n_vertices: int, seed: int = 0) -> None:
        super().__init__()
        if min(n_logits, n_vertices) < 1:
            raise SpecError(
                "Every size of a regression network must be at least 1.",
                got=f"{n_logits} logits, {n_vertices} vertices",
            )
        self.backbone = backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(n_logits, n_vertices)

    def predict(self, logits: Tensor) -> Tensor:
        """Map logits, (B, n_logits), to predicted responses, (B, v)."""
        predicted: Tensor = self.head(logits)
        return predicted

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the predicted responses to pictures, (B, v)."""
        return self.predict(self.backbone(pictures))
