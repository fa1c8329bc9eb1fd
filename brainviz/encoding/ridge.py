"""Ridge regression to many targets at once, each with its own penalty chosen by cross-validation.

Objective, for every target y (a column of Y) and its own penalty alpha::

    min over w, b    || y - X w - b ||^2 + alpha || w ||^2        (b is not penalised: scikit-learn's Ridge)

Alpha maximises the mean, over the folds, of Pearson's r between prediction and response in the left-out rows.

With centred training rows ``X' X = Q diag(l) Q'`` the solution is ``w(alpha) = Q diag(1 / (l + alpha)) Q' X' y``: one
decomposition serves every alpha and every target. Five things make it fast, none of which changes the result:

1. X is first put on its own principal axes, at most n - 1 of them, so that p > n is no special case, the whole X' X is
   diagonal, and in float32 the small axes are not drowned by the large ones.
2. ``X' Y`` is computed per fold, and the training part of a fold is the total minus that fold's: Y is read once, and
   the total is what the fit on all rows needs.
3. A fold's r needs no predictions. With ``B = Q' X' Y`` (training rows) and ``E = Q' X' Y`` (left-out rows), the
   covariance of prediction and response is ``sum(E B / (l + alpha))``, and the prediction's sum of squares is
   ``|| R (B / (l + alpha)) ||^2``, where ``R' R`` is the left-out rows' Gram matrix.
4. ``1 / (l + alpha)``, over all l and alpha, is a Cauchy matrix, of low numerical rank K (Beckermann & Townsend 2019,
   doi 10.1137/19M1244433): K products with R and a K x K Gram matrix per target give that sum of squares for every
   alpha, however many there are. K is 7 to 16 for spectra of layers, 20 or 200 penalties, and float32.
5. R is triangular (from a QR decomposition), so that a product with it is little more than half a product.

Precision: decompositions, and means over folds are float64; products with the targets have the dtype of Y (float32 or
float64) on either device. bfloat16 in step 4 would save a quarter of the time where a processor has it, and move r by
3e-4: not done, so that r is the same on all machines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike, NDArray
from torch import Tensor

from brainviz.encoding.linalg import eigh, matmul
from brainviz.encoding.pca import centred_gram, leading_eigenvectors
from brainviz.errors import DatasetError, SpecError

#: Memory for one block of targets, unless the caller says how many: what a processor's caches nearly hold is fastest.
BLOCK_BYTES = {"cpu": 24 * 2**20, "cuda": 2**30}

#: Columns of a triangular matrix that are multiplied at a time: the zeros beside them are left out of the product.
PANEL = 256

#: A filter is left out (see 4 above) when it contributes less than this share of the largest filter's contribution;
#: 1e-6 moves no r by more than float32 does, even for targets that depend on the smallest axis alone.
FILTER_TOLERANCE = {torch.float32: 1e-6, torch.float64: 2e-16}

#: Features count as uncorrelated when their correlations, as a matrix, have a norm of at most so many roundings.
UNCORRELATED = 200

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


@dataclass(frozen=True)
class RidgeDesign:
    """Features made ready for any number of targets: all that depends on X only, from `prepare_ridge`.

    Attributes
    ----------
    X : (n, p) array
        The features, not copied.
    alphas : (a,) float64 array
        The grid of penalties, ascending.
    fold_of_row : (n,) int64 array
        The number of each row's fold.
    extend : bool
        Whether the grid may grow.
    axes
        Internal: X on its principal axes.
    """

    X: NDArray[np.floating]
    alphas: NDArray[np.float64]
    fold_of_row: NDArray[np.int64]
    extend: bool
    axes: _Axes

    @cached_property
    def folds(self) -> tuple[_Fold, ...]:
        """Internal: a decomposition per fold, made for the first `select`; to refit and to predict takes none."""
        candidates = _candidates(self.alphas, self.extend)
        return tuple(_prepare_fold(self.axes, rows, candidates) for rows in _fold_rows(self.fold_of_row))

    def select(
        self, Y: NDArray[np.floating], *, rows: NDArray[np.integer] | None = None, block: int | None = None
    ) -> RidgeSelection:
        """Choose each target's penalty by cross-validation.

        Parameters
        ----------
        Y : (n, v) array, or (more, v) with `rows`
            Targets; may be memory-mapped, and is read in blocks of columns, never copied whole.
        rows : (n,) int array, optional
            The rows of Y that belong to the rows of X; the others are not read.
        block : int, optional
            Targets per block; by default as many as `BLOCK_BYTES` hold.

        Returns
        -------
        RidgeSelection

        Raises
        ------
        SpecError
            A block below 1.
        DatasetError
            Y or `rows` do not go with X; NaN or infinite values.
        """
        scores = np.empty((len(_candidates(self.alphas, self.extend)), Y.shape[-1]))
        for columns, r, _, _ in _scored_blocks(self, Y, rows, block):
            scores[:, columns] = r
        return _choose(self, scores)

    def refit(
        self,
        Y: NDArray[np.floating],
        alpha: ArrayLike,
        *,
        rows: NDArray[np.integer] | None = None,
        block: int | None = None,
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Fit on all rows, every target with its own given penalty.

        Parameters
        ----------
        Y, rows, block
            As in `select`.
        alpha : (v,) array or float
            Penalties, above 0; they need not be in the grid.

        Returns
        -------
        coef : (p, v) array, dtype of Y
        intercept : (v,) array

        Raises
        ------
        SpecError
            Penalties that are not above 0, or not one per target; a block below 1.
        DatasetError
            As in `select`.
        """
        coef = np.empty((self.X.shape[1], Y.shape[-1]), dtype=_numpy_dtype(Y))
        intercept = np.empty(Y.shape[-1], dtype=coef.dtype)
        factors = _to_features(self, _target_dtype(Y))
        for columns, weights, mean in _fitted_blocks(self, Y, alpha, rows, block):
            coef[:, columns], intercept[columns] = _coefficients(self.axes, factors, weights, mean)
        return coef, intercept

    def predict(
        self,
        X_new: NDArray[np.floating],
        Y: NDArray[np.floating],
        alpha: ArrayLike,
        *,
        rows: NDArray[np.integer] | None = None,
        block: int | None = None,
    ) -> Iterator[tuple[slice, NDArray[np.floating], NDArray[np.float64]]]:
        """Fit on all rows, every target with its own penalty, and predict other rows; without coefficients of features.

        Parameters
        ----------
        X_new : (m, p) array
            Features of the rows to predict.
        Y, alpha, rows, block
            As in `refit`.

        Yields
        ------
        columns : slice
            Which targets.
        deviations : (m, b) array, dtype of Y
            The prediction is ``means + deviations``. They come apart because a large penalty makes a deviation that the
            sum would round away, and with it r.
        means : (b,) float64 array
            Of the targets.

        Raises
        ------
        SpecError, DatasetError
            As in `refit`; features of another number, or that hold NaN.
        """
        _check_new(X_new, self.X.shape[1])
        new = _coordinates(self, X_new).to(_target_dtype(Y))
        for columns, weights, mean in _fitted_blocks(self, Y, alpha, rows, block):
            yield columns, matmul(new, weights).cpu().numpy(), mean


