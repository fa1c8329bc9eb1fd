"""Matrix products and symmetric decompositions of tensors: torch's own on a GPU, numpy's on the CPU.

torch's MKL is slow on AMD processors; numpy's OpenBLAS took 0.6 to 1.0 of its time there for products, and 0.6 for
decompositions (two threads, float32 and float64).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """Return the product of two matrices of one dtype and device, (m, k) and (k, n) -> (m, n)."""
    if left.is_cuda:
        return left @ right
    return torch.from_numpy(left.numpy() @ right.numpy())


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Decompose a symmetric matrix, of which only the lower triangle is read.

    Parameters
    ----------
    matrix : (m, m) tensor

    Returns
    -------
    values : (m,) tensor
        Ascending.
    vectors : (m, m) tensor
        In columns.
    """
    if matrix.is_cuda:
        return tuple(torch.linalg.eigh(matrix))
    values, vectors = np.linalg.eigh(matrix.numpy())
    return torch.from_numpy(values), torch.from_numpy(vectors)
