"""Principal components of wide feature matrices, fitted on the training images only, with scores for every image.

With the training mean m and the centred training rows ``T = X_train - m = U S V'``, the scores are ``(X - m) V``. A
layer has far more features than there are images (64,896 against 9,841), so V is not formed: ``T T' = U S^2 U'`` gives
``T V = U S``, and a held-out row x gives ``(x - m) V = (x - m) T' U / S``. Both products are summed over blocks of
columns. With no more features than training rows, V comes from the p x p matrix ``T' T`` instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from brainviz.errors import DatasetError, SpecError

#: Bytes of features that are in memory at a time.
BLOCK_BYTES = 128 * 2**20

#: The lower triangle of a Gram matrix is computed in panels of rows: with 8, a product takes 9/16 of the work.
PANELS = 8


@dataclass(frozen=True)
class PCAFit:
    """Scores on the principal components of the training rows.

    Attributes
    ----------
    scores : (n, k) array
        All rows, in the order and the dtype of the features.
    explained_variance : (k,) float64 array
        Variance of the training rows along each component (divisor n_train - 1), descending.
    explained_variance_ratio : (k,) float64 array
        As a share of the total variance of the training rows.
    """

    scores: NDArray[np.floating]
    explained_variance: NDArray[np.float64]
    explained_variance_ratio: NDArray[np.float64]


def fit_pca(
    X: NDArray[np.floating], train_rows: NDArray[np.integer], n_components: int = 1000, *, device: str = "cpu"
) -> PCAFit:
    """Fit PCA on some rows and return the scores of all.

    Parameters
    ----------
    X : (n, p) float32 or float64 array
        Features; may be a memory map on disk, of which about `BLOCK_BYTES` are in memory at a time.
    train_rows : (n_train,) int array
        Rows that mean and components are fitted on; the others are only projected.
    n_components : int
        At most this many. There are ``min(n_components, n_train - 1, p)``, or fewer where the training rows have a
        lower rank: a component with less than 10 roundings of the largest one's variance is noise, and is dropped.
    device : str
        ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    PCAFit
        The sign of each component is such that its training score of largest magnitude is positive.

    Raises
    ------
    SpecError
        `n_components` is below 1.
    DatasetError
        `X` is not a matrix of floats or holds NaN; the training rows are fewer than 2, repeated, out of range or alike.

    Notes
    -----
    Products of float32 features are taken in float32 per block of columns and summed over blocks in float64; means and
    decompositions are float64.
    """
    train = _checked_rows(X, train_rows, n_components)
    decompose = _from_scatter if X.shape[1] <= len(train) else _from_gram
    scores, squares, total = decompose(X, train, min(n_components, len(train) - 1), torch.device(device))
    training_scores = scores[train]
    scores *= np.sign(np.take_along_axis(training_scores, np.abs(training_scores).argmax(axis=0)[None], axis=0))
    return PCAFit(scores.astype(X.dtype, copy=False), squares / (len(train) - 1), squares / total)


def _checked_rows(X: NDArray[np.floating], train_rows: NDArray[np.integer], n_components: int) -> NDArray[np.int64]:
    """Refuse what PCA cannot be fitted on; return the training rows as an array."""
    if n_components < 1:
        raise SpecError("PCA needs at least one component.", got=str(n_components))
    if X.ndim != 2 or X.dtype not in (np.float32, np.float64):
        raise DatasetError(
            "The features are not a matrix of floats.",
            got=f"{X.dtype} {X.shape}",
            expected="float32 (images, features)",
        )
    train = np.asarray(train_rows, dtype=np.int64)
    n_distinct = len(np.unique(train))
    if len(train) < 2 or n_distinct < len(train) or train.min() < 0 or train.max() >= len(X):
        raise DatasetError(
            "PCA cannot be fitted on these training rows.",
            got=f"{len(train)} rows, {n_distinct} of them distinct",
            expected=f"at least 2 distinct rows between 0 and {len(X) - 1}",
        )
    return train


def _from_gram(
    X: NDArray[np.floating], train: NDArray[np.int64], n_components: int, device: torch.device
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Scores (n, k), squared singular values (k,) and the total of all, from the (n, n_train) Gram matrix."""
    order, gram = centred_gram(X, train, device, X.dtype)
    square = gram[: len(train)]
    values, vectors = leading_eigenvectors(square, n_components, 10 * float(np.finfo(X.dtype).eps))
    scores = np.empty((len(X), len(values)))
    scores[order[: len(train)]] = (vectors * values.sqrt()).cpu().numpy()
    scores[order[len(train) :]] = (gram[len(train) :] @ (vectors / values.sqrt())).cpu().numpy()
    return scores, values.cpu().numpy(), float(square.trace())


