"""How sure a number is: bootstrap over test images, permutation test of two methods, false discovery, spread.

What the intervals and tests are about: the fitted models are taken as they are, and the test images are a random
sample of the pictures that might have been shown. *Images* are drawn or exchanged, never vertices: the vertices of a
ROI share the picture and much of the noise, so that they are no independent observations. Equal pictures (`groups`)
stay together. What fitting the models to other training images, or to another subject, would have changed is not in
these intervals; `spread` over subjects tells about the latter.

The share of vertices improved has no bootstrap interval here, on purpose. Resampling adds noise to every vertex's
difference a second time, which draws the share towards one half: its replicates do not scatter around the value that
they are to describe. Report it with its `spread` over subjects instead, and say so.

References
----------
Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapters 6, 13 and 14 (the intervals).
Nichols & Holmes 2002, Human Brain Mapping 15, 1-25; Good 2005, Permutation, Parametric and Bootstrap Tests of
Hypotheses (exchanging within pairs).
Phipson & Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9(1), 39 (p is never 0).
Benjamini & Hochberg 1995, Journal of the Royal Statistical Society B 57, 289-300.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from brainviz.errors import DatasetError, SpecError

if TYPE_CHECKING:
    from torch import Tensor

#: Values of one float32 matrix product that are held at a time.
VALUES_PER_BLOCK = 1 << 22

#: Below this share of the column's own variance, what float32 sums leave of a variance is rounding.
_NO_VARIANCE = 1e-5

#: Differences of r that count as equal, so that rounding decides no comparison.
_EQUAL = 1e-6


def bootstrap_weights(
    n: int, n_resamples: int, seed: int, groups: NDArray[np.generic] | None = None
) -> NDArray[np.float32]:
    """Draw test images with replacement: how often each is in each resample.

    The same (n, groups, seed) give the same resamples, so that replicates of two methods may be subtracted pairwise;
    fewer resamples are the first of more.

    Parameters
    ----------
    n, n_resamples : int
        Number of images and of resamples (B).
    seed : int
    groups : (n,) array, optional
        Equal values mark equal pictures. As many groups are drawn as there are, each with all its images.

    Returns
    -------
    (B, n) float32 array
        Whole numbers.

    Raises
    ------
    SpecError
        Fewer than two images or no resamples, or `groups` has another length.
    """
    if n < 2 or n_resamples < 1:
        raise SpecError(
            "Nothing can be resampled.",
            got=f"{n} images, {n_resamples} resamples",
            expected="at least 2 images and 1 resample",
        )
    group, n_groups = _numbered(groups, n)
    drawn = np.random.default_rng(seed).integers(n_groups, size=(n_resamples, n_groups))
    drawn += n_groups * np.arange(n_resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=n_resamples * n_groups).reshape(n_resamples, n_groups)
    return counts[:, group].astype(np.float32)


def bootstrap_r(
    predicted: NDArray[np.floating],
    measured: NDArray[np.floating],
    weights: NDArray[np.float32],
    *,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """Pearson r per vertex in every resample of the images.

    With standardised columns x, y and the counts w of a resample, r follows from the five sums of w x, w y, w x^2,
    w y^2 and w x y: one matrix product for all resamples.

    Parameters
    ----------
    predicted, measured : (n, v) array
        Rows are images, columns are vertices; either may be memory-mapped.
    weights : (B, n) float32 array
        Of `bootstrap_weights`; a row of ones gives the images as they are.
    device : str
        ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    (B, v) float32 array
        NaN where either column is constant (in the resample) or holds a NaN. Correct to about 1e-6.

    Raises
    ------
    DatasetError
        The shapes of `predicted` and `measured` differ.
    SpecError
        `weights` do not fit.
    """
    import torch

    from brainviz.encoding.linalg import matmul

    _require_pair(predicted, measured)
    n, n_columns = predicted.shape
    if weights.ndim != 2 or weights.shape[1] != n:
        raise SpecError("The weights do not fit the images.", got=f"shape {weights.shape}", expected=f"(B, {n})")
    counts = torch.from_numpy(np.array(weights, np.float32)).to(device)
    counts /= counts.sum(1, keepdim=True)
    replicates = np.empty((len(weights), n_columns), np.float32)
    width = max(1, VALUES_PER_BLOCK // (5 * max(len(weights), n)))
    for start in range(0, n_columns, width):
        block = slice(start, start + width)
        x, y = _standardised(predicted[:, block], device), _standardised(measured[:, block], device)
        sums = matmul(counts, torch.cat([x, y, x * x, y * y, x * y], dim=1))
        mean_x, mean_y, square_x, square_y, product = sums.chunk(5, dim=1)
        var_x, var_y = square_x - mean_x**2, square_y - mean_y**2
        r = ((product - mean_x * mean_y) / (var_x * var_y).sqrt()).clamp(-1, 1)
        r[(var_x < _NO_VARIANCE) | (var_y < _NO_VARIANCE)] = torch.nan
        replicates[:, block] = r.cpu().numpy()
    return replicates


def interval(
    replicates: NDArray[np.floating], level: float = 0.95, *, estimate: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bootstrap interval along axis 0, NaN left out: percentile, or bias-corrected where the estimate is given.

    For differences between two methods the percentile interval is right: what bias r has is nearly the same in both.
    For r, or its mean over a ROI, give the estimate. r is a little too small in samples (by about
    ``rho (1 - rho^2) / 2n``), and each resample repeats that; where a mean over many vertices makes the interval short,
    the percentile interval then lies too low. The bias-corrected one reads the quantiles at ``Phi(2 z0 + z)``, where
    ``Phi(z0)`` is the share of the replicates below the estimate (Efron & Tibshirani 1993, chapter 14, with
    acceleration 0). Measured coverage is in ``tests/encoding/test_statistics_calibration.py``.

    Parameters
    ----------
    replicates : (B, ...) array
    level : float
        Between 0 and 1.
    estimate : (...) array, optional
        The value that the replicates belong to, from the images as they are.

    Returns
    -------
    low, high : (...) float64 arrays
        Quantiles by linear interpolation, as `numpy.nanquantile`; NaN where every replicate, or the estimate, is NaN.

    Raises
    ------
    SpecError
        No replicates, an estimate that does not fit them, or a level that is not between 0 and 1.
    """
    values = np.asarray(replicates)
    shape = values.shape[1:]
    centre = None if estimate is None else np.asarray(estimate, dtype=np.float64)
    if values.ndim == 0 or len(values) == 0 or not 0 < level < 1 or (centre is not None and centre.shape != shape):
        raise SpecError(
            "There is nothing to take an interval of.",
            got=f"replicates of shape {values.shape}, level {level}"
            + ("" if centre is None else f", an estimate of shape {centre.shape}"),
            expected="at least one replicate, an estimate of the shape of one, and a level between 0 and 1",
        )
    columns = values.reshape(len(values), -1)
    low, high = np.empty(columns.shape[1]), np.empty(columns.shape[1])
    width = max(1, VALUES_PER_BLOCK // len(values))
    for start in range(0, columns.shape[1], width):
        block = slice(start, start + width)
        # numpy.nanquantile takes one column at a time as soon as there is a NaN; sorting puts NaN last.
        ordered = np.sort(columns[:, block].T, axis=1)
        n_finite = np.count_nonzero(~np.isnan(ordered), axis=1)
        shift = np.zeros(len(ordered)) if centre is None else 2 * _below(ordered, n_finite, centre.reshape(-1)[block])
        for bound, tail in ((low, (1 - level) / 2), (high, (1 + level) / 2)):
            bound[block] = _quantile(ordered, n_finite, stats.norm.cdf(shift + stats.norm.ppf(tail)))
    return low.reshape(shape), high.reshape(shape)


def _below(
    ordered: NDArray[np.floating], n_finite: NDArray[np.int64], centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return z0: the normal quantile of the share of each row's finite values below its centre, ties counted half."""
    # The estimate comes in float64, the replicates in float32: compared as they are kept, equal values tie.
    centre = centre.astype(ordered.dtype)[:, None]
    share = (np.count_nonzero(ordered < centre, axis=1) + np.count_nonzero(ordered <= centre, axis=1)) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        # Never 0 or 1: with all replicates on one side, the side's last one is as far as anyone can see.
        z0 = stats.norm.ppf(np.clip(share / n_finite, 0.5 / n_finite, 1 - 0.5 / n_finite))
    return np.where(np.isnan(centre[:, 0]), np.nan, z0)


def _quantile(
    ordered: NDArray[np.floating], n_finite: NDArray[np.int64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate each row, sorted with NaN last, at its share; NaN where the share is, or where nothing is finite."""
    last = np.maximum(n_finite - 1, 0)
    place = np.nan_to_num(share) * last
    below = np.floor(place).astype(np.int64)
    rows = np.arange(len(ordered))
    first, second = (ordered[rows, index].astype(np.float64) for index in (below, np.minimum(below + 1, last)))
    return np.where(np.isnan(share), np.nan, first + (place - below) * (second - first))


@dataclass(frozen=True)
class PermutationTest:
    """What `permutation_test` found, per area.

    Attributes
    ----------
    difference : (A,) float64 array
        Mean r of the first method minus mean r of the second, over the vertices where both are defined.
    p : (A,) float64 array
        Two-sided, at least 1/(1 + number of permutations). NaN, as is `difference`, for an area without such vertices.
    """

    difference: NDArray[np.float64]
    p: NDArray[np.float64]


def permutation_test(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    measured: NDArray[np.floating],
    areas: Sequence[NDArray[np.integer]],
    *,
    n_permutations: int = 5000,
    seed: int = 0,
    groups: NDArray[np.generic] | None = None,
    device: str = "cpu",
) -> PermutationTest:
    """Test, area by area, whether two methods predict equally well, by exchanging their predictions image by image.

    Each column of both predictions is z-scored over the test images, so that exchanging compares what was predicted
    and not how strongly. If the methods are equally good, it does not matter which of an image's two predictions is
    called the first: for random sets of images, the same for all vertices, the predictions are exchanged and the
    statistic, the area's mean of r_first - r_second, is computed anew. ``p = (1 + #{|T*| >= |T|}) / (1 + P)``.

    With s the 0/1 vector of the exchange, every sum over the exchanged predictions is linear in s: sum of
    a + s (b - a), of a^2 + s (b^2 - a^2) and of a y + s (b - a) y. Three matrix products give them for all
    permutations, and the second method's are what is left of the total.

    Parameters
    ----------
    first, second, measured : (n, v) array
        Two methods' predictions of the same measured responses.
    areas : sequence of int arrays
        Columns of each of A areas.
    n_permutations : int
    seed : int
    groups : (n,) array, optional
        Equal values mark equal pictures, which are exchanged together.
    device : str
        ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    DatasetError
        The shapes of the three arrays differ.
    SpecError
        No permutations, or `areas` or `groups` do not fit.

    References
    ----------
    Nichols & Holmes 2002; Good 2005; Phipson & Smyth 2010 for the p-value: see the module.
    """
    import torch

    _require_pair(first, measured)
    _require_pair(second, measured)
    n, n_columns = measured.shape
    members = [np.asarray(area, np.int64) for area in areas]
    listed = np.concatenate([*members, np.empty(0, np.int64)])
    if n_permutations < 1 or np.any((listed < 0) | (listed >= n_columns)):
        raise SpecError(
            "The permutation test cannot be made.",
            got=f"{n_permutations} permutations, areas with columns {listed.min(initial=0)} to {listed.max(initial=0)}",
            expected=f"at least one permutation, and columns from 0 to {n_columns - 1}",
        )
    group, n_groups = _numbered(groups, n)
    drawn = np.random.default_rng(seed).integers(2, size=(n_permutations, n_groups), dtype=np.int8)
    # The last row exchanges nothing: the observed statistic goes the same way as the others.
    exchange = np.vstack([drawn, np.zeros((1, n_groups), np.int8)])[:, group].astype(np.float32)
    totals, counts = _exchanged_totals(first, second, measured, members, torch.from_numpy(exchange).to(device))
    with np.errstate(invalid="ignore"):
        statistic = totals / counts
    observed = statistic[-1]
    as_far = np.count_nonzero(np.abs(statistic[:-1]) >= np.abs(observed) - _EQUAL, axis=0)
    p = (1 + as_far) / (1 + n_permutations)
    return PermutationTest(observed, np.where(counts > 0, p, np.nan))


def _exchanged_totals(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    measured: NDArray[np.floating],
    areas: Sequence[NDArray[np.int64]],
    exchange: Tensor,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum r_first - r_second over each area's vertices, (P, A), and count the vertices where it is defined, (A,)."""
    import torch

    from brainviz.encoding.linalg import matmul

    n, device = len(measured), exchange.device
    columns, place = np.unique(np.concatenate([*areas, np.empty(0, np.int64)]), return_inverse=True)
    area_of = np.repeat(np.arange(len(areas)), [len(area) for area in areas])
    totals = torch.zeros(len(exchange), len(areas), dtype=torch.float64, device=device)
    counts = np.zeros(len(areas), np.int64)
    width = max(1, VALUES_PER_BLOCK // (3 * max(len(exchange), n)))
    for start in range(0, len(columns), width):
        block = columns[start : start + width]
        a, b, y = (_standardised(values[:, block], str(device)) for values in (first, second, measured))
        defined = (a[0] + b[0] + y[0]).isfinite()
        a, b, y = (values.nan_to_num(0) for values in (a, b, y))
        moved = matmul(exchange, torch.cat([b - a, b * b - a * a, (b - a) * y], dim=1)) / n
        mean, square, product = moved.chunk(3, dim=1)
        agreement = (a * y).mean(0), (b * y).mean(0)
        r_first = _r(mean, 1 + square, agreement[0] + product)
        difference = r_first - _r(-mean, 1 - square, agreement[1] - product)
        inside = (place >= start) & (place < start + len(block))
        membership = np.zeros((len(block), len(areas)))
        np.add.at(membership, (place[inside] - start, area_of[inside]), 1)
        membership *= defined.cpu().numpy()[:, None]
        totals += difference.double() @ torch.from_numpy(membership).to(device)
        counts += membership.sum(0).astype(np.int64)
    return totals.cpu().numpy(), counts


def _r(mean: Tensor, square: Tensor, product: Tensor) -> Tensor:
    """Return r with a standardised response, from a prediction's mean, mean square and mean product with it.

    An exchange may leave a constant prediction, which predicts nothing: 0.
    """
    import torch

    variance = square - mean**2
    return torch.where(variance < _NO_VARIANCE, 0.0, product / variance.clamp(min=_NO_VARIANCE).sqrt())


def false_discovery(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values over ROIs: q, the smallest false discovery rate at which each would be called a discovery.

    Parameters
    ----------
    p : (A,) array
        NaN stays NaN and does not count as a test.

    Returns
    -------
    (A,) float64 array

    References
    ----------
    Benjamini & Hochberg 1995, through `scipy.stats.false_discovery_control`.
    """
    values = np.asarray(p, dtype=np.float64)
    q = np.full(values.shape, np.nan)
    tested = ~np.isnan(values)
    if tested.any():
        q[tested] = stats.false_discovery_control(values[tested], method="bh")
    return q


@dataclass(frozen=True)
class Spread:
    """Mean of a number over subjects, and how it varies.

    Attributes
    ----------
    n : int
        Subjects that have the number.
    mean, sd : float
        The standard deviation is that of single subjects (n - 1).
    low, high : float
        Confidence interval of the mean (Student's t); NaN for fewer than two subjects, as is the sd.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float


def spread(values: ArrayLike, level: float = 0.95) -> Spread:
    """Describe a number over subjects.

    Parameters
    ----------
    values : (S,) array
        One per subject; NaN for a subject that lacks it.
    level : float
        Of the interval, between 0 and 1.
    """
    found = np.asarray(values, dtype=np.float64)
    found = found[~np.isnan(found)]
    n, mean = len(found), float(found.mean()) if len(found) else float("nan")
    if n < 2:
        return Spread(n, mean, *[float("nan")] * 3)
    sd = float(found.std(ddof=1))
    reach = float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / np.sqrt(n)
    return Spread(n, mean, sd, mean - reach, mean + reach)


def _require_pair(predicted: NDArray[np.floating], measured: NDArray[np.floating]) -> None:
    if predicted.ndim != 2 or predicted.shape != measured.shape or len(predicted) < 2:
        raise DatasetError(
            "Predicted and measured responses do not match.",
            got=f"shapes {predicted.shape} and {measured.shape}",
            expected="two (images, vertices) arrays of one shape, with at least two images",
        )


def _numbered(groups: NDArray[np.generic] | None, n: int) -> tuple[NDArray[np.int64], int]:
    """Return the number of each image's group, (n,), and how many groups there are."""
    if groups is None:
        return np.arange(n), n
    if np.shape(groups) != (n,):
        raise SpecError("There must be one group per image.", got=f"shape {np.shape(groups)}", expected=f"({n},)")
    names, numbers = np.unique(groups, return_inverse=True)
    return numbers.astype(np.int64), len(names)


def _standardised(block: NDArray[np.floating], device: str) -> Tensor:
    """Return the columns with mean 0 and variance 1 as float32; a constant one, or one with a NaN, becomes NaN."""
    import torch

    values = torch.from_numpy(np.array(block)).to(device, torch.float64)
    # Asked of the values themselves: after centring, rounding would make a constant column look like noise.
    constant = values.amax(0) == values.amin(0)
    values -= values.mean(0)
    values /= values.square().mean(0).sqrt()
    values[:, constant] = torch.nan
    return values.float()
