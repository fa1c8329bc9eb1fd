"""Noise ceilings from repeated presentations: how much of a single trial's variance is signal."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.encoding.metrics import COLUMNS_PER_BLOCK, noise_ceiling
from brainviz.errors import DatasetError


def ceiling_from_repeats(
    responses: NDArray[np.floating], pictures: NDArray[np.integer], rows: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Share of the variance of single trials that is signal, from pictures that were shown more than once.

    ``NC = ncsnr^2 / (ncsnr^2 + 1)`` with ``ncsnr = sd_signal / sd_noise``. The variance of the noise is that within
    pictures, pooled over those shown more than once, ``sum_ij (x_ij - mean_i)^2 / sum_i (n_i - 1)``; the variance of
    the signal is what it leaves of the variance over all trials, or 0.

    Parameters
    ----------
    responses : (n, v) array
        One row per trial; may be memory-mapped.
    pictures : (n,) int array
        Which picture was shown.
    rows : (m,) int array
        Trials to use, such as those of the training pictures.

    Returns
    -------
    (v,) float64 array
        0..1. NaN where the vertex holds a NaN or never varies, and everywhere if no picture is repeated.

    Raises
    ------
    DatasetError
        Responses and pictures do not match, or there is no such row.

    References
    ----------
    Allen et al. 2022, Nature Neuroscience 25, 116-126, Methods, "Noise ceiling estimation".
    """
    _check_trials(responses, pictures, rows)
    ceiling = np.full(responses.shape[1], np.nan)
    if len(rows) == 0:
        return ceiling
    # The trials of a picture one after the other, so that sums over a picture are sums over neighbours.
    rows = rows[np.argsort(pictures[rows], kind="stable")]
    _, starts, counts = np.unique(pictures[rows], return_index=True, return_counts=True)
    freedom = len(rows) - len(counts)  # pictures shown once add nothing to it, nor to the squares
    if freedom == 0:
        return ceiling
    for start in range(0, len(ceiling), COLUMNS_PER_BLOCK):
        block = slice(start, start + COLUMNS_PER_BLOCK)
        x = responses[:, block][rows].astype(np.float64)
        # Asked of the values themselves: after centring, rounding would make a constant vertex look like noise.
        varies = x.max(axis=0) > x.min(axis=0)
        total = x.var(axis=0, ddof=1)
        x -= np.repeat(np.add.reduceat(x, starts, axis=0) / counts[:, None], counts, axis=0)
        noise = np.einsum("ij,ij->j", x, x) / freedom
        signal = np.maximum(total - noise, 0)
        ceiling[block] = np.divide(signal, signal + noise, out=np.full_like(total, np.nan), where=varies)
    return ceiling


def single_trial(ceiling: ArrayLike, repeats: Mapping[int, int]) -> NDArray[np.float64]:
    """Turn the noise ceiling of averaged responses into that of a single trial.

    ``ncsnr^2 = t NC / (1 - NC)``, with t the mean of 1/k over the pictures as in `noise_ceiling`, which this inverts.

    Parameters
    ----------
    ceiling : (v,) array
        Share of the variance of responses, each the mean of k presentations, that is signal: 0..1. NaN gives NaN.
    repeats : mapping
        ``{k: number of pictures shown k times}``.

    Returns
    -------
    (v,) float64 array
        0..1, at most `ceiling`.

    Raises
    ------
    DatasetError
        A ceiling outside 0..1, no picture, or one shown less than once.
    """
    averaged = np.asarray(ceiling, dtype=np.float64)
    if np.any(averaged < 0) or np.any(averaged > 1):
        raise DatasetError(
            "A noise ceiling lies outside 0..1.",
            got=f"{np.nanmin(averaged):g} to {np.nanmax(averaged):g}",
            expected="the share of the variance that is signal",
            mend="divide by 100 if these are per cent.",
        )
    t = 1 / noise_ceiling(1.0, repeats) - 1  # where signal and noise are equal, NC = 1 / (1 + t)
    # ncsnr^2 / (ncsnr^2 + 1), multiplied out by 1 - NC, so that a ceiling of 1 stays 1.
    return t * averaged / (t * averaged + 1 - averaged)


def _check_trials(responses: NDArray[np.floating], pictures: NDArray[np.integer], rows: NDArray[np.integer]) -> None:
    if responses.ndim != 2 or pictures.shape != responses.shape[:1]:
        raise DatasetError(
            "Responses and pictures do not match.",
            got=f"responses {responses.shape}, pictures {pictures.shape}",
            expected="(trials, vertices) and (trials,): the picture of every trial",
        )
    if len(rows) and (rows.min() < 0 or rows.max() >= len(responses)):
        raise DatasetError(
            "A row is asked for that no trial belongs to.",
            got=f"rows {rows.min()} to {rows.max()}",
            expected=f"rows 0 to {len(responses) - 1}",
        )
