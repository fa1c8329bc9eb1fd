"""Principal components of wide feature matrices, fitted on the training images only, with scores for every image.

With the training mean m and the centred training rows ``T = X_train - m = U S V'``, the scores are ``(X - m) V``. A
layer has far more features than there are images (64,896 against 9,841), so V is not formed: ``T T' = U S^2 U'`` gives
``T V = U S``, and a held-out row x gives ``(x - m) V = (x - m) T' U / S``. Both products are summed over blocks of
columns. With no more features than training rows, V comes from the p x p matrix ``T' T`` instead.

Of either matrix only the leading eigenvectors are wanted, 1000 of 7650, and a full decomposition would cost more than
the products. They are found in a block Krylov space (Musco & Musco 2015, algorithm 2), with a basis from block Lanczos
steps (Golub & Underwood 1977) that make each block orthogonal to all before it, in float64. What is found is
checked: the residual of every eigenvector, and that none was missed. Where the search takes too long, as with a flat
spectrum, or the check fails, the matrix is decomposed in full.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from brainviz.encoding.linalg import eigh, matmul
from brainviz.errors import DatasetError, SpecError

#: Bytes of features that are in memory at a time.
BLOCK_BYTES = 128 * 2**20

#: The lower triangle of a symmetric product is computed in panels of rows: with 16, it takes 17/32 of the work.
PANELS = 16

#: Vectors multiplied by the matrix at a time: fewer need a smaller Krylov space, more use the processor better.
KRYLOV_BLOCK = 32

#: A Krylov space of this share of the matrix costs as much as the full decomposition, which takes over from there.
KRYLOV_SHARE = 0.7

#: Eigenvectors that are known to less than this share of the largest eigenvalue are left to the full decomposition.
KRYLOV_ROUNDING = 1e-9

#: Blocks that bring the residual down by a decade: 2.2 to 3.3 were seen with eigenvalues that fall like 1/k.
BLOCKS_PER_DECADE = 3

#: Blocks that look for an eigenvector that was missed.
SEARCH_BLOCKS = 6


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
    Products of float32 features are taken in float32 per block and summed over blocks in float64; means and
    decompositions are float64. The residual of a component, as an eigenvector of the matrix of these products, is then
    at most 10 float32 roundings of its own eigenvalue (see `leading_eigenvectors`).
    """
    train = _checked_rows(X, train_rows, n_components)
    decompose = _from_scatter if X.shape[1] <= len(train) else _from_gram
    scores, squares, total = decompose(X, train, min(n_components, len(train) - 1), torch.device(device))
    training_scores = scores[train]
    scores *= np.sign(np.take_along_axis(training_scores, np.abs(training_scores).argmax(axis=0)[None], axis=0))
    return PCAFit(scores.astype(X.dtype, copy=False), squares / (len(train) - 1), squares / total)