def prepare_ridge(
    X: NDArray[np.floating],
    alphas: ArrayLike,
    n_folds: int = 5,
    *,
    groups: ArrayLike | None = None,
    seed: int = 0,
    extend: bool = False,
    device: str = "cpu",
) -> RidgeDesign:
    """Put the features on their principal axes and deal out the folds: the work that targets have in common.

    Parameters, errors: as `fit_ridge`, for which this is the first step.

    Returns
    -------
    RidgeDesign
        For any number of targets, subjects or ROIs that have these rows in common.
    """
    grid = np.unique(np.asarray(alphas, dtype=np.float64))
    _check_alphas(grid)
    _check_features(X)
    fold_of_row = assign_folds(len(X), n_folds, groups, seed)
    axes = _principal_axes(X, np.argsort(fold_of_row, kind="stable"), torch.device(device))
    return RidgeDesign(X, grid, fold_of_row, extend, axes)


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
        Targets; may be memory-mapped, and is read once in blocks of columns, never copied whole.
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
    _check_features(X)
    _check_targets(Y, None, len(X), block)
    design = prepare_ridge(X, alphas, n_folds, groups=groups, seed=seed, extend=extend, device=device)
    scores = np.empty((len(_candidates(design.alphas, extend)), Y.shape[1]))
    coef = np.empty((X.shape[1], Y.shape[1]), dtype=_numpy_dtype(Y))
    mean = np.empty(Y.shape[1])
    q = len(design.axes.eigenvalues)
    spans = []
    for columns, r, cross, y_mean in _scored_blocks(design, Y, None, block):
        # The cross-products wait, in the place of the coefficients, for the penalties of all targets.
        scores[:, columns], coef[:q, columns], mean[columns] = r, cross.cpu().numpy(), y_mean
        spans.append(columns)
    selection = _choose(design, scores)
    intercept = np.empty(Y.shape[1], dtype=coef.dtype)
    factors = _to_features(design, _target_dtype(Y))
    for columns in spans:
        cross = torch.from_numpy(coef[:q, columns]).to(design.axes.mean.device)
        weights = _weights(design.axes, cross, selection.alpha[columns])
        coef[:, columns], intercept[columns] = _coefficients(design.axes, factors, weights, mean[columns])
    return RidgeFit(**vars(selection), coef=coef, intercept=intercept)


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
    _check_new(X, len(fit.coef))
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
    order : (n,) int array
        Which row of X each of `rows` is: the rows of a fold follow one another.
    mean : (p,) float64 tensor
    rows : (n, q) float64 tensor
        Coordinates; columns are orthogonal, sum to 0, and have squared length `eigenvalues`.
    eigenvalues : (q,) float64 tensor
        Descending, above rounding.
    directions : (p, q) float64 tensor or None
        The axes, orthonormal; None when p > n, where they are ``(X - mean)' rows / eigenvalues``.
    """

    order: NDArray[np.intp]
    mean: Tensor
    rows: Tensor
    eigenvalues: Tensor
    directions: Tensor | None


def _principal_axes(X: NDArray[np.floating], order: NDArray[np.intp], device: torch.device) -> _Axes:
    """Put X on its principal axes, from X'X when p <= n and from XX' when p > n."""
    rounding = len(X) * float(np.finfo(np.float64).eps)
    mean = torch.from_numpy(X.mean(axis=0, dtype=np.float64)).to(device)
    if X.shape[1] <= len(X):
        centred = torch.from_numpy(X[order]).to(device, torch.float64)
        centred -= mean
        gram = matmul(centred.T, centred)
        if _is_diagonal(gram, X.dtype):  # scores of a PCA of these rows, as an encoding model has them
            squares, place = gram.diagonal().sort(descending=True)
            kept = place[squares > rounding * squares[0]]
            directions = torch.eye(len(gram), dtype=torch.float64, device=device)[:, kept]
            return _Axes(order, mean, centred[:, kept], squares[: len(kept)], directions)
        eigenvalues, directions = leading_eigenvectors(gram, X.shape[1], rounding)
        return _Axes(order, mean, matmul(centred, directions), eigenvalues, directions)
    gram = centred_gram(X, order, device, np.float64)[1]
    eigenvalues, vectors = leading_eigenvectors(gram, len(X), rounding)
    return _Axes(order, mean, vectors * eigenvalues.sqrt(), eigenvalues, None)


def _is_diagonal(gram: Tensor, dtype: DTypeLike) -> bool:
    """Whether the features are uncorrelated, to the rounding that their dtype brings.

    With E the matrix of their correlations, taken for 0, solutions are wrong by a share of about its norm at most.
    """
    scale = gram.diagonal().sqrt()
    if float(scale.max()) == 0:
        return False
    scale = scale.clamp(min=torch.finfo(gram.dtype).tiny)
    correlations = (gram / scale / scale[:, None]).fill_diagonal_(0.0)
    return float(correlations.norm()) <= UNCORRELATED * float(np.finfo(dtype).eps)


def _coordinates(design: RidgeDesign, X_new: NDArray[np.floating]) -> Tensor:
    """Other rows, (m, p), on the principal axes; (m, q) float64."""
    axes = design.axes
    centred = torch.from_numpy(np.ascontiguousarray(X_new)).to(axes.mean.device, torch.float64) - axes.mean
    if axes.directions is not None:
        return matmul(centred, axes.directions)
    products = torch.zeros(len(X_new), len(design.X), dtype=torch.float64, device=axes.mean.device)
    width = max(1, BLOCK_BYTES[axes.mean.device.type] // (8 * len(design.X)))
    for start in range(0, len(axes.mean), width):
        columns = slice(start, start + width)
        old = torch.from_numpy(design.X[axes.order, columns]).to(axes.mean.device, torch.float64) - axes.mean[columns]
        products += matmul(centred[:, columns], old.T)
    return matmul(products, axes.rows / axes.eigenvalues)


# --- cross-validation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fold:
    """What one fold needs to score any target; q axes, m left-out rows, K filters, a penalties.

    With B (q,) the training rows' ``Q' X' y``, the coefficients at penalty number i are ``shrinkage[i] * B`` but for
    their scale, which r does not see; ``shrinkage`` is ``mixing @ filters`` to rounding.
    """

    rows: slice  #: the left-out ones among the rows of `_Axes`
    n_train: int
    mean_train: Tensor  #: (q,) of the training rows
    mean_test: Tensor  #: (q,) of the left-out rows
    vectors: Tensor  #: (q, q) eigenvectors of the training rows' Gram matrix
    root: Tensor  #: (q, t), t = min(m, q), lower triangular: root @ root' is the left-out rows' Gram matrix on those
    shrinkage: Tensor  #: (a, q) 1 / (eigenvalue + alpha), each row scaled: r does not depend on scale
    filters: Tensor  #: (K, q)
    mixing: Tensor  #: (a, K), columns in descending order of what their filters contribute
    contributions: Tensor  #: (K,) as a share of the largest

    def cast(self, dtype: torch.dtype) -> _Fold:
        """Return the fold in the dtype of the targets, with the filters that count in it."""
        rank = int((self.contributions > FILTER_TOLERANCE[dtype]).sum())
        return replace(
            self,
            mean_train=self.mean_train.to(dtype),
            mean_test=self.mean_test.to(dtype),
            vectors=self.vectors.to(dtype),
            root=self.root.to(dtype),
            shrinkage=self.shrinkage.to(dtype),
            filters=self.filters[:rank].to(dtype).contiguous(),
            mixing=self.mixing[:, :rank],
        )


def _fold_rows(fold_of_row: NDArray[np.int64]) -> list[slice]:
    """Return where every fold's rows are, in the order of `_Axes`."""
    ends = [0, *np.cumsum(np.bincount(fold_of_row)).tolist()]
    return [slice(start, end) for start, end in pairwise(ends)]


