"""Ridge regression to many targets at once, each with its own penalty chosen by cross-validation.

Objective, for every target y (a column of Y) and its own penalty alpha::

    min over w, b    || y - X w - b ||^2 + alpha || w ||^2        (b is not penalised: scikit-learn's Ridge)

Alpha maximises the mean, over the folds, of Pearson's r between prediction and response in the left-out rows.

With centred training rows ``X' X = Q diag(l) Q'`` the solution is ``w(alpha) = Q diag(1 / (l + alpha)) Q' X' y``: one
decomposition serves every alpha and every target. Four things make it fast, none of which changes the result:

1. X is first put on its own principal axes, at most n - 1 of them, so that p > n is no special case, the whole X' X is
   diagonal, and in float32 the small axes are not drowned by the large ones.
2. ``X' Y`` is computed per fold, and the training part of a fold is the total minus that fold's: Y is read once.
3. A fold's r needs no predictions. With ``B = Q' X' Y`` (training rows) and ``E = Q' X' Y`` (left-out rows), the
   covariance of prediction and response is ``sum(E B / (l + alpha))``, and the prediction's sum of squares is
   ``|| R (B / (l + alpha)) ||^2``, where ``R' R`` is the left-out rows' Gram matrix.
4. ``1 / (l + alpha)``, over all l and alpha, is a Cauchy matrix, of low numerical rank K: K products with R and a K x K
   Gram matrix per target give that sum of squares for every alpha, however many there are.

Precision: centring, decompositions, sums of squares and means over folds are float64; products with the targets have
the dtype of Y (float32 or float64) on either device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from brainviz.encoding.pca import centred_gram, leading_eigenvectors
from brainviz.errors import DatasetError, SpecError

#: Memory for one block of targets, unless the caller says how many targets are in a block.
BLOCK_BYTES = 512 * 2**20

#: With `extend`, the grid grows at an edge while more than this share of the targets choose that edge ...
EDGE_SHARE = 0.05

#: ... by a decade at a time, by at most so many decades.
MAX_EXTRA_DECADES = 5


@dataclass(frozen=True)
class RidgeSelection:
    """Penalties chosen by cross-validation.

    Attributes
    ----------
    alpha : (v,) float64 array
        The chosen penalty of each target, as in scikit-learn's Ridge; the largest of those that score alike.
    cv_r : (v,) float64 array
        Mean Pearson r over the left-out folds at that penalty. A fold in which r is undefined, because the target is
        constant in its training rows or in its left-out rows, is left out of the mean. Where r is undefined in every
        fold, as for a constant target: NaN, and the largest alpha.
    alphas : (a,) float64 array
        The grid chosen from, ascending, with what `extend` has added.
    grid_r : (a, v) float64 array
        Mean Pearson r for every penalty of the grid.
    """

    alpha: NDArray[np.float64]
    cv_r: NDArray[np.float64]
    alphas: NDArray[np.float64]
    grid_r: NDArray[np.float64]

    @property
    def n_undefined(self) -> int:
        """Number of targets without a cross-validated r: the constant ones."""
        return int(np.isnan(self.cv_r).sum())


@dataclass(frozen=True)
class RidgeFit(RidgeSelection):
    """A fitted model: the penalties chosen, and the coefficients fitted with them on all rows.

    Attributes
    ----------
    coef : (p, v) array, dtype of Y
        Exactly 0 for a constant target.
    intercept : (v,) array, dtype of Y
    """

    coef: NDArray[np.floating]
    intercept: NDArray[np.floating]


def fit_ridge(
    X: NDArray[np.floating],
    Y: NDArray[np.floating],
    alphas: ArrayLike,
    n_folds: int = 5,
    *,
    groups: ArrayLike | None = None,
    seed: int = 0,
    extend: bool = False,
    device: str = "cpu",
    block: int | None = None,
) -> RidgeFit:
    """Choose each target's penalty by cross-validation, then fit it on all rows.

    Parameters
    ----------
    X : (n, p) array
        Features; p may exceed n. Held in memory.
    Y : (n, v) array
        Targets; may be memory-mapped, and is read twice in blocks of columns, never copied whole.
    alphas : (a,) array
        Penalties to choose from, above 0.
    n_folds : int
        Folds of the cross-validation; the rows are dealt out at random (see `assign_folds`).
    groups : (n,) array, optional
        Rows with the same value (equal pictures) stay in the same fold.
    seed : int
        Of the folds.
    extend : bool
        Whether the grid grows, a decade at a time and by at most `MAX_EXTRA_DECADES`, at an edge that more than
        `EDGE_SHARE` of the targets choose.
    device : str
        ``"cpu"`` or ``"cuda"``.
    block : int, optional
        Targets per block; by default as many as `BLOCK_BYTES` hold.

    Returns
    -------
    RidgeFit

    Raises
    ------
    SpecError
        An alpha that is not above 0, fewer than 2 folds, a block below 1.
    DatasetError
        Shapes that do not match, NaN or infinite values, too few rows or groups for the folds, constant features.
    """
    grid = np.unique(np.asarray(alphas, dtype=np.float64))
    _check(X, Y, grid, block)
    fold_of_row = assign_folds(len(X), n_folds, groups, seed)
    axes = _principal_axes(X, device)
    selection = _select(axes, Y, grid, fold_of_row, extend, block)
    coef, intercept = _refit(axes, X, Y, selection.alpha, block)
    return RidgeFit(**vars(selection), coef=coef, intercept=intercept)


def cross_validate_ridge(
    X: NDArray[np.floating],
    Y: NDArray[np.floating],
    alphas: ArrayLike,
    n_folds: int = 5,
    *,
    groups: ArrayLike | None = None,
    seed: int = 0,
    extend: bool = False,
    device: str = "cpu",
    block: int | None = None,
) -> RidgeSelection:
    """Choose each target's penalty, without fitting: what comparing several layers needs.

    Parameters, errors: as `fit_ridge`, whose selection this is.
    """
    grid = np.unique(np.asarray(alphas, dtype=np.float64))
    _check(X, Y, grid, block)
    fold_of_row = assign_folds(len(X), n_folds, groups, seed)
    return _select(_principal_axes(X, device), Y, grid, fold_of_row, extend, block)


def refit_ridge(
    X: NDArray[np.floating],
    Y: NDArray[np.floating],
    alpha: ArrayLike,
    *,
    device: str = "cpu",
    block: int | None = None,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Fit on all rows, every target with its own given penalty.

    Parameters
    ----------
    X, Y, device, block
        As in `fit_ridge`.
    alpha : (v,) array or float
        Penalties, above 0.

    Returns
    -------
    coef : (p, v) array
    intercept : (v,) array
    """
    per_target = np.asarray(alpha, dtype=np.float64)
    _check(X, Y, per_target, block)
    if per_target.shape not in ((), Y.shape[1:]):
        raise SpecError("There must be one penalty per target.", got=str(per_target.shape), expected=str(Y.shape[1:]))
    return _refit(_principal_axes(X, device), X, Y, np.broadcast_to(per_target, Y.shape[1:]), block)