def principal_axes(
    X: NDArray[np.floating], train_rows: NDArray[np.integer], fit: PCAFit
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return what leads from scores back to features, and from other features to scores.

    The fit itself does without them: of wide features they are as large as the scores of tens of thousands of images.
    With V' the axes, ``T' (T V) = V S^2`` gives them from the training rows T and their scores.

    Parameters
    ----------
    X : (n, p) float array
        The features that were fitted; may be a memory map, of which about `BLOCK_BYTES` are in memory at a time.
    train_rows : (n_train,) int array
        The rows that were fitted.
    fit : PCAFit

    Returns
    -------
    mean : (p,) float64 array
        Of the training rows.
    axes : (k, p) float32 array
        The components, orthonormal rows: ``scores @ axes + mean`` is the best approximation of the features from k
        scores, and ``(x - mean) @ axes.T`` the scores of other images.
    """
    train = _checked_rows(X, train_rows, 1)
    squares = fit.explained_variance * (len(train) - 1)
    weights = (fit.scores[train].astype(np.float64) / squares).astype(X.dtype)
    mean, axes = np.empty(X.shape[1]), np.empty((len(squares), X.shape[1]), np.float32)
    width = max(1, BLOCK_BYTES // (len(train) * X.itemsize))
    for start in range(0, X.shape[1], width):
        columns = slice(start, start + width)
        block = X[:, columns][train]
        mean[columns] = block.mean(axis=0, dtype=np.float64)
        block -= mean[columns]
        axes[:, columns] = matmul(torch.from_numpy(weights.T.copy()), torch.from_numpy(block)).numpy()
    return mean, axes


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
    total = float(square.trace())
    values, vectors = leading_eigenvectors(square, n_components, 10 * float(np.finfo(X.dtype).eps))
    scores = np.empty((len(X), len(values)))
    scores[order[: len(train)]] = (vectors * values.sqrt()).cpu().numpy()
    scores[order[len(train) :]] = matmul(gram[len(train) :], vectors / values.sqrt()).cpu().numpy()
    return scores, values.cpu().numpy(), total


def _from_scatter(
    X: NDArray[np.floating], train: NDArray[np.int64], n_components: int, device: torch.device
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Scores (n, k), squared singular values (k,) and the total of all, from the (p, p) scatter matrix."""
    mean = sum(rows.sum(axis=0, dtype=np.float64) for rows in _row_blocks(X, train)) / len(train)
    scatter = torch.zeros(X.shape[1], X.shape[1], dtype=torch.float64, device=device)
    for rows in _row_blocks(X, train):
        rows -= mean
        _add_products(scatter, torch.from_numpy(rows).to(device).T)
    total = float(scatter.trace())
    values, vectors = leading_eigenvectors(scatter, n_components, 10 * float(np.finfo(X.dtype).eps))
    blocks = []
    for rows in _row_blocks(X, np.arange(len(X))):
        rows -= mean
        centred = torch.from_numpy(rows).to(device)
        blocks.append(matmul(centred, vectors.to(centred.dtype)).cpu().numpy())
    return np.concatenate(blocks, dtype=np.float64), values.cpu().numpy(), total


def _row_blocks(X: NDArray[np.floating], rows: NDArray[np.int64]) -> Iterator[NDArray[np.floating]]:
    """Yield copies of these rows of X, as many at a time as `BLOCK_BYTES` hold."""
    height = max(1, BLOCK_BYTES // (X.itemsize * X.shape[1]))
    for start in range(0, len(rows), height):
        yield X[rows[start : start + height]]


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
        _add_products(gram, torch.from_numpy(block).to(device))
    return order, gram


def _add_products(target: Tensor, rows: Tensor) -> None:
    """Add ``rows @ rows[:w].T`` to a (n, w) target: all below its diagonal, and little of what is above it."""
    width = target.shape[1]
    for top, bottom in pairwise(np.linspace(0, len(rows), PANELS + 1, dtype=int)):
        reach = min(bottom, width)
        target[top:bottom, :reach] += matmul(rows[top:bottom], rows[:reach].T)


def leading_eigenvectors(matrix: Tensor, count: int, rounding: float) -> tuple[Tensor, Tensor]:
    """Largest eigenvalues, descending, and their eigenvectors, of a Gram or scatter matrix.

    Parameters
    ----------
    matrix : (m, m) float64 tensor
        Symmetric, with no negative eigenvalues beyond rounding. Only the lower triangle is read; the upper one may be
        completed in place.
    count : int
        At most this many.
    rounding : float
        Eigenvalues up to this share of the largest are left out.

    Returns
    -------
    values : (k,) tensor
    vectors : (m, k) tensor
        Orthonormal. The residual ``|| A v - l v ||`` of each pair is at most ``rounding * l``, or the rounding of
        float64 if that is more.

    Raises
    ------
    DatasetError
        The matrix holds NaN, or is 0.

    Notes
    -----
    A small part of the eigenvectors, to a `rounding` of at least `KRYLOV_ROUNDING`, is sought in a Krylov space, with a
    fixed seed; more of them, or what that search does not find, comes from the full decomposition.
    """
    if not torch.isfinite(matrix.diagonal()).all():
        raise DatasetError(
            "The features hold NaN or infinite values.",
            mend="look for weights or inputs of the network that are not finite.",
        )
    found = _krylov_eigenvectors(matrix, count, rounding) if rounding >= KRYLOV_ROUNDING else None
    values, vectors = found or eigh(matrix)
    kept = min(count, int((values > max(rounding * float(values[-1]), 0.0)).sum()))
    if kept == 0:
        raise DatasetError("The features are the same for all training images.", mend="choose another layer.")
    return values[-kept:].flip(0), vectors[:, -kept:].flip(1)


# --- block Krylov -----------------------------------------------------------------------------------------------------


def _krylov_eigenvectors(matrix: Tensor, count: int, tolerance: float) -> tuple[Tensor, Tensor] | None:
    """Return the largest `count` eigenvalues, ascending, and their eigenvectors; None where that is no easy search.

    Rayleigh-Ritz on the span of ``B, A B, A^2 B, ...`` for a random B, which grows until all residuals are small. In an
    orthonormal basis of it, A is block tridiagonal; the residual of a Ritz pair is its vector's last block times the
    coupling to the block that would come next.
    """
    size, due = 0, max(2 * count, 8 * KRYLOV_BLOCK)
    limit = int(KRYLOV_SHARE * len(matrix)) // KRYLOV_BLOCK * KRYLOV_BLOCK
    if due > limit:
        return None
    _complete(matrix)
    basis = matrix.new_empty(limit, len(matrix))  # vectors are rows here: blocks of them are contiguous
    reduced = matrix.new_zeros(limit, limit)
    random = torch.Generator().manual_seed(0)
    block, _ = _orthonormal(torch.randn(KRYLOV_BLOCK, len(matrix), dtype=matrix.dtype, generator=random).to(matrix))
    while size < limit:
        coefficients, block, coupling = _extend(basis, size, block, matrix)
        reduced[size : size + KRYLOV_BLOCK, : size + KRYLOV_BLOCK] = coefficients
        size += KRYLOV_BLOCK
        if size < due:
            continue
        values, ritz = eigh(reduced[:size, :size])
        values, ritz = values[-count:], ritz[:, -count:]
        excess = _excess((ritz[-KRYLOV_BLOCK:].T @ coupling).norm(dim=1), values, tolerance)
        if excess <= 1:
            vectors = matmul(basis[:size].T, ritz)
            del basis, reduced
            return (values, vectors) if _verified(matrix, values, vectors, tolerance, random) else None
        due = min(limit, size + math.ceil(BLOCKS_PER_DECADE * math.log10(excess)) * KRYLOV_BLOCK)
    return None


def _extend(basis: Tensor, size: int, block: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Write the block behind the first `size` rows of the basis, and make the next block from A times it.

    Returns
    -------
    coefficients : (b, size + b) tensor
        Of ``block @ A`` in the basis.
    next_block : (b, m) tensor
        The rest of it, made orthonormal.
    coupling : (b, b) tensor
        ``coupling @ next_block`` is that rest.
    """
    size += len(block)
    basis[size - len(block) : size] = block
    known = basis[:size]
    product = matmul(block, matrix)
    coefficients = matmul(product, known.T)
    rest, first = _orthonormal(product - matmul(coefficients, known))
    # A second time: where little is left over, the first subtraction leaves much of the basis in it.
    rest, second = _orthonormal(rest - matmul(matmul(rest, known.T), known))
    return coefficients, rest, first @ second


def _orthonormal(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return orthonormal rows Q with the same span, and the lower triangular L of ``rows = L Q``.

    By Cholesky decomposition, which is exact to rounding only when repeated, but many times faster than Householder's
    QR; that one steps in where the rows depend on each other.
    """
    factor, failed = torch.linalg.cholesky_ex(rows @ rows.T)
    if failed:
        q, r = torch.linalg.qr(rows.T)
        return q.T.contiguous(), r.T
    return torch.linalg.solve_triangular(factor, rows, upper=False), factor


def _verified(matrix: Tensor, values: Tensor, vectors: Tensor, tolerance: float, random: torch.Generator) -> bool:
    """Tell whether these are orthonormal eigenvectors, and none with a larger eigenvalue is missing.

    The last is asked of a few Krylov steps from new random vectors, orthogonal to those found: a Krylov space holds no
    more eigenvectors of one eigenvalue than it has vectors in a block.
    """
    residuals = (matmul(matrix, vectors) - vectors * values).norm(dim=0)
    overlap = matmul(vectors.T, vectors).fill_diagonal_(0).abs().max()
    if _excess(residuals, values, tolerance) > 1 or overlap > tolerance:
        return False
    count = len(values)
    basis = torch.cat([vectors.T, matrix.new_empty(SEARCH_BLOCKS * KRYLOV_BLOCK, len(matrix))])
    others = torch.randn(KRYLOV_BLOCK, len(matrix), dtype=matrix.dtype, generator=random).to(matrix)
    block, _ = _orthonormal(others - (others @ vectors) @ vectors.T)
    reduced = matrix.new_zeros(len(basis) - count, len(basis) - count)
    for done in range(0, len(reduced), KRYLOV_BLOCK):
        coefficients, block, _ = _extend(basis, count + done, block, matrix)
        reduced[done : done + KRYLOV_BLOCK, : done + KRYLOV_BLOCK] = coefficients[:, count:]
    largest = float(torch.linalg.eigvalsh(reduced)[-1])
    return largest <= float(values[0]) + tolerance * float(values[-1])


def _excess(residuals: Tensor, values: Tensor, tolerance: float) -> float:
    """Return the largest residual, as a multiple of what is allowed: the tolerance times the eigenvalue.

    Eigenvalues that are rounding count as what rounding is, the tolerance times the largest of all.
    """
    allowed = tolerance * values.clamp(min=max(tolerance * float(values[-1]), torch.finfo(values.dtype).tiny))
    return float((residuals / allowed).max())


def _complete(matrix: Tensor) -> None:
    """Copy the lower triangle of a matrix to the upper one, in place."""
    for top, bottom in pairwise(np.linspace(0, len(matrix), PANELS + 1, dtype=int)):
        corner = matrix[top:bottom, top:bottom]
        corner.copy_(corner.tril() + corner.tril(-1).T)
        matrix[top:bottom, bottom:] = matrix[bottom:, top:bottom].T