def _candidates(grid: NDArray[np.float64], extend: bool) -> NDArray[np.float64]:
    """Return the penalties that are scored: the grid, and the decades that may be added, at next to no cost (4)."""
    decades = 10.0 ** np.arange(1, MAX_EXTRA_DECADES + 1) if extend else np.empty(0)
    return np.concatenate([grid[0] / decades[::-1], grid, grid[-1] * decades])


def _prepare_fold(axes: _Axes, left_out: slice, alphas: NDArray[np.float64]) -> _Fold:
    """Decompose the training rows of one fold."""
    x = axes.rows[left_out]
    n_train = len(axes.rows) - len(x)
    total = x.sum(0)
    mean_train, mean_test = -total / n_train, total / len(x)  # all rows together sum to 0
    gram = torch.diag(axes.eigenvalues) - matmul(x.T, x) - n_train * torch.outer(mean_train, mean_train)
    eigenvalues, vectors = eigh(gram)
    # Directions that the training rows do not span: the coefficients there are 0, not rounding divided by alpha.
    spanned = eigenvalues > len(gram) * torch.finfo(gram.dtype).eps * eigenvalues[-1]
    eigenvalues = torch.where(spanned, eigenvalues, 0.0)
    root = torch.linalg.qr(matmul(x - mean_test, vectors), mode="r").R
    penalties = torch.from_numpy(alphas).to(gram.device)
    shrinkage = spanned / (eigenvalues + penalties[:, None])
    # A target that is noise weighs on axis i like this: sqrt(eigenvalue) in B, times the length of the left-out rows.
    weight = eigenvalues.sqrt() * root.norm(dim=0)
    shrinkage = shrinkage / (shrinkage * weight).norm(dim=1, keepdim=True).clamp(min=torch.finfo(gram.dtype).tiny)
    left, singular, right = torch.linalg.svd(shrinkage * weight, full_matrices=False)
    return _Fold(
        rows=left_out,
        n_train=n_train,
        mean_train=mean_train,
        mean_test=mean_test,
        vectors=vectors,
        root=root.T.contiguous(),
        shrinkage=shrinkage,
        filters=singular[:, None] * right / torch.where(weight > 0, weight, 1.0),
        mixing=left,
        contributions=singular / singular[0],
    )