def predict(fit: RidgeFit, X: NDArray[np.floating]) -> NDArray[np.floating]:
    """Predict all targets.

    Parameters
    ----------
    fit : RidgeFit
    X : (m, p) array

    Returns
    -------
    (m, v) array, dtype of the coefficients

    Raises
    ------
    DatasetError
        The number of features differs.
    """
    if X.ndim != 2 or X.shape[1] != len(fit.coef):
        raise DatasetError(
            "These features do not belong to the model.", got=f"shape {X.shape}", expected=f"(images, {len(fit.coef)})"
        )
    predicted: NDArray[np.floating] = X.astype(fit.coef.dtype, copy=False) @ fit.coef
    predicted += fit.intercept
    return predicted


def assign_folds(n: int, n_folds: int, groups: ArrayLike | None = None, seed: int = 0) -> NDArray[np.int64]:
    """Deal rows out to folds at random, equal groups to the same fold.

    Groups are shuffled, then given, largest first, each to the fold that has the fewest rows (as in scikit-learn's
    GroupKFold). Without groups every row is a group of its own, and the folds differ by one row at most.

    Parameters
    ----------
    n : int
        Number of rows.
    n_folds : int
    groups : (n,) array, optional
    seed : int

    Returns
    -------
    (n,) int64 array
        The number of each row's fold.

    Raises
    ------
    SpecError
        Fewer than 2 folds.
    DatasetError
        Too few rows or groups: every fold needs two rows for a correlation.
    """
    if n_folds < 2:
        raise SpecError("Cross-validation needs at least 2 folds.", got=str(n_folds))
    names = np.arange(n) if groups is None else np.asarray(groups)
    if names.shape != (n,):
        raise DatasetError("There must be one group per row.", got=f"shape {names.shape}", expected=f"({n},)")
    _, member, sizes = np.unique(names, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    rows = np.zeros(n_folds, dtype=np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of_group[group] = rows.argmin()
        rows[rows.argmin()] += sizes[group]
    if rows.min() < 2:
        raise DatasetError(
            f"There are too few images for {n_folds} folds.",
            got=f"{n} images" if groups is None else f"{n} images in {len(sizes)} groups of equal pictures",
            expected="at least 2 images in every fold",
            mend="use fewer folds, or more images.",
        )
    return fold_of_group[member]


# --- X on its principal axes ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axes:
    """X, centred, on its q principal axes.

    Attributes
    ----------
    mean : (p,) float64 tensor
    rows : (n, q) float64 tensor
        Coordinates; columns are orthogonal, sum to 0, and have squared length `eigenvalues`.
    eigenvalues : (q,) float64 tensor
        Descending, above rounding.
    directions : (p, q) float64 tensor or None
        The axes, orthonormal; None when p > n, where they are ``(X - mean)' rows / eigenvalues``.
    """

    mean: Tensor
    rows: Tensor
    eigenvalues: Tensor
    directions: Tensor | None


def _principal_axes(X: NDArray[np.floating], device: str) -> _Axes:
    """Put X on its principal axes, from X'X when p <= n and from XX' when p > n."""
    target = torch.device(device)
    rounding = len(X) * float(np.finfo(np.float64).eps)
    mean = torch.from_numpy(X.mean(axis=0, dtype=np.float64)).to(target)
    if X.shape[1] <= len(X):
        centred = torch.as_tensor(X, dtype=torch.float64, device=target) - mean
        eigenvalues, directions = leading_eigenvectors(centred.T @ centred, X.shape[1], rounding)
        return _Axes(mean, centred @ directions, eigenvalues, directions)
    gram = centred_gram(X, np.arange(len(X)), target, np.float64)[1]
    eigenvalues, vectors = leading_eigenvectors(gram, len(X), rounding)
    return _Axes(mean, vectors * eigenvalues.sqrt(), eigenvalues, None)


# --- cross-validation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fold:
    """What one fold needs to score any target; q axes, m left-out rows, K filters, a penalties.

    With B (q,) the training rows' ``Q' X' y``, the coefficients at penalty number i are ``shrinkage[i] * B`` but for
    their scale, which r does not see; ``shrinkage`` is ``mixing @ filters`` to rounding.
    """

    rows: Tensor  #: (m,) numbers of the left-out rows
    n_train: int
    mean_train: Tensor  #: (q,) of the training rows
    mean_test: Tensor  #: (q,) of the left-out rows
    vectors: Tensor  #: (q, q) eigenvectors of the training rows' Gram matrix
    root: Tensor  #: (q, t), t = min(m, q): root @ root' is the left-out rows' Gram matrix on those eigenvectors
    shrinkage: Tensor  #: (a, q) 1 / (eigenvalue + alpha), each row scaled: r does not depend on scale
    filters: Tensor  #: (K, q)
    mixing: Tensor  #: (a, K) float64


def _select(
    axes: _Axes,
    Y: NDArray[np.floating],
    grid: NDArray[np.float64],
    fold_of_row: NDArray[np.int64],
    extend: bool,
    block: int | None,
) -> RidgeSelection:
    """Score every penalty for every target, block by block, and choose."""
    # Further penalties cost next to nothing (4 above): all those that may be added are scored in the one pass.
    decades = 10.0 ** np.arange(1, MAX_EXTRA_DECADES + 1) if extend else np.empty(0)
    candidates = np.concatenate([grid[0] / decades[::-1], grid, grid[-1] * decades])
    n_folds = int(fold_of_row.max()) + 1
    dtype = _target_dtype(Y)
    rows = axes.rows.to(dtype)
    folds = [_prepare_fold(axes, np.flatnonzero(fold_of_row == fold), candidates, dtype) for fold in range(n_folds)]
    scores = np.empty((len(candidates), Y.shape[1]))
    for columns, y, _ in _blocks(Y, axes, block or _block_size(axes, n_folds, folds)):
        scores[:, columns] = _score(y, rows, folds).T.cpu().numpy()
    inner = _widened(scores, slice(len(decades), len(decades) + len(grid)))
    return _choose(candidates[inner], scores[inner])


def _prepare_fold(axes: _Axes, left_out: NDArray[np.int64], alphas: NDArray[np.float64], dtype: torch.dtype) -> _Fold:
    """Decompose the training rows of one fold, in float64, and cast what multiplies targets to `dtype`."""
    index = torch.from_numpy(left_out).to(axes.rows.device)
    x = axes.rows[index]
    n_train = len(axes.rows) - len(x)
    total = x.sum(0)
    mean_train, mean_test = -total / n_train, total / len(x)  # all rows together sum to 0
    gram = torch.diag(axes.eigenvalues) - x.T @ x - n_train * torch.outer(mean_train, mean_train)
    eigenvalues, vectors = torch.linalg.eigh(gram)
    # Directions that the training rows do not span: the coefficients there are 0, not rounding divided by alpha.
    spanned = eigenvalues > len(gram) * torch.finfo(gram.dtype).eps * eigenvalues[-1]
    eigenvalues = torch.where(spanned, eigenvalues, 0.0)
    z = (x - mean_test) @ vectors
    root = torch.linalg.qr(z, mode="r").R if len(z) > z.shape[1] else z
    penalties = torch.from_numpy(alphas).to(gram.device)
    shrinkage = spanned / (eigenvalues + penalties[:, None])
    # A target that is noise weighs on axis i like this: sqrt(eigenvalue) in B, times the length of the left-out rows.
    weight = eigenvalues.sqrt() * root.norm(dim=0)
    shrinkage = shrinkage / (shrinkage * weight).norm(dim=1, keepdim=True).clamp(min=torch.finfo(gram.dtype).tiny)
    mixing, filters = _factorise(shrinkage, weight, torch.finfo(dtype).eps)
    return _Fold(
        rows=index,
        n_train=n_train,
        mean_train=mean_train.to(dtype),
        mean_test=mean_test.to(dtype),
        vectors=vectors.to(dtype),
        root=root.T.contiguous().to(dtype),
        shrinkage=shrinkage.to(dtype),
        filters=filters.to(dtype),
        mixing=mixing,
    )


def _factorise(shrinkage: Tensor, weight: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Write ``shrinkage = mixing @ filters``, within a tolerance and weighted by axis, with as few filters as do.

    Shapes: (a, q), (q,) -> (a, K), (K, q).
    """
    left, singular, right = torch.linalg.svd(shrinkage * weight, full_matrices=False)
    rank = int((singular > tolerance * singular[0]).sum())
    filters = singular[:rank, None] * right[:rank] / torch.where(weight > 0, weight, 1.0)
    return left[:, :rank], filters


def _score(y: Tensor, rows: Tensor, folds: Sequence[_Fold]) -> Tensor:
    """Mean over folds of the left-out r, for every target and penalty.

    Shapes: y (n, b) centred, rows (n, q) -> (b, a) float64.
    """
    parts = [y[fold.rows] for fold in folds]
    products = [part.T @ rows[fold.rows] for part, fold in zip(parts, folds, strict=True)]
    total = torch.stack(products).sum(0)
    sums = torch.stack([part.sum(0, dtype=torch.float64) for part in parts])
    low = torch.stack([part.amin(0) for part in parts])
    high = torch.stack([part.amax(0) for part in parts])
    r_sum = torch.zeros(y.shape[1], len(folds[0].mixing), dtype=torch.float64, device=y.device)
    n_defined = torch.zeros_like(r_sum)
    for number, fold in enumerate(folds):
        others = [other for other in range(len(folds)) if other != number]
        mean_train = sums[others].sum(0) / fold.n_train
        mean_test = sums[number] / len(fold.rows)
        train = total - products[number] - torch.outer((fold.n_train * mean_train).to(y.dtype), fold.mean_train)
        test = products[number] - torch.outer(sums[number].to(y.dtype), fold.mean_test)
        r = _fold_r(train @ fold.vectors, test @ fold.vectors, _sum_of_squares(parts[number], mean_test), fold)
        varies = (high[others].amax(0) > low[others].amin(0)) & (high[number] > low[number])
        defined = varies[:, None] & torch.isfinite(r)
        r_sum += torch.where(defined, r, 0.0)
        n_defined += defined
    return r_sum / n_defined


def _fold_r(train: Tensor, test: Tensor, target_squares: Tensor, fold: _Fold) -> Tensor:
    """Pearson r in the left-out rows from cross-products alone.

    Shapes: train, test (b, q) cross-products on the fold's eigenvectors; target_squares (b,) -> (b, a) float64.
    """
    covariance = (train * test) @ fold.shrinkage.T
    predicted = torch.stack([(train * keep) @ fold.root for keep in fold.filters], dim=1)  # (b, K, t)
    gram = torch.bmm(predicted, predicted.transpose(1, 2)).double()
    predicted_squares = torch.einsum("ak,bkl,al->ba", fold.mixing, gram, fold.mixing)
    return (covariance.double() / (predicted_squares * target_squares[:, None]).sqrt()).clamp(-1.0, 1.0)


def _sum_of_squares(values: Tensor, mean: Tensor) -> Tensor:
    """Sum of squared deviations of the columns, accumulated in float64; (m, b), (b,) -> (b,)."""
    return (values - mean.to(values.dtype)).square().sum(0, dtype=torch.float64)


def _widened(scores: NDArray[np.float64], inner: slice) -> slice:
    """Grow a window of candidates, decade by decade, while more than `EDGE_SHARE` of the targets choose its edge."""
    scored = scores[:, ~np.isnan(scores).all(axis=0)]
    low, high = inner.start, inner.stop
    while scored.shape[1]:
        best = low + _last_argmax(scored[low:high])
        up = high < len(scores) and np.mean(best == high - 1) > EDGE_SHARE
        down = low > 0 and np.mean(best == low) > EDGE_SHARE
        if not (up or down):
            break
        low, high = low - down, high + up
    return slice(low, high)


def _choose(alphas: NDArray[np.float64], scores: NDArray[np.float64]) -> RidgeSelection:
    """Take the best-scoring penalty per target; the largest where no score is defined."""
    undefined = np.isnan(scores).all(axis=0)
    best = np.where(undefined, len(alphas) - 1, _last_argmax(scores))
    cv_r = scores[best, np.arange(scores.shape[1])]
    return RidgeSelection(alphas[best], cv_r, alphas, scores)


def _last_argmax(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the row of the maximum per column, the last of equals; NaN counts as the least."""
    ranked = np.where(np.isnan(scores), -np.inf, scores)
    from_end: NDArray[np.intp] = ranked[::-1].argmax(axis=0)
    return len(scores) - 1 - from_end


# --- all rows ---------------------------------------------------------------------------------------------------------


def _refit(
    axes: _Axes, X: NDArray[np.floating], Y: NDArray[np.floating], alpha: NDArray[np.float64], block: int | None
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Fit on all rows: on the principal axes X'X is diagonal, so every target's own penalty is one division."""
    dtype = _target_dtype(Y)
    rows, mean = axes.rows.to(dtype), axes.mean
    penalty = torch.from_numpy(np.array(alpha)).to(mean.device)
    to_features = _to_features(axes, X, dtype)
    coef = np.empty((len(mean), Y.shape[1]), dtype=_numpy_dtype(Y))
    intercept = np.empty(Y.shape[1], dtype=coef.dtype)
    for columns, y, y_mean in _blocks(Y, axes, block or _block_size(axes)):
        weights = ((rows.T @ y).double() / (axes.eigenvalues[:, None] + penalty[columns])).to(dtype)
        for factor in to_features:
            weights = factor @ weights
        coef[:, columns] = weights.cpu().numpy()
        intercept[columns] = y_mean - (mean @ weights.double()).cpu().numpy()
    return coef, intercept


def _to_features(axes: _Axes, X: NDArray[np.floating], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Matrices that, applied one after the other, turn coefficients on the axes into coefficients of the features."""
    if axes.directions is not None:
        return (axes.directions.to(dtype),)
    centred = torch.as_tensor(X, dtype=dtype, device=axes.mean.device) - axes.mean.to(dtype)
    return (axes.rows / axes.eigenvalues).to(dtype), centred.T


# --- targets ----------------------------------------------------------------------------------------------------------


def _blocks(Y: NDArray[np.floating], axes: _Axes, size: int) -> Iterator[tuple[slice, Tensor, NDArray[np.float64]]]:
    """Yield blocks of targets: which columns, their centred values (n, b) on the device, and their means (b,).

    Means are float64; a constant column is exactly 0 after centring.
    """
    for start in range(0, Y.shape[1], size):
        columns = slice(start, min(start + size, Y.shape[1]))
        values = np.array(Y[:, columns], dtype=_numpy_dtype(Y))
        finite = np.isfinite(values).all(axis=0)
        if not finite.all():
            raise DatasetError(
                "The responses hold NaN or infinite values.",
                got=f"column {start + int(finite.argmin())} and {int((~finite).sum()) - 1} of those after it",
                expected="finite numbers",
                mend="leave these vertices out, or repair the file; `python -m brainviz check` lists them.",
            )
        constant = values.max(axis=0) == values.min(axis=0)
        means = np.where(constant, values[0], values.mean(axis=0, dtype=np.float64))
        values -= means
        yield columns, torch.from_numpy(values).to(axes.mean.device), means


def _block_size(axes: _Axes, n_folds: int = 0, folds: Sequence[_Fold] = ()) -> int:
    """Return how many targets' working arrays `BLOCK_BYTES` hold: responses, products, filtered predictions."""
    n, q = axes.rows.shape
    predictions = max((fold.filters.shape[0] * fold.root.shape[1] for fold in folds), default=0)
    return max(1, BLOCK_BYTES // (8 * (2 * n + (n_folds + 5) * q + predictions)))


def _target_dtype(Y: NDArray[np.floating]) -> torch.dtype:
    """Return the dtype of products with the targets: float64 for float64 targets, else float32."""
    return torch.float64 if Y.dtype == np.float64 else torch.float32


def _numpy_dtype(Y: NDArray[np.floating]) -> type[np.floating]:
    return np.float64 if Y.dtype == np.float64 else np.float32


# --- what cannot be fitted --------------------------------------------------------------------------------------------


def _check(X: NDArray[np.floating], Y: NDArray[np.floating], alphas: NDArray[np.float64], block: int | None) -> None:
    """Refuse what cannot be fitted, before any work is done."""
    if alphas.size == 0 or not np.all(np.isfinite(alphas) & (alphas > 0)):
        raise SpecError("The ridge penalties cannot be used.", got=f"{alphas.tolist()}", expected="numbers above 0")
    if block is not None and block < 1:
        raise SpecError("A block needs at least one target.", got=str(block))
    if X.ndim != 2 or X.shape[1] < 1 or X.dtype not in (np.float32, np.float64):
        raise DatasetError(
            "The features are not a matrix of floats.",
            got=f"{X.dtype} {X.shape}",
            expected="float32 (images, features)",
        )
    if Y.ndim != 2 or len(Y) != len(X) or Y.dtype.kind not in "fiu":
        raise DatasetError(
            "The responses do not go with the features.",
            got=f"{Y.dtype} {Y.shape}",
            expected=f"numbers ({len(X)}, targets)",
        )
    if len(X) < 2:
        raise DatasetError("A regression needs at least two images.", got=str(len(X)))
    if not np.isfinite(X).all():
        raise DatasetError("The features hold NaN or infinite values.", got=f"{int((~np.isfinite(X)).sum())} of them")