def _from_scatter(
    X: NDArray[np.floating], train: NDArray[np.int64], n_components: int, device: torch.device
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Scores (n, k), squared singular values (k,) and the total of all, from the (p, p) scatter matrix."""
    n, p = X.shape
    mean = sum(rows.sum(0) for rows in _row_blocks(X, train, device)) / len(train)
    scatter = torch.zeros(p, p, dtype=torch.float64, device=device)
    for rows in _row_blocks(X, train, device):
        rows -= mean
        scatter += rows.T @ rows
    values, vectors = leading_eigenvectors(scatter, n_components, 10 * float(np.finfo(X.dtype).eps))
    scores = torch.cat([(rows - mean) @ vectors for rows in _row_blocks(X, np.arange(n), device)])
    return scores.cpu().numpy(), values.cpu().numpy(), float(scatter.trace())


def _row_blocks(X: NDArray[np.floating], rows: NDArray[np.int64], device: torch.device) -> Iterator[Tensor]:
    """Yield these rows of X in float64, as many at a time as `BLOCK_BYTES` hold."""
    height = max(1, BLOCK_BYTES // (8 * X.shape[1]))
    for start in range(0, len(rows), height):
        yield torch.from_numpy(X[rows[start : start + height]]).to(device, torch.float64)


def centred_gram(
    X: NDArray[np.floating], train: NDArray[np.int64], device: torch.device, dtype: DTypeLike
) -> tuple[NDArray[np.int64], Tensor]:
    """Inner products of all rows with the training rows, all centred by the training mean.

    Parameters
    ----------
    X : (n, p) float array
    train : (n_train,) int array
    device : torch.device
    dtype : dtype
        Of the products within a block of columns; blocks are summed in float64.

    Returns
    -------
    order : (n,) int64 array
        Which row of `X` each row of `gram` is: the training rows come first.
    gram : (n, n_train) float64 tensor
        Its first n_train rows are the training rows' Gram matrix, complete in the lower triangle only.
    """
    order = np.concatenate([train, np.setdiff1d(np.arange(len(X)), train)])
    n, n_train = len(X), len(train)
    gram = torch.zeros(n, n_train, dtype=torch.float64, device=device)
    width = max(1, BLOCK_BYTES // (n * np.dtype(dtype).itemsize))
    for start in range(0, X.shape[1], width):
        block = X[:, start : start + width][order].astype(dtype, copy=False)
        block -= block[:n_train].mean(axis=0, dtype=np.float64)
        columns = torch.from_numpy(block).to(device)
        for top, bottom in pairwise(np.linspace(0, n, PANELS + 1, dtype=int)):
            reach = min(bottom, n_train)
            gram[top:bottom, :reach] += columns[top:bottom] @ columns[:reach].T
    return order, gram


def leading_eigenvectors(matrix: Tensor, count: int, rounding: float) -> tuple[Tensor, Tensor]:
    """Largest eigenvalues, descending, and their eigenvectors, of a Gram or scatter matrix.

    Parameters
    ----------
    matrix : (m, m) float64 tensor
        Symmetric; only the lower triangle is read.
    count : int
        At most this many.
    rounding : float
        Eigenvalues up to this share of the largest are left out.

    Returns
    -------
    values : (k,) tensor
    vectors : (m, k) tensor

    Raises
    ------
    DatasetError
        The matrix holds NaN, or is 0.
    """
    if not torch.isfinite(matrix.diagonal()).all():
        raise DatasetError(
            "The features hold NaN or infinite values.",
            mend="look for weights or inputs of the network that are not finite.",
        )
    values, vectors = torch.linalg.eigh(matrix)
    kept = min(count, int((values > max(rounding * float(values[-1]), 0.0)).sum()))
    if kept == 0:
        raise DatasetError("The features are the same for all training images.", mend="choose another layer.")
    return values[-kept:].flip(0), vectors[:, -kept:].flip(1)