def _scored_blocks(
    design: RidgeDesign, Y: NDArray[np.floating], rows: NDArray[np.integer] | None, block: int | None
) -> Iterator[tuple[slice, NDArray[np.float64], Tensor, NDArray[np.float64]]]:
    """Yield blocks of targets: columns, r per candidate (a, b), cross-products with all rows (q, b), means (b,)."""
    _check_targets(Y, rows, len(design.X), block)
    dtype = _target_dtype(Y)
    x = design.axes.rows.to(dtype)
    folds = [fold.cast(dtype) for fold in design.folds]
    for columns, y, low, high, mean in _blocks(design, Y, rows, block or _block_size(design, dtype, folds)):
        products = torch.stack([matmul(y[fold.rows].T, x[fold.rows]) for fold in folds])
        total = products.sum(0)
        r = _score(y, low, high, products, total, folds)
        yield columns, r.T.cpu().numpy(), total.T, mean


def _score(y: Tensor, low: Tensor, high: Tensor, products: Tensor, total: Tensor, folds: Sequence[_Fold]) -> Tensor:
    """Mean over folds of the left-out r, for every target and penalty.

    Shapes: y (n, b) centred, low and high (folds, b), products (folds, b, q), total (b, q) -> (b, a) float64.
    """
    sums = torch.stack([y[fold.rows].sum(0) for fold in folds])
    r_sum = torch.zeros(y.shape[1], len(folds[0].mixing), dtype=torch.float64, device=y.device)
    n_defined = torch.zeros_like(r_sum)
    for number, fold in enumerate(folds):
        others = [other for other in range(len(folds)) if other != number]
        train = total - products[number]
        train.addr_(sums[others].sum(0), fold.mean_train, alpha=-1)
        test = torch.addr(products[number], sums[number], fold.mean_test, alpha=-1)
        squares = _sum_of_squares(y[fold.rows], sums[number] / len(y[fold.rows]))
        r = _fold_r(matmul(train, fold.vectors), matmul(test, fold.vectors), squares, fold)
        varies = (high[others].amax(0) > low[others].amin(0)) & (high[number] > low[number])
        defined = varies[:, None] & torch.isfinite(r)
        r_sum += torch.where(defined, r, 0.0)
        n_defined += defined
    return r_sum / n_defined


