"""How good a prediction is: Pearson r per vertex, noise ceiling, Algonauts score, share of vertices improved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.datasets.ceiling import noise_ceiling as noise_ceiling  # data sets need it too, and are below
from brainviz.errors import DatasetError, SpecError

#: Columns that are turned to float64 at a time.
COLUMNS_PER_BLOCK = 4096


def pearson_r(predicted: NDArray[np.floating], measured: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correlate two matrices column by column.

    Parameters
    ----------
    predicted, measured : (n, v) array
        Rows are images, columns are vertices; either may be memory-mapped.

    Returns
    -------
    (v,) float64 array
        Pearson's r, computed in float64. NaN where either column is constant or holds a NaN.

    Raises
    ------
    DatasetError
        The shapes differ, or there are fewer than two rows.
    """
    if predicted.ndim != 2 or predicted.shape != measured.shape:
        raise DatasetError(
            "Predicted and measured responses do not match.",
            got=f"shapes {predicted.shape} and {measured.shape}",
            expected="two (images, vertices) arrays of one shape",
        )
    if len(predicted) < 2:
        raise DatasetError("A correlation needs at least two images.", got=f"{len(predicted)}")
    r = np.empty(predicted.shape[1])
    for start in range(0, len(r), COLUMNS_PER_BLOCK):
        block = slice(start, start + COLUMNS_PER_BLOCK)
        r[block] = _correlate(_unit_columns(predicted[:, block]), _unit_columns(measured[:, block]))
    return r


def _unit_columns(block: NDArray[np.floating]) -> NDArray[np.float64]:
    """Centre the columns and give them length 1; a constant column becomes NaN."""
    values = np.array(block, dtype=np.float64)
    # Asked of the values themselves: after centring, rounding would make a constant column look like noise.
    constant = values.max(axis=0) == values.min(axis=0)
    values -= values.mean(axis=0)
    values[:, constant] = np.nan
    values /= np.linalg.norm(values, axis=0)
    return values


def _correlate(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    r: NDArray[np.float64] = np.einsum("ij,ij->j", a, b)
    return r.clip(-1.0, 1.0)


@dataclass(frozen=True)
class AlgonautsScore:
    """The Algonauts 2023 score; ``float(score)`` is the mean.

    Attributes
    ----------
    per_vertex : (v,) float64 array
        ``100 * max(r, 0)^2 / NC``, at most 100; NaN where the vertex has no noise ceiling (0 or NaN), 0 where r is NaN.
    mean : float
        Over all vertices that have a noise ceiling; NaN when there are none.
    n_excluded : int
        Vertices without a noise ceiling, which the mean leaves out.
    n_undefined : int
        Vertices with a noise ceiling whose r is NaN: nothing was predicted, so they count as 0.
    """

    per_vertex: NDArray[np.float64]
    mean: float
    n_excluded: int
    n_undefined: int

    def __float__(self) -> float:
        return self.mean


def algonauts_score(r: ArrayLike, noise_ceiling: ArrayLike) -> AlgonautsScore:
    """Score correlations against their noise ceiling, as the Algonauts 2023 challenge does (methods, section 3).

    The official scorer divides by a tiny number where the ceiling is 0; here those vertices are left out and counted.

    Parameters
    ----------
    r : (v,) array
        Pearson r per vertex, of both hemispheres where there are two.
    noise_ceiling : (v,) array
        Share of the variance that is signal, 0..1.

    Returns
    -------
    AlgonautsScore

    Raises
    ------
    DatasetError
        The shapes differ, or a ceiling is outside 0..1.
    """
    correlation = np.asarray(r, dtype=np.float64)
    ceiling = np.asarray(noise_ceiling, dtype=np.float64)
    if correlation.ndim != 1 or correlation.shape != ceiling.shape:
        raise DatasetError(
            "Correlations and noise ceilings do not match.",
            got=f"shapes {correlation.shape} and {ceiling.shape}",
            expected="two arrays (vertices,) of one length",
        )
    if np.any(ceiling < 0) or np.any(ceiling > 1):
        raise DatasetError(
            "A noise ceiling lies outside 0..1.",
            got=f"{np.nanmin(ceiling):g} to {np.nanmax(ceiling):g}",
            expected="the share of the variance that is signal",
            mend="divide by 100 if these are per cent.",
        )
    scored = ceiling > 0
    undefined = scored & np.isnan(correlation)
    per_vertex = np.full(len(correlation), np.nan)
    positive = np.clip(np.where(undefined, 0.0, correlation), 0.0, None)
    per_vertex[scored] = np.minimum(100.0 * positive[scored] ** 2 / ceiling[scored], 100.0)
    mean = float(per_vertex[scored].mean()) if scored.any() else float("nan")
    return AlgonautsScore(per_vertex, mean, int((~scored).sum()), int(undefined.sum()))


def share_improved(r_a: ArrayLike, r_b: ArrayLike) -> float:
    """Return the share of vertices with ``r_a > r_b``, among those where both are finite; NaN when there are none.

    Parameters
    ----------
    r_a, r_b : (v,) array
        Pearson r of two methods at the same vertices.

    Raises
    ------
    SpecError
        The shapes differ: the two methods were not tested on the same vertices.
    """
    a, b = np.asarray(r_a, dtype=np.float64), np.asarray(r_b, dtype=np.float64)
    if a.shape != b.shape:
        raise SpecError("Two methods can only be compared at the same vertices.", got=f"{a.shape} and {b.shape} values")
    both = np.isfinite(a) & np.isfinite(b)
    return float(np.mean(a[both] > b[both])) if both.any() else float("nan")
