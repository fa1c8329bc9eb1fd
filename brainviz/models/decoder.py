"""Decoders from brain responses to image embeddings: one linear layer each, many seeds of it as one batched model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from brainviz.errors import DatasetError, SpecError

#: Rows that are decoded at a time: those of 40,000 vertices then take 160 MB in float32.
ROWS_PER_BLOCK = 1024


class Decoders(nn.Module):
    """S linear layers, ``z = (x W + b) / |x W + b|``, which differ in their initial weights.

    Attributes
    ----------
    weight : (S, v, p) parameter
        A vertex's row is its point in the space of embeddings.
    bias : (S, p) parameter

    Parameters
    ----------
    n_vertices, n_dimensions : int
        v and p.
    seeds : sequence of int
        Of the initial weights, one per decoder. A decoder's are those of ``nn.Linear(v, p)`` after
        ``torch.manual_seed`` of its seed, whatever the other seeds are; the global random state is neither read nor
        changed.

    Raises
    ------
    SpecError
        No vertices, dimensions or seeds.

    References
    ----------
    Efird et al. 2024, arXiv 2405.17663 (methods, section 8).
    """

    def __init__(self, n_vertices: int, n_dimensions: int, seeds: Sequence[int]) -> None:
        super().__init__()
        if min(n_vertices, n_dimensions, len(seeds)) < 1:
            raise SpecError(
                "A decoder needs at least one vertex, one dimension and one seed.",
                got=f"{n_vertices} vertices, {n_dimensions} dimensions, {len(seeds)} seeds",
            )
        self.weight = nn.Parameter(torch.empty(len(seeds), n_vertices, n_dimensions))
        self.bias = nn.Parameter(torch.empty(len(seeds), n_dimensions))
        bound = n_vertices**-0.5
        with torch.no_grad():
            for weight, bias, seed in zip(self.weight, self.bias, seeds, strict=True):
                generator = torch.Generator().manual_seed(seed)
                # Drawn in the layout of nn.Linear, so that its weights are the same numbers.
                weight.copy_(torch.empty(n_dimensions, n_vertices).uniform_(-bound, bound, generator=generator).T)
                bias.uniform_(-bound, bound, generator=generator)

    def project(self, responses: Tensor) -> Tensor:
        """Return ``x W + b``, (S, B, p), of responses (S, B, v): the embeddings before they are given length 1."""
        return torch.baddbmm(self.bias[:, None], responses, self.weight)

    def forward(self, responses: Tensor) -> Tensor:
        """Decode responses, (S, B, v), every decoder its own, to unit vectors, (S, B, p)."""
        return functional.normalize(self.project(responses), dim=-1)


def decode(
    responses: NDArray[np.floating], weight: NDArray[np.floating], bias: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Decode responses to embeddings of length 1.

    Parameters
    ----------
    responses : (n, v) array
        Scaled as those that the decoder was fitted to; may be memory-mapped.
    weight : (v, p) array
    bias : (p,) array

    Returns
    -------
    (n, p) float32 array
        Unit vectors; 0 where ``x W + b`` is 0.

    Raises
    ------
    DatasetError
        The shapes do not fit each other.
    """
    if responses.ndim != 2 or weight.ndim != 2 or responses.shape[1] != len(weight) or bias.shape != weight.shape[1:]:
        raise DatasetError(
            "Responses and decoder do not match.",
            got=f"responses {responses.shape}, weight {weight.shape}, bias {bias.shape}",
            expected="(n, v), (v, p) and (p,)",
            mend="take the vertices that the decoder was fitted to.",
        )
    weight, bias = np.asarray(weight, np.float32), np.asarray(bias, np.float32)
    z = np.empty((len(responses), len(bias)), np.float32)
    for start in range(0, len(z), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        np.matmul(np.asarray(responses[rows], np.float32), weight, out=z[rows])
        z[rows] += bias
        length = np.linalg.norm(z[rows], axis=1, keepdims=True)
        z[rows] /= np.where(length > 0, length, 1)
    return z
