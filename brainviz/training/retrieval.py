"""Retrieval accuracy: how often a brain vector's own image is its nearest, or among its k nearest."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from brainviz.errors import SpecError

#: Brain vectors that are compared with all images at a time.
ROWS_PER_BLOCK = 1024


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
    _check_pairs(z_brain, z_image)
    with torch.no_grad():
        cosines = functional.normalize(z_brain.float(), dim=1) @ functional.normalize(z_image.float(), dim=1).T
        first = cosines == cosines.amax(dim=1, keepdim=True)
        return (first.diagonal() / first.sum(dim=1).clamp(min=1)).mean().item()


def retrieval_ranks(
    z_brain: Tensor | NDArray[np.floating], z_image: Tensor | NDArray[np.floating]
) -> NDArray[np.int64]:
    """Rank every brain vector's own image among all, by cosine.

    Images that tie have no order among them, so that a rank has two bounds: its mean is ``ranks.mean(axis=1)``, and
    `found_within` shares a tie's places evenly.

    Parameters
    ----------
    z_brain, z_image : (n, z) floating tensors or arrays
        Embeddings; row i of both belongs to the same picture. Compared in float32, on the device of `z_brain`.

    Returns
    -------
    (n, 2) int64 array
        First and last rank, from 1 (the most similar) to n, of the images that tie with the own one; twice the same
        where none does. A cosine that is NaN counts as the lowest: a brain vector with NaN ties with all.

    Raises
    ------
    SpecError
        The matrices are empty, or their shapes differ.
    """
    brain, image = (z if isinstance(z, Tensor) else torch.tensor(z) for z in (z_brain, z_image))
    _check_pairs(brain, image)
    with torch.no_grad():
        brain = functional.normalize(brain.float(), dim=1)
        image = functional.normalize(image.to(brain.device).float(), dim=1)
        bounds = []
        for rows in torch.arange(len(brain), device=brain.device).split(ROWS_PER_BLOCK):
            cosines = (brain[rows] @ image.T).nan_to_num(nan=-torch.inf)
            own = cosines[torch.arange(len(rows), device=rows.device), rows, None]
            better, tied = (cosines > own).sum(dim=1), (cosines == own).sum(dim=1)
            bounds.append(torch.stack([better + 1, better + tied], dim=1))
        ranks: NDArray[np.int64] = torch.cat(bounds).cpu().numpy()
    return ranks


def found_within(ranks: NDArray[np.integer], k: int) -> NDArray[np.float64]:
    """Tell of every brain vector whether its own image is among the k most similar ones.

    A tie that begins within the first k places and ends behind them counts with the share of it that is within.

    Parameters
    ----------
    ranks : (n, 2) int array
        Of `retrieval_ranks`.
    k : int
        At least 1.

    Returns
    -------
    (n,) float64 array
        1 where it is, 0 where it is not, a share for some ties.

    Raises
    ------
    SpecError
        No ranks, or k below 1.
    """
    if ranks.ndim != 2 or ranks.shape[1] != 2 or len(ranks) == 0 or k < 1:
        raise SpecError(
            "The share of the first k needs ranks, and a k of at least 1.",
            got=f"ranks {ranks.shape}, k = {k}",
            expected="the (n, 2) ranks of retrieval_ranks, and k >= 1",
        )
    first, last = ranks.T
    found: NDArray[np.float64] = np.clip((k - first + 1) / (last - first + 1), 0.0, 1.0)
    return found


def _check_pairs(z_brain: Tensor, z_image: Tensor) -> None:
    if z_brain.ndim != 2 or z_brain.shape != z_image.shape or len(z_brain) == 0:
        raise SpecError(
            "Retrieval needs brain and image embeddings that pair up.",
            got=f"shapes {tuple(z_brain.shape)} and {tuple(z_image.shape)}",
            expected="two matrices of one shape (n, z), n >= 1",
        )
