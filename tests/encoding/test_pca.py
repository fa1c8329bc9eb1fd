"""PCA against scikit-learn's full solver, on both sides of n = p, and without a look at held-out rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from brainviz.encoding import pca
from brainviz.encoding.pca import fit_pca
from brainviz.errors import DatasetError, SpecError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def features(n: int, p: int, dtype: type = np.float64) -> NDArray[np.floating]:
    """Features with a decaying spectrum and means far from 0, as after a ReLU."""
    rng = np.random.default_rng(n + p)
    rank = min(n, p)
    basis = rng.standard_normal((rank, p))
    return (rng.standard_normal((n, rank)) * np.geomspace(10, 0.5, rank) @ basis + 5).astype(dtype)


def sklearn_scores(X: NDArray[np.floating], train: NDArray[np.int64], k: int) -> tuple[PCA, NDArray[np.floating]]:
    reference = PCA(k, svd_solver="full").fit(X[train].astype(np.float64))
    scores = reference.transform(X.astype(np.float64))
    strongest = scores[train][np.abs(scores[train]).argmax(axis=0), np.arange(k)]
    return reference, scores * np.sign(strongest)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-8), (np.float32, 2e-3)])
@pytest.mark.parametrize(("n", "p", "k"), [(40, 300, 12), (40, 300, 100), (120, 25, 10), (120, 25, 100), (30, 24, 50)])
def test_scores_of_all_rows_are_sklearns(
    n: int, p: int, k: int, dtype: type, tolerance: float, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pca, "BLOCK_BYTES", 10_000)  # several blocks
    X = features(n, p, dtype)
    train = np.random.default_rng(0).permutation(n)[: int(0.8 * n)]
    count = min(k, len(train) - 1, p)
    reference, expected = sklearn_scores(X, train, count)
    fit = fit_pca(X, train, k, device=device)
    assert fit.scores.dtype == dtype
    assert fit.scores.shape == (n, count)
    np.testing.assert_allclose(fit.scores, expected, atol=tolerance * np.abs(expected).max())
    np.testing.assert_allclose(fit.explained_variance, reference.explained_variance_, rtol=tolerance)
    np.testing.assert_allclose(fit.explained_variance_ratio, reference.explained_variance_ratio_, rtol=tolerance)


@pytest.mark.parametrize("p", [20, 500])
def test_held_out_rows_do_not_reach_the_fit(p: int) -> None:
    X = features(60, p)
    train, test = np.arange(0, 60, 2), np.arange(1, 60, 2)
    other = X.copy()
    other[test] = 100 * np.random.default_rng(1).standard_normal((30, p))
    mine, theirs = fit_pca(X, train, 5), fit_pca(other, train, 5)
    np.testing.assert_array_equal(mine.scores[train], theirs.scores[train])
    np.testing.assert_array_equal(mine.explained_variance, theirs.explained_variance)
    assert not np.allclose(mine.scores[test], theirs.scores[test])


def test_reads_a_memory_map(tmp_path: Path) -> None:
    X = features(30, 200, np.float32)
    np.save(tmp_path / "x.npy", X)
    train = np.arange(20)
    mapped = fit_pca(np.load(tmp_path / "x.npy", mmap_mode="r"), train, 4)
    np.testing.assert_array_equal(mapped.scores, fit_pca(X, train, 4).scores)


def test_offsets_a_thousand_times_the_spread_do_not_spoil_float32() -> None:
    X = features(50, 400)
    expected = fit_pca(X, np.arange(40), 6).scores
    shifted = fit_pca((X + 1e4).astype(np.float32), np.arange(40), 6).scores
    np.testing.assert_allclose(shifted, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("p", [15, 300])
def test_components_that_are_rounding_are_dropped(p: int) -> None:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((40, 3)) @ rng.standard_normal((3, p))
    fit = fit_pca(X, np.arange(30), 20)
    assert fit.scores.shape == (40, 3)
    assert fit.explained_variance_ratio.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("X", "rows"),
    [
        (np.ones((10, 4)), np.arange(8)),
        (np.full((10, 40), np.nan), np.arange(8)),
        (features(10, 4), np.array([0])),
        (features(10, 4), np.array([0, 0, 1])),
        (features(10, 4), np.array([3, 10])),
        (np.ones((10, 4), dtype=int), np.arange(8)),
    ],
)
def test_refuses_what_it_cannot_be_fitted_on(X: NDArray[np.floating], rows: NDArray[np.int64]) -> None:
    with pytest.raises(DatasetError):
        fit_pca(X, rows, 2)


def test_refuses_no_components() -> None:
    with pytest.raises(SpecError):
        fit_pca(features(10, 4), np.arange(8), 0)
