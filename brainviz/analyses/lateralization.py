"""Lateralization: in which half of the pictures attribution lies, and what tuning and the hemisphere make of that.

The laterality index of a map is (R - L) / (R + L), where R and L are the sums of its absolute values right and left of
the vertical midline: -1 all left, +1 all right. That of a picture is the mean of the picture's own and of its mirror
image's, each in the frame in which the network saw it: what the picture itself has on one side is then on either side
once, and cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.encoding.statistics import interval
from brainviz.errors import DatasetError


def laterality_index(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (R - L) / (R + L) of absolute attribution about the vertical midline.

    Parameters
    ----------
    maps : (..., h, w) array
        At least 2 wide. The middle column of an odd width counts for neither side.

    Returns
    -------
    (...) float64 array
        From -1 (all left) to 1 (all right); NaN where there is nothing on either side.

    Raises
    ------
    DatasetError
        A map without two sides, or values that are not finite.
    """
    width = maps.shape[-1] if maps.ndim >= 2 else 0
    if width < 2:
        raise DatasetError(
            "A map needs a left and a right half.", got=f"shape {maps.shape}", expected="at least 2 wide"
        )
    if not np.isfinite(maps).all():
        raise DatasetError("A map has values that are not finite.", got="NaN or infinity", mend="look at the target.")
    mass = np.abs(maps).sum(axis=-2, dtype=np.float64)
    left, right = mass[..., : width // 2].sum(axis=-1), mass[..., -(width // 2) :].sum(axis=-1)
    with np.errstate(invalid="ignore"):
        index: NDArray[np.float64] = (right - left) / (right + left)
    return index


def pair_index(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the index of pictures from their maps and their mirror images': the mean of the two.

    Parameters
    ----------
    maps : (n, 2, h, w) array
        Of each picture and of its mirror image, in the frames in which the network saw them.

    Returns
    -------
    (n,) float64 array
        NaN where either is.
    """
    both: NDArray[np.float64] = laterality_index(maps).mean(axis=1)
    return both


def mean_map(maps: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return where attribution lies on the average, (..., h, w) -> (h, w): 1 is as much as if it were spread evenly.

    Every map counts alike, whatever its scale; maps without anything do not count.
    """
    mass = np.abs(maps, dtype=np.float64).reshape(-1, *maps.shape[-2:])
    totals = mass.sum(axis=(1, 2))
    counted = mass[totals > 0] / totals[totals > 0, None, None]
    if not len(counted):
        return np.full(maps.shape[-2:], np.nan, np.float32)
    mean: NDArray[np.float32] = (counted.mean(axis=0) * mass[0].size).astype(np.float32)
    return mean


@dataclass(frozen=True)
class Estimate:
    """A mean over images with its bootstrap interval.

    Attributes
    ----------
    value, low, high : float
        NaN without images.
    p : float
        Two-sided; NaN where nothing is tested.
    n : int
        Images.
    """

    value: float
    low: float
    high: float
    p: float
    n: int


def mean_estimate(index: ArrayLike, weights: NDArray[np.floating]) -> Estimate:
    """Return the mean index over images.

    Parameters
    ----------
    index : (n,) array
        NaN for an image without one.
    weights : (B, n) array
        How often each image is in each resample (`brainviz.encoding.statistics.bootstrap_weights`).

    Returns
    -------
    Estimate
        Bias-corrected 95 % interval.
    """
    values = np.asarray(index, dtype=np.float64)
    known = np.isfinite(values)
    if not known.any():
        return Estimate(float("nan"), float("nan"), float("nan"), float("nan"), 0)
    value = float(values[known].mean())
    counts = weights[:, known].astype(np.float64)
    with np.errstate(invalid="ignore"):
        replicates = counts @ values[known] / counts.sum(axis=1)
    low, high = interval(replicates, estimate=value)
    return Estimate(value, float(low), float(high), float("nan"), int(known.sum()))


def paired_estimate(
    a: ArrayLike,
    b: ArrayLike,
    weights: NDArray[np.floating],
    *,
    groups: NDArray[np.integer] | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
) -> Estimate:
    """Return the mean difference of two models' indices on the same images, and test it.

    Under the null hypothesis the two models are exchangeable on every image, so that swapping their labels there only
    changes the difference's sign: p is the share of such swaps, the true labels among them, with a mean as far from 0.

    Parameters
    ----------
    a, b : (n,) arrays
        Indices; images that lack either are left out.
    weights : (B, n) array
        As in `mean_estimate`.
    groups : (n,) int array, optional
        Equal values mark equal pictures, which are swapped together.
    n_permutations : int
    seed : int
        Of the swaps.

    Returns
    -------
    Estimate
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    found = mean_estimate(difference, weights)
    known = np.isfinite(difference)
    if not known.any():
        return found
    _, number = np.unique(np.arange(len(difference)) if groups is None else groups, return_inverse=True)
    sums = np.bincount(number[known], weights=difference[known])
    signs = np.random.default_rng(seed).integers(0, 2, size=(n_permutations, len(sums)), dtype=np.int8) * 2 - 1
    swapped = np.abs(signs @ sums)
    # Rounding must not decide between equal sums, of which both may be 0.
    far = int((swapped >= abs(sums.sum()) - 1e-12 * np.abs(sums).sum()).sum())
    return Estimate(found.value, found.low, found.high, (1 + far) / (1 + n_permutations), found.n)


@dataclass(frozen=True)
class Summary:
    """An effect over subjects: the mean of a random-effects model.

    Attributes
    ----------
    value, low, high : float
        Mean and its 95 % interval; the interval is NaN for one subject.
    between : float
        Standard deviation between subjects that images do not explain.
    n : int
        Subjects.
    """

    value: float
    low: float
    high: float
    between: float
    n: int


def over_subjects(estimates: Sequence[Estimate]) -> Summary:
    """Summarise an effect over subjects by a two-level (random-effects) model.

    Each subject's mean has an uncertainty from its images, taken from its bootstrap interval, and subjects differ: the
    variance between them is Paule & Mandel's, the interval Hartung, Knapp, Sidik and Jonkman's, with Student's t
    (statsmodels' `combine_effects`), or the usual one with t where that is wider: subjects that happen to agree would
    make the former shorter than any of their own (Knapp & Hartung 2003). It is about subjects in general, unlike a
    single subject's interval.

    Parameters
    ----------
    estimates : sequence of Estimate
        One per subject; NaN ones are left out.
    """
    known = [each for each in estimates if np.isfinite([each.value, each.low, each.high]).all()]
    if len(known) < 2:
        value = known[0].value if known else float("nan")
        return Summary(value, float("nan"), float("nan"), float("nan"), len(known))
    from statsmodels.stats.meta_analysis import combine_effects  # type: ignore[import-untyped]

    values = np.array([each.value for each in known])
    # A bootstrap interval of no length, from images that all agree, would take all the weight.
    sd = np.maximum([(each.high - each.low) / (2 * 1.959964) for each in known], 1e-6)
    found = combine_effects(values, sd**2, method_re="iterated", use_t=True)
    # Of the four: random effects with the usual variance, and with Hartung and Knapp's.
    usual, knapp = found.conf_int()[1], found.conf_int()[-1]
    low, high = max(usual, knapp, key=lambda bounds: bounds[1] - bounds[0])
    between = float(np.sqrt(max(found.tau2, 0.0)))
    return Summary(float(found.mean_effect_re), float(low), float(high), between, len(known))
