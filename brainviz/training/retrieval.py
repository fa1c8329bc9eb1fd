"""Retrieval accuracy: how often a brain vector's nearest image is its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from brainviz.errors import SpecError


def retrieval_top1(z_brain: Tensor, z_image: Tensor) -> float:
    """Share of the brain vectors whose most similar image, by cosine, is the one that was seen.

    Images that tie for the first place share the point: embeddings that have collapsed to one vector score 1/n, which
    is chance, and a picture that occurs twice costs its brain vectors half a point each.

    Parameters
    ----------
    z_brain, z_image : (n, z) floating tensors
        Embeddings; row i of both belongs to the same picture.

    Returns
    -------
    float
        0..1; chance is 1/n.

    Raises
    ------
    SpecError
        The matrices are empty, or their shapes differ.
    """
    if z_brain.ndim != 2 or z_brain.shape != z_image.shape or len(z_brain) == 0:
        raise SpecError(
            "Retrieval needs brain and image embeddings that pair up.",
            got=f"shapes {tuple(z_brain.shape)} and {tuple(z_image.shape)}",
            expected="two matrices of one shape (n, z), n >= 1",
        )
    with torch.no_grad():
        cosines = functional.normalize(z_brain.float(), dim=1) @ functional.normalize(z_image.float(), dim=1).T
        first = cosines == cosines.amax(dim=1, keepdim=True)
        return (first.diagonal() / first.sum(dim=1).clamp(min=1)).mean().item()