def _fold_r(train: Tensor, test: Tensor, target_squares: Tensor, fold: _Fold) -> Tensor:
    """Pearson r in the left-out rows from cross-products alone.

    Shapes: train, test (b, q) cross-products on the fold's eigenvectors; target_squares (b,) -> (b, a) float64.
    """
    covariance = matmul(train * test, fold.shrinkage.T)
    rank = len(fold.filters)
    filtered = (train[:, None] * fold.filters).view(-1, train.shape[1])  # (b K, q)
    gram = torch.zeros(len(train), rank, rank, dtype=train.dtype, device=train.device)
    for start in range(0, fold.root.shape[1], PANEL):
        predicted = matmul(filtered[:, start:], fold.root[start:, start : start + PANEL])
        predicted = predicted.view(len(train), rank, -1)
        gram.baddbmm_(predicted, predicted.transpose(1, 2))
    pairs = (fold.mixing[:, :, None] * fold.mixing[:, None]).flatten(1)
    predicted_squares = matmul(gram.flatten(1).double(), pairs.T)
    return (covariance.double() / (predicted_squares * target_squares[:, None]).sqrt()).clamp(-1.0, 1.0)


def _sum_of_squares(values: Tensor, mean: Tensor) -> Tensor:
    """Sum of squared deviations of the columns; (m, b), (b,) -> (b,) float64."""
    return (values - mean).square_().sum(0).double()


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


