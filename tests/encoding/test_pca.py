"""PCA against scikit-learn's full solver, on both sides of n = p, and without a look at held-out rows.

The search in a Krylov space, which finds few components of many, is compared with matrices of known eigenvectors too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from brainviz.encoding import pca
from brainviz.encoding.pca import fit_pca, leading_eigenvectors, principal_axes
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
    # Products are taken in the dtype: that moves an eigenvalue by a rounding of the largest one (Weyl's inequality).
    rounding = np.finfo(dtype).eps * reference.explained_variance_[0]
    np.testing.assert_allclose(fit.explained_variance, reference.explained_variance_, rtol=tolerance, atol=rounding)
    np.testing.assert_allclose(
        fit.explained_variance_ratio, reference.explained_variance_ratio_, rtol=tolerance, atol=rounding
    )


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


@pytest.mark.parametrize("p", [30, 200])
def test_axes_are_sklearns_and_lead_back(p: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pca, "BLOCK_BYTES", 80 * 8 * 7)  # several blocks of columns
    X, train = features(100, p), np.random.default_rng(1).permutation(100)[:80]
    reference, scores = sklearn_scores(X, train, 12)
    fit = fit_pca(X, train, 12)
    mean, axes = principal_axes(X, train, fit)
    np.testing.assert_allclose(mean, reference.mean_, atol=1e-12)
    signs = np.sign((axes * reference.components_).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(axes * signs, reference.components_, atol=1e-6)
    np.testing.assert_allclose((X - mean) @ axes.T, fit.scores, atol=1e-6 * np.abs(scores).max())
    back = reference.inverse_transform(reference.transform(X))
    np.testing.assert_allclose(fit.scores @ axes + mean, back, atol=1e-6 * np.abs(back).max())


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


# --- few components of many: the search in a Krylov space ------------------------------------------------------------

#: Ten roundings of float32, what `fit_pca` asks for.
FLOAT32 = 10 * float(np.finfo(np.float32).eps)

#: Name -> all 700 eigenvalues of a matrix, descending; the largest 40 are asked for.
SPECTRA = {
    "falls like 1/k": 1 / np.arange(1, 701),
    "falls like 1/sqrt(k)": 1 / np.sqrt(np.arange(1, 701)),
    "falls fast": 1 / np.arange(1, 701) ** 3.0,
    "noise from 100 on": np.concatenate([1 / np.arange(1, 101), np.linspace(9e-3, 1e-3, 600)]),
    "30 times the same": np.concatenate([[2.0], np.ones(30), 0.9 ** np.arange(1, 670)]),
    "pairs": np.repeat(1 / np.arange(1, 351), 2),
    "rank 25": np.concatenate([1 / np.arange(1, 26), np.zeros(675)]),
    "flat": np.linspace(1, 0.9, 700),
}


@pytest.fixture
def decomposed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the matrices that were decomposed in full."""
    sizes: list[int] = []
    eigh = pca.eigh

    def spy(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(len(matrix))
        values, vectors = eigh(matrix)
        return values, vectors

    monkeypatch.setattr(pca, "eigh", spy)
    return sizes


def planted(eigenvalues: NDArray[np.float64]) -> tuple[torch.Tensor, NDArray[np.float64]]:
    """Return a matrix with these eigenvalues, its upper triangle overwritten, and its eigenvectors."""
    m = len(eigenvalues)
    vectors = np.linalg.qr(np.random.default_rng(m).standard_normal((m, m))).Q
    matrix = vectors * eigenvalues @ vectors.T
    matrix[np.triu_indices(m, 1)] = 7.0
    return torch.from_numpy(matrix), vectors


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_few_eigenvectors_are_the_planted_ones(
    spectrum: str, device: str, decomposed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pca, "KRYLOV_BLOCK", 8)  # many small steps, as in a large matrix
    eigenvalues = SPECTRA[spectrum]
    matrix, expected = planted(eigenvalues)
    symmetric = np.tril(matrix.numpy()) + np.tril(matrix.numpy(), -1).T
    values, vectors = (found.cpu().numpy() for found in leading_eigenvectors(matrix.to(device), 40, FLOAT32))
    k = min(40, int((eigenvalues > 0).sum()))
    np.testing.assert_allclose(values, eigenvalues[:k], rtol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=1e-9)
    residuals = np.linalg.norm(symmetric @ vectors - vectors * values, axis=0)
    assert (residuals <= FLOAT32 * values).all()
    # Single vectors of equal eigenvalues are anybody's choice; the spaces of unequal ones are not. An angle is at most
    # the residual divided by the distance to the eigenvalues left out (Davis & Kahan 1970).
    projected = np.linalg.norm(expected[:, :k].T @ vectors, axis=0)
    gap = values - (eigenvalues[k] if k < len(eigenvalues) else 0.0)
    sine = np.sqrt(np.clip(1 - projected**2, 0, None))
    assert (sine <= residuals / gap + 1e-6).all()
    # More equal eigenvalues than a block has vectors: rounding decides whether the search finds them all.
    assert spectrum == "30 times the same" or (700 in decomposed) == (spectrum == "flat")


def test_a_search_gives_the_same_every_time() -> None:
    matrix, _ = planted(SPECTRA["falls like 1/k"])
    torch.manual_seed(1)
    first = leading_eigenvectors(matrix.clone(), 20, FLOAT32)
    torch.manual_seed(2)
    second = leading_eigenvectors(matrix, 20, FLOAT32)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_what_the_check_refuses_is_decomposed_in_full(decomposed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, _ = planted(SPECTRA["falls like 1/k"])
    monkeypatch.setattr(pca, "_verified", lambda *_: False)
    values, _ = leading_eigenvectors(matrix, 20, FLOAT32)
    assert decomposed[-1] == 700
    np.testing.assert_allclose(values, SPECTRA["falls like 1/k"][:20], rtol=1e-9)


@pytest.mark.parametrize("found", ["no eigenvector", "one is missed", "one is there twice"])
def test_the_check_sees_what_is_wrong(found: str) -> None:
    eigenvalues = SPECTRA["falls like 1/k"]
    matrix, expected = planted(eigenvalues)
    pca._complete(matrix)
    ascending = np.arange(20)[::-1].copy()
    if found == "one is missed":
        ascending = np.delete(np.arange(21), 7)[::-1].copy()
    if found == "one is there twice":
        ascending[-7] = ascending[-8]
    values, vectors = torch.from_numpy(eigenvalues[ascending]), torch.from_numpy(expected[:, ascending])
    if found == "no eigenvector":
        vectors[:, 3] = torch.from_numpy(0.9999 * expected[:, 16] + np.sqrt(1 - 0.9999**2) * expected[:, 600])
    right = torch.from_numpy(eigenvalues[:20][::-1].copy()), torch.from_numpy(expected[:, :20][:, ::-1].copy())
    assert pca._verified(matrix, *right, FLOAT32, torch.Generator().manual_seed(3))
    assert not pca._verified(matrix, values, vectors, FLOAT32, torch.Generator().manual_seed(3))


def low_rank_features(n: int, p: int, k: int) -> NDArray[np.float32]:
    """Features as of a layer: variances that fall like 1/k, in more directions than components, and some noise."""
    rng = np.random.default_rng(p)
    signal = rng.standard_normal((n, 4 * k)) / np.sqrt(np.arange(1, 4 * k + 1)) @ rng.standard_normal((4 * k, p))
    return (signal + 0.02 * rng.standard_normal((n, p)) + 3).astype(np.float32)


@pytest.mark.parametrize("p", [1500, 500])
def test_few_components_of_many_are_sklearns(p: int, decomposed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pca, "KRYLOV_BLOCK", 16)
    X = low_rank_features(700, p, 40)
    train = np.random.default_rng(0).permutation(700)[:600]
    reference, expected = sklearn_scores(X, train, 40)
    fit = fit_pca(X, train, 40)
    assert fit.scores.shape == (700, 40)
    assert max(decomposed) < min(p, 600)
    np.testing.assert_allclose(fit.explained_variance, reference.explained_variance_, rtol=1e-5)
    np.testing.assert_allclose(fit.explained_variance_ratio, reference.explained_variance_ratio_, rtol=1e-5)
    np.testing.assert_allclose(fit.scores, expected, atol=1e-3 * np.abs(expected).max())
    # Close neighbours may turn into each other, which changes no distance between two pictures.
    mine, theirs = (scores @ scores[:50].T for scores in (fit.scores.astype(np.float64), expected))
    np.testing.assert_allclose(mine, theirs, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("p", [1500, 500])
def test_float64_features_are_decomposed_in_full(p: int, decomposed: list[int]) -> None:
    X = low_rank_features(700, p, 40).astype(np.float64)
    train = np.arange(600)
    _, expected = sklearn_scores(X, train, 40)
    np.testing.assert_allclose(fit_pca(X, train, 40).scores, expected, atol=1e-8 * np.abs(expected).max())
    assert decomposed == [min(p, 600)]