def _choose(design: RidgeDesign, scores: NDArray[np.float64]) -> RidgeSelection:
    """Take the best-scoring penalty per target; the largest where no score is defined; scores (candidates, v)."""
    candidates = _candidates(design.alphas, design.extend)
    margin = (len(candidates) - len(design.alphas)) // 2
    kept = _widened(scores, slice(margin, margin + len(design.alphas)))
    alphas, scores = candidates[kept], scores[kept]
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


def _fitted_blocks(
    design: RidgeDesign,
    Y: NDArray[np.floating],
    alpha: ArrayLike,
    rows: NDArray[np.integer] | None,
    block: int | None,
) -> Iterator[tuple[slice, Tensor, NDArray[np.float64]]]:
    """Yield blocks of targets: which columns, coefficients on the principal axes (q, b), means (b,)."""
    _check_targets(Y, rows, len(design.X), block)
    penalties = np.asarray(alpha, dtype=np.float64)
    _check_alphas(penalties)
    if penalties.shape not in ((), Y.shape[1:]):
        raise SpecError("There must be one penalty per target.", got=str(penalties.shape), expected=str(Y.shape[1:]))
    penalties = np.broadcast_to(penalties, Y.shape[1:])
    dtype = _target_dtype(Y)
    x = design.axes.rows.to(dtype)
    for columns, y, _, _, mean in _blocks(design, Y, rows, block or _block_size(design, dtype)):
        yield columns, _weights(design.axes, matmul(x.T, y), penalties[columns]), mean


def _weights(axes: _Axes, cross: Tensor, alpha: NDArray[np.float64]) -> Tensor:
    """Coefficients on the principal axes, where X'X is diagonal: every target's own penalty is one division; (q, b)."""
    penalty = torch.from_numpy(np.array(alpha)).to(cross.device)
    return (cross.double() / (axes.eigenvalues[:, None] + penalty)).to(cross.dtype)


def _to_features(design: RidgeDesign, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Matrices that, applied one after the other, turn coefficients on the axes into coefficients of the features."""
    axes = design.axes
    if axes.directions is not None:
        return (axes.directions.to(dtype),)
    centred = torch.from_numpy(design.X[axes.order]).to(axes.mean.device, dtype) - axes.mean.to(dtype)
    return (axes.rows / axes.eigenvalues).to(dtype), centred.T


def _coefficients(
    axes: _Axes, factors: Sequence[Tensor], weights: Tensor, y_mean: NDArray[np.float64]
) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
    """Coefficients of the features, (p, b), and intercepts, (b,), from coefficients on the principal axes (q, b)."""
    for factor in factors:
        weights = matmul(factor, weights)
    return weights.cpu().numpy(), y_mean - (axes.mean.to(weights.dtype) @ weights).cpu().numpy()


# --- targets ----------------------------------------------------------------------------------------------------------


def _blocks(
    design: RidgeDesign, Y: NDArray[np.floating], rows: NDArray[np.integer] | None, size: int
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor, NDArray[np.float64]]]:
    """Yield blocks of targets, their rows in the order of `_Axes`.

    columns; centred values (n, b) on the device, exactly 0 for a constant target; smallest and largest value in every
    fold (folds, b); means (b,) float64.
    """
    order = design.axes.order if rows is None else np.asarray(rows)[design.axes.order]
    parts = _fold_rows(design.fold_of_row)
    for start in range(0, Y.shape[1], size):
        columns = slice(start, min(start + size, Y.shape[1]))
        # A slice, then rows: of a memory map only this block's rows and columns are read.
        values = Y[:, columns][order].astype(_numpy_dtype(Y), copy=False)
        y = torch.from_numpy(values).to(design.axes.mean.device)
        extremes = [torch.aminmax(y[part], dim=0) for part in parts]
        low, high = torch.stack([fold.min for fold in extremes]), torch.stack([fold.max for fold in extremes])
        bottom, top = low.amin(0), high.amax(0)
        finite = (torch.isfinite(bottom) & torch.isfinite(top)).cpu().numpy()
        if not finite.all():
            raise DatasetError(
                "The responses hold NaN or infinite values.",
                got=f"column {start + int(finite.argmin())} and {int((~finite).sum()) - 1} of those after it",
                expected="finite numbers",
                mend="leave these vertices out, or repair the file; `python -m brainviz check` lists them.",
            )
        rough = torch.where(bottom == top, bottom, y.mean(0))
        y -= rough
        mean = rough.double() + y.mean(0).double()
        yield columns, y, low, high, mean.cpu().numpy()


def _block_size(design: RidgeDesign, dtype: torch.dtype, folds: Sequence[_Fold] = ()) -> int:
    """Return how many targets' working arrays `BLOCK_BYTES` hold: responses, products, filtered coefficients."""
    n, q = design.axes.rows.shape
    filters = max((len(fold.filters) for fold in folds), default=0)
    per_target = dtype.itemsize * (2 * n + (2 * len(folds) + 3 + filters) * q)
    return max(1, BLOCK_BYTES[design.axes.mean.device.type] // per_target)


def _target_dtype(Y: NDArray[np.floating]) -> torch.dtype:
    """Return the dtype of products with the targets: float64 for float64 targets, else float32."""
    return torch.float64 if Y.dtype == np.float64 else torch.float32


def _numpy_dtype(Y: NDArray[np.floating]) -> type[np.floating]:
    return np.float64 if Y.dtype == np.float64 else np.float32


# --- what cannot be fitted --------------------------------------------------------------------------------------------


def _check_alphas(alphas: NDArray[np.float64]) -> None:
    """Refuse penalties that are not above 0."""
    if alphas.size == 0 or not np.all(np.isfinite(alphas) & (alphas > 0)):
        raise SpecError("The ridge penalties cannot be used.", got=f"{alphas.tolist()}", expected="numbers above 0")


def _check_features(X: NDArray[np.floating]) -> None:
    """Refuse what is not a matrix of finite floats."""
    if X.ndim != 2 or X.shape[1] < 1 or X.dtype not in (np.float32, np.float64):
        raise DatasetError(
            "The features are not a matrix of floats.",
            got=f"{X.dtype} {X.shape}",
            expected="float32 (images, features)",
        )
    if len(X) < 2:
        raise DatasetError("A regression needs at least two images.", got=str(len(X)))
    _check_finite(X)


def _check_new(X: NDArray[np.floating], n_features: int) -> None:
    """Refuse features that do not belong to a model of so many features."""
    if X.ndim != 2 or X.shape[1] != n_features:
        raise DatasetError(
            "These features do not belong to the model.", got=f"shape {X.shape}", expected=f"(images, {n_features})"
        )
    _check_finite(X)


def _check_finite(X: NDArray[np.floating]) -> None:
    """Refuse features that are not finite."""
    if not np.isfinite(X).all():
        raise DatasetError("The features hold NaN or infinite values.", got=f"{int((~np.isfinite(X)).sum())} of them")


def _check_targets(Y: NDArray[np.floating], rows: NDArray[np.integer] | None, n: int, block: int | None) -> None:
    """Refuse targets that do not go with n rows of features; their values are checked block by block."""
    if block is not None and block < 1:
        raise SpecError("A block needs at least one target.", got=str(block))
    if Y.ndim != 2 or (rows is None and len(Y) != n) or Y.dtype.kind not in "fiu":
        raise DatasetError(
            "The responses do not go with the features.",
            got=f"{Y.dtype} {Y.shape}",
            expected=f"numbers ({n}, targets)",
        )
    if rows is None:
        return
    index = np.asarray(rows)
    if index.shape != (n,) or index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= len(Y):
        raise DatasetError(
            "The rows of the responses do not go with the features.",
            got=f"{index.dtype} {index.shape}, from {index.min(initial=0)} to {index.max(initial=0)}",
            expected=f"{n} row numbers between 0 and {len(Y) - 1}",
        )
