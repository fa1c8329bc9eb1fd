"""The model landscape against closed forms, slow re-statements of the formulas, and planted configurations."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from scipy.stats import binomtest, f_oneway, kstest
from sklearn.decomposition import PCA

from brainviz.analyses import landscape
from brainviz.analyses.landscape import (
    bhattacharyya,
    cluster_order,
    group_permutation_test,
    inpca,
    mds,
    oracle,
    project,
    silhouette,
    umap,
)
from brainviz.errors import DatasetError, SpecError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
Array = NDArray[np.floating]


def networks(
    n_models: int, n_images: int, n_classes: int, *, sharp: float = 2.0, apart: float = 0.5, dtype: type = np.float32
) -> Array:
    """Softmax of logits that the models share but for noise; `sharp` makes them confident, `apart` different."""
    rng = np.random.default_rng(n_models + n_images + n_classes)
    logits = rng.standard_normal((1, n_images, n_classes)) + apart * rng.standard_normal(
        (n_models, n_images, n_classes)
    )
    P = np.exp(sharp * (logits - logits.max(-1, keepdims=True)))
    P /= P.sum(-1, keepdims=True)
    return P.astype(dtype)


def confident(n_models: int, n_images: int, n_classes: int, *, apart: float) -> Array:
    """Networks that give class 0 nearly everything, and differ in the rest."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((1, n_images, n_classes)) + apart * rng.standard_normal(
        (n_models, n_images, n_classes)
    )
    logits[:, :, 0] += 6
    P = np.exp(3 * (logits - logits.max(-1, keepdims=True)))
    return (P / P.sum(-1, keepdims=True)).astype(np.float32)


def double_loop(P: Array) -> Array:
    """Methods, section 6, pair by pair and in float64."""
    values = np.asarray(P, np.float64)
    D = np.zeros((len(values), len(values)))
    with np.errstate(divide="ignore"):
        for u, v in itertools.permutations(range(len(values)), 2):
            terms = -np.log(np.sum(np.sqrt(values[u]) * np.sqrt(values[v]), axis=-1))
            D[u, v] = np.mean(np.clip(np.where(np.isinf(terms), 100, terms), 0, None))
    return D


def assert_exact(D: Array, P: Array) -> None:
    """Check D against the double loop, to the accuracy that is promised, and its form."""
    np.testing.assert_allclose(D, double_loop(P), rtol=1e-6, atol=1e-7)
    assert D.dtype == np.float64
    assert np.array_equal(D, D.T)
    assert not D.diagonal().any()


# --- dissimilarity ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("n_models", "n_images", "n_classes"), [(2, 1, 2), (7, 33, 10), (20, 5, 300)])
def test_equals_the_double_loop(n_models: int, n_images: int, n_classes: int, dtype: type, device: str) -> None:
    P = networks(n_models, n_images, n_classes, dtype=dtype)
    assert_exact(bhattacharyya(P, device=device), P)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("apart", [1e-4, 0.1, 0.3])
def test_the_tails_of_confident_networks_are_not_lost(apart: float, device: str) -> None:
    """A float32 product misses them: checked here, or the test would prove nothing."""
    P = confident(8, 40, 1000, apart=apart)
    expected = double_loop(P)
    roots = np.sqrt(P)
    plain = np.mean([np.maximum(0, -np.log(roots[:, n] @ roots[:, n].T)) for n in range(P.shape[1])], axis=0)
    off = ~np.eye(len(P), dtype=bool)
    assert np.max((np.abs(plain - expected) / np.maximum(1e-7, 1e-6 * expected))[off]) > 1
    assert_exact(bhattacharyya(P, device=device), P)


def test_networks_that_are_confident_of_different_classes() -> None:
    """Every image has a likely class for each model, and pairs that agree differ in a tail that is tiny there."""
    P = confident(12, 30, 200, apart=0.05)
    for index, model in enumerate(P):
        model[:] = np.roll(model, 11 * (index // 2), axis=1)
    assert double_loop(P)[0, 1] < 1e-3 < 1 < double_loop(P)[0, 2]
    assert_exact(bhattacharyya(P), P)


@pytest.mark.parametrize("device", DEVICES)
def test_two_classes_in_closed_form(device: str) -> None:
    """With probabilities (cos^2 a, sin^2 a), the sum of roots is cos(a - b)."""
    angle = np.linspace(0.1, 1.4, 5)
    P = np.stack([np.cos(angle) ** 2, np.sin(angle) ** 2], axis=1)[:, None, :]
    np.testing.assert_allclose(
        bhattacharyya(P, device=device), -np.log(np.cos(angle[:, None] - angle)), rtol=1e-9, atol=1e-15
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_disjoint_supports_count_100(dtype: type, device: str) -> None:
    P = np.zeros((4, 4, 3), dtype)
    P[0] = oracle([0, 1, 2, 0], 3)
    P[1] = oracle([0, 1, 0, 1], 3)  # agrees on two of four
    P[2] = [0.5, 0.5, 0]
    P[3] = 1 / 3
    D = bhattacharyya(P, device=device)
    assert D[0, 1] == 50
    assert D[0, 2] == pytest.approx((100 + 3 * np.log(2) / 2) / 4, rel=1e-7)
    assert D[0, 3] == pytest.approx(np.log(3) / 2, rel=1e-7)
    assert_exact(D, P)


@pytest.mark.parametrize("device", DEVICES)
def test_supports_that_hardly_overlap_are_not_disjoint(device: str) -> None:
    """Probabilities that float32 knows, and whose roots' product it does not."""
    small = np.float32(1e-44)
    P = np.array([[[1, 0, small]], [[0, 1, small]], [[1, 0, 0]]], np.float32)
    D = bhattacharyya(P, device=device)
    np.testing.assert_allclose(D[0, 1], -np.log(np.float64(small)), rtol=1e-9)
    assert D[1, 2] == 100
    tiny = P.astype(np.float64)
    tiny[tiny == small] = 1e-200
    np.testing.assert_allclose(bhattacharyya(tiny, device=device)[0, 1], 200 * np.log(10), rtol=1e-9)


def test_negative_terms_count_0() -> None:
    """Half precision: rows that sum to more than 1 give logarithms above 0."""
    P = networks(2, 400, 50, apart=1e-3).astype(np.float16)
    sums = np.sum(np.sqrt(P[0].astype(float) * P[1].astype(float)), axis=-1)
    assert (sums > 1).any()
    assert (sums < 1).any()
    expected = np.mean(np.maximum(0, -np.log(sums)))
    assert bhattacharyya(P)[0, 1] == pytest.approx(expected, rel=1e-6, abs=1e-7)
    assert abs(expected - np.mean(-np.log(sums))) > 1e-5


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_equal_models_are_0_apart(dtype: type) -> None:
    P = networks(5, 20, 100, dtype=dtype)[[0, 1, 0, 2, 1, 0, 3, 4]]
    D = bhattacharyya(P)
    kinds = np.array([0, 1, 0, 2, 1, 0, 3, 4])
    assert np.array_equal(D == 0, kinds[:, None] == kinds)
    assert np.array_equal(D[0], D[2])
    np.testing.assert_allclose(D, double_loop(P), rtol=1e-6, atol=1e-7 if dtype != np.float16 else 1e-3)
    np.testing.assert_allclose(bhattacharyya(P[[0, 0, 0]]), np.zeros((3, 3)))


def test_nearly_equal_models_are_not_taken_for_equal() -> None:
    P = networks(2, 40, 100, apart=0, dtype=np.float64)
    P[1, -1] = np.roll(P[1, -1], 1) * 1e-3 + P[1, -1] * (1 - 1e-3)
    expected = double_loop(P)[0, 1]
    assert 0 < expected < 1e-4
    assert bhattacharyya(P)[0, 1] == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_a_single_model() -> None:
    assert np.array_equal(bhattacharyya(networks(1, 3, 4)), [[0.0]])


def test_files_of_several_precisions(tmp_path: Path) -> None:
    P = networks(6, 50, 30, dtype=np.float64)
    kinds = [np.float32, np.float16, np.float32, np.float32, np.float32, np.float16]
    models = [model.astype(kind) for model, kind in zip(P, kinds, strict=True)]
    for index, model in enumerate(models):
        np.save(tmp_path / f"{index}.npy", model)
    files = [np.load(tmp_path / f"{index}.npy", mmap_mode="r") for index in range(6)]
    rounded = np.stack([model.astype(np.float64) for model in models])
    assert_exact(bhattacharyya(files), rounded)
    np.save(tmp_path / "all.npy", P)
    assert_exact(bhattacharyya(np.load(tmp_path / "all.npy", mmap_mode="r")), P)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spare", [0, 1, 40, 600])
def test_any_block_size_gives_the_same(dtype: type, spare: int) -> None:
    P = networks(9, 13, 20, dtype=dtype)
    P[3, 5] = oracle([4], 20)[0]
    P[4, 5] = oracle([5], 20)[0]
    with pytest.raises(SpecError, match="does not fit") as failure:
        bhattacharyya(P, block_bytes=0)
    least = int(str(failure.value.expected).split()[2])
    with pytest.raises(SpecError, match="does not fit"):
        bhattacharyya(P, block_bytes=least - 1)
    assert_exact(bhattacharyya(P, block_bytes=least + 50 * spare), P)


@pytest.mark.parametrize(("n_models", "n_images", "n_classes", "bound"), [(40, 300, 200, 2**19), (700, 4, 20, 2**20)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_working_memory_stays_within_its_bound(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    n_models: int,
    n_images: int,
    n_classes: int,
    bound: int,
    dtype: type,
) -> None:
    """Either all probabilities, or all pairs of one image, would take several times the bound."""
    np.save(tmp_path / "P.npy", networks(n_models, n_images, n_classes, dtype=dtype))
    P = np.load(tmp_path / "P.npy", mmap_mode="r")
    assert P.nbytes > 16 * bound or P.itemsize * n_models**2 > 1.8 * bound
    in_torch = []
    make = landscape._Work.make

    def noted(*arguments: Any) -> landscape._Work:
        work = make(*arguments)
        in_torch.append(sum({part.data_ptr(): part.nbytes for part in (work.sums, work.exact)}.values()))
        return work

    monkeypatch.setattr(landscape._Work, "make", noted)
    bhattacharyya(P[:2, :1], block_bytes=bound)  # what is only there once
    in_torch.clear()
    tracemalloc.start()
    D = bhattacharyya(P, block_bytes=bound)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Either the work on blocks, or afterwards the result and masks of it in the search for equal models.
    assert peak + in_torch[0] < max(bound + 2**17, D.nbytes)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ((2, 7, 3), np.nan, "nan for class 3"),
        ((2, 7, 3), -0.01, "-0.01 for class 3"),
        ((2, 7, 3), np.inf, "inf for class 3"),
        ((2, 7), 0.1004, "a sum of 1.00"),
        ((2, 7), 0.0996, "a sum of 0.99"),
        ((2, 7), 0, "a sum of 0"),
    ],
)
def test_what_are_no_probabilities(dtype: type, device: str, entry: tuple[int, ...], value: float, said: str) -> None:
    P = networks(4, 9, 10, dtype=dtype)
    P[entry] = value
    for block_bytes in (None, 5000):
        with pytest.raises(DatasetError, match="model 2 gives for image 7") as failure:
            bhattacharyya(P, device=device, block_bytes=block_bytes)
        assert said in str(failure.value.got)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rounded_probabilities_are_welcome(dtype: type) -> None:
    """A thousand classes, rounded to half or single precision, do not sum to exactly 1."""
    P = networks(3, 100, 1000, sharp=0.3, dtype=dtype)
    assert np.abs(P.astype(np.float64).sum(-1) - 1).max() > (1e-5 if dtype == np.float16 else 1e-9)
    assert_exact(bhattacharyya(P), P)


def test_models_that_cannot_be_compared() -> None:
    P = networks(3, 5, 4)
    with pytest.raises(DatasetError, match="no model"):
        bhattacharyya([])
    with pytest.raises(DatasetError, match="no model"):
        bhattacharyya(P[:0])
    with pytest.raises(DatasetError, match="Model 2 was not asked"):
        bhattacharyya([P[0], P[1], P[2, :4]])
    for wrong in (P[0], P[:, :0], P[:, :, :0], P.astype(np.int64), P[None]):
        with pytest.raises(DatasetError, match="Model 0 has no probabilities"):
            bhattacharyya(wrong)


def test_oracle() -> None:
    assert np.array_equal(oracle([2, 0], 3), [[0, 0, 1], [1, 0, 0]])
    assert oracle(np.array([1], np.uint8), 2).dtype == np.float32
    P = networks(1, 6, 5, dtype=np.float64)[0]
    labels = np.array([0, 1, 2, 3, 4, 0])
    expected = -np.log(P[np.arange(6), labels]).mean() / 2  # half the cross-entropy
    assert bhattacharyya([P, oracle(labels, 5)])[0, 1] == pytest.approx(expected, rel=1e-7)
    for wrong in ([0, 3], [-1, 0], [0.0, 1.0], [[0, 1]], []):
        with pytest.raises(DatasetError, match="name no classes"):
            oracle(wrong, 3)


# --- InPCA ------------------------------------------------------------------------------------------------------------


def signed_square_distances(X: Array, signs: Array) -> Array:
    """Return D_ij = sum_k s_k (x_ik - x_jk)^2."""
    result: Array = np.einsum("ijk,k->ij", (X[:, None] - X[None]) ** 2, np.asarray(signs, float))
    return result


def random_dissimilarities(n_models: int) -> Array:
    """Of networks from unsure to confident and, last, the oracle; far from Euclidean."""
    rng = np.random.default_rng(n_models)
    logits = rng.standard_normal((20, 8)) + 0.7 * rng.standard_normal((n_models - 1, 20, 8))
    P = np.exp(logits * rng.uniform(0.2, 5, (n_models - 1, 1, 1)))
    return bhattacharyya([*(P / P.sum(-1, keepdims=True)), oracle(np.arange(20) % 8, 8)])


def test_a_planted_minkowski_configuration_is_found() -> None:
    """Orthogonal, centred axes of known extent and sign are the eigenvectors themselves."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(np.column_stack([np.ones(12), rng.standard_normal((12, 3))]))[0][:, 1:]
    X = axes * np.sqrt([5.0, 3.0, 1.0])
    signs = np.array([1.0, -1.0, 1.0])
    D = signed_square_distances(X, signs)
    found = inpca(D, 12)
    np.testing.assert_allclose(found.eigenvalues, [5, -3, 1, *[0] * 9], atol=1e-12)
    assert np.array_equal(found.signs, [1, -1, 1, *[0] * 9])
    np.testing.assert_allclose(np.abs(found.coordinates[:, :3]), np.abs(X), atol=1e-12)
    np.testing.assert_allclose(signed_square_distances(found.coordinates, found.signs), D, atol=1e-8)
    share = np.cumsum([25, 9, 1]) / 35
    np.testing.assert_allclose(found.stress, [*(1 - np.sqrt(1 - share[:2])), *[1] * 10], atol=1e-7)


@pytest.mark.parametrize("n_models", [2, 3, 17])
def test_equals_a_slow_restatement(n_models: int) -> None:
    D = random_dissimilarities(n_models)
    L = np.eye(n_models) - np.ones((n_models, n_models)) / n_models
    W = -0.5 * L @ D @ L
    values, vectors = np.linalg.eig(W)
    order = np.argsort(-np.abs(values.real))
    values, vectors = values.real[order], vectors.real[:, order]
    found = inpca(D, n_models - 1)
    kept = n_models - 1
    np.testing.assert_allclose(found.eigenvalues, values[:kept], rtol=1e-9, atol=1e-13)
    for axis in range(kept):
        expected = vectors[:, axis] * np.sqrt(abs(values[axis]))
        expected *= np.sign(expected[np.argmax(np.abs(expected))])
        np.testing.assert_allclose(found.coordinates[:, axis], expected, atol=1e-6)
        left = 1 - np.sum(values[: axis + 1] ** 2) / np.sum(W**2)
        assert found.stress[axis] == pytest.approx(1 - np.sqrt(max(0, left)), abs=1e-6)
    np.testing.assert_allclose(signed_square_distances(found.coordinates, found.signs), D, atol=1e-8)
    if n_models == 17:
        assert (found.signs < 0).any()


def test_equals_classical_scaling_of_points() -> None:
    """Of squared Euclidean distances, InPCA is PCA of the points."""
    X = np.random.default_rng(1).standard_normal((20, 4)) * [4, 2, 1, 0.5]
    found = inpca(squareform(pdist(X, "sqeuclidean")), 4)
    assert (found.signs == 1).all()
    expected = PCA(4).fit_transform(X)
    np.testing.assert_allclose(np.abs(found.coordinates), np.abs(expected), atol=1e-10)
    assert found.stress[-1] == pytest.approx(1, abs=1e-7)


def test_signs_do_not_depend_on_the_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for an axis whose two ends are equally far out."""
    D = signed_square_distances(np.array([[-2.0, 1], [2, 1], [0, -1], [0, -1]]), np.array([1, -1]))
    first = inpca(D, 2)
    assert first.coordinates[0, 0] > 0
    eigh = landscape.eigh

    def turned(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, vectors = eigh(matrix)
        return values, -vectors * (1 + 1e-12 * torch.arange(len(values), dtype=torch.float64)[:, None])

    monkeypatch.setattr(landscape, "eigh", turned)
    np.testing.assert_allclose(inpca(D, 2).coordinates, first.coordinates, atol=1e-9)


def test_old_models_return_to_their_places() -> None:
    D = random_dissimilarities(15)
    found = inpca(D, 15)
    np.testing.assert_allclose(project(found, D), found.coordinates, atol=1e-8)
    np.testing.assert_allclose(project(inpca(D, 2), D[3:5]), found.coordinates[3:5, :2], atol=1e-8)


def test_new_points_fall_into_place() -> None:
    """A new point of the plane that old points span, the second axis negative."""
    rng = np.random.default_rng(2)
    X, signs = rng.standard_normal((11, 2)) * [2, 1], np.array([1, -1])
    D = signed_square_distances(X, signs)
    found = inpca(D[:9, :9], 2)
    assert sorted(found.signs) == [-1, 1]
    everyone = np.vstack([found.coordinates, project(found, D[9:, :9])])
    np.testing.assert_allclose(signed_square_distances(everyone, found.signs), D, atol=1e-8)


def test_nothing_differs() -> None:
    for n_models in (1, 4):
        found = inpca(np.zeros((n_models, n_models)), n_models)
        assert not found.coordinates.any()
        assert not found.eigenvalues.any()
        assert not found.signs.any()
        assert (found.stress == 1).all()
        assert not project(found, np.ones((2, n_models))).any()
    equal = bhattacharyya(networks(1, 20, 100)[[0, 0, 0]])
    assert not inpca(equal, 2).coordinates.any()


def test_groups_of_equal_models_share_a_place() -> None:
    """Two kinds of models are a line: its axis explains everything, all others have no extent."""
    D = bhattacharyya(networks(2, 20, 100)[[0, 1, 0, 1, 1]])
    found = inpca(D, 5)
    np.testing.assert_allclose(found.eigenvalues, [D[0, 1] * 2 * 3 / 5, 0, 0, 0, 0], atol=1e-15)
    assert found.stress == pytest.approx(np.ones(5))


BAD = {
    "shape": np.zeros((2, 3)),
    "not symmetric": np.array([[0, 1.0], [2, 0]]),
    "NaN": np.array([[0, np.nan], [np.nan, 0]]),
    "infinite": np.array([[0, np.inf], [np.inf, 0]]),
    "not 0 on the diagonal": np.array([[1.0, 2], [2, 0]]),
}


@pytest.mark.parametrize("wrong", BAD)
def test_what_is_no_matrix_of_dissimilarities(wrong: str) -> None:
    for function in (lambda D: inpca(D, 1), mds, umap, cluster_order, lambda D: silhouette(D, [0, 1])):
        with pytest.raises(DatasetError, match=wrong):
            function(BAD[wrong])


def test_negative_dissimilarities_are_for_inpca_only() -> None:
    D = -squareform([1.0, 2, 3, 4, 5, 6])
    assert (inpca(D, 2).signs < 0).any()
    for function in (mds, umap, cluster_order, lambda D: group_permutation_test(D, [0, 0, 1, 1])):
        with pytest.raises(DatasetError, match="negative"):
            function(D)


def test_number_of_axes() -> None:
    D = random_dissimilarities(3)
    for wrong in (0, 4):
        with pytest.raises(SpecError, match="no such axes"):
            inpca(D, wrong)
    with pytest.raises(SpecError, match="needs an axis"):
        mds(D, 0)


def test_dissimilarities_of_new_models_must_fit() -> None:
    found = inpca(random_dissimilarities(4), 2)
    for wrong in (np.zeros(4), np.zeros((1, 3)), np.full((1, 4), np.nan)):
        with pytest.raises(DatasetError, match="cannot be placed"):
            project(found, wrong)


# --- other maps -------------------------------------------------------------------------------------------------------


def planted_groups(seed: int = 0, per_group: int = 8) -> tuple[Array, NDArray[np.int64]]:
    """Distances of points in three well separated groups, in random order, and each point's group."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(3), per_group))
    centres = np.array([[0, 0, 0], [10, 0, 0], [0, 12, 0]])
    return squareform(pdist(centres[group] + rng.standard_normal((len(group), 3)))), group


def test_mds_finds_points_of_the_plane() -> None:
    X = np.random.default_rng(3).standard_normal((12, 2)) * [3, 1]
    D = squareform(pdist(X))
    found = mds(D)
    assert found.stress < 1e-6
    np.testing.assert_allclose(squareform(pdist(found.coordinates)), D, atol=1e-5)
    np.testing.assert_allclose(found.coordinates.mean(0), 0, atol=1e-12)


def test_mds_is_repeatable_and_better_than_classical_scaling() -> None:
    D = bhattacharyya(networks(20, 20, 8))
    found = mds(D)
    assert np.array_equal(found.coordinates, mds(D).coordinates)
    start = inpca(D**2, 2)
    assert (start.signs == 1).all()
    assert found.stress < slow_stress(start.coordinates, D) - 1e-3
    assert found.stress == pytest.approx(slow_stress(found.coordinates, D), rel=1e-9)


def slow_stress(coordinates: Array, D: Array) -> float:
    """Stress-1 at the best of many scales."""
    distance, wanted = pdist(coordinates), squareform(D)
    scales = np.linspace(0.5, 2, 30001) * wanted.sum() / distance.sum()
    return float(np.sqrt(min(np.sum((scale * distance - wanted) ** 2) for scale in scales) / np.sum(wanted**2)))


def test_mds_with_more_axes_than_classical_scaling_has() -> None:
    """A star: its three ends are 2 apart and 1 from the middle, which no points of a plane are."""
    D = 2.0 * (1 - np.eye(4))
    D[0, 1:] = D[1:, 0] = 1
    assert mds(D, 2).coordinates.shape == (4, 2)
    line = squareform(pdist(np.array([[0.0], [1], [3]])))
    found = mds(line, 2)
    np.testing.assert_allclose(squareform(pdist(found.coordinates)), line, atol=1e-2)
    assert np.array_equal(found.coordinates, mds(line, 2).coordinates)


def test_mds_where_nothing_differs() -> None:
    for n_models in (1, 3):
        found = mds(np.zeros((n_models, n_models)), 2)
        assert np.array_equal(found.coordinates, np.zeros((n_models, 2)))
        assert found.stress == 0


@pytest.mark.slow  # numba compiles for 10 s
@pytest.mark.filterwarnings("error:using precomputed")
def test_umap_keeps_groups_together_and_repeats() -> None:
    D, group = planted_groups()
    found = umap(D, n_neighbors=5)
    nearest = squareform(pdist(found.coordinates)) + np.diag(np.full(len(D), np.inf))
    assert np.array_equal(group[nearest.argmin(1)], group)
    assert 0 < found.stress < 1
    assert np.array_equal(found.coordinates, umap(D, n_neighbors=5).coordinates)
    assert not np.array_equal(found.coordinates, umap(D, n_neighbors=5, seed=1).coordinates)


@pytest.mark.slow
@pytest.mark.parametrize("n_models", [4, 5])
def test_umap_of_few_models(n_models: int) -> None:
    found = umap(random_dissimilarities(n_models))
    assert found.coordinates.shape == (n_models, 2)
    assert np.isfinite(found.coordinates).all()


def test_umap_arguments() -> None:
    D = random_dissimilarities(6)
    with pytest.raises(SpecError, match="more models"):
        umap(D[:3, :3])
    for wrong in ({"n_components": 5}, {"n_components": 0}, {"n_neighbors": 1}, {"min_dist": -0.1}, {"min_dist": 2}):
        with pytest.raises(SpecError, match="these settings"):
            umap(D, **wrong)
    assert not umap(np.zeros((4, 4))).coordinates.any()


# --- order and groups -------------------------------------------------------------------------------------------------


def test_cluster_order_puts_neighbours_together() -> None:
    D, group = planted_groups()
    order = cluster_order(D)
    assert np.array_equal(np.sort(order), np.arange(len(D)))
    assert np.count_nonzero(np.diff(group[order])) == 2
    line = np.random.default_rng(4).permutation(9)
    along = line[cluster_order(squareform(pdist(line[:, None].astype(float))))]
    assert np.array_equal(along, np.arange(9)) or np.array_equal(along, np.arange(9)[::-1])
    assert np.array_equal(cluster_order(np.zeros((1, 1))), [0])


def test_silhouette() -> None:
    D, group = planted_groups()
    assert silhouette(D, group) > 0.7
    names = np.array(["early", "higher", "untuned"])[group]
    each = []
    for i in range(len(D)):
        own = D[i, (group == group[i]) & (np.arange(len(D)) != i)].mean()
        other = min(D[i, group == g].mean() for g in range(3) if g != group[i])
        each.append((other - own) / max(own, other))
    assert silhouette(D, names) == pytest.approx(np.mean(each))


def slow_pseudo_f(D: Array, group: NDArray[np.int64]) -> float:
    """Anderson 2001, equations 1 to 3, pair by pair."""
    n, names = len(D), sorted(set(group.tolist()))
    total = sum(D[i, j] ** 2 for i, j in itertools.combinations(range(n), 2)) / n
    within = 0.0
    for name in names:
        members = [i for i in range(n) if group[i] == name]
        within += sum(D[i, j] ** 2 for i, j in itertools.combinations(members, 2)) / len(members)
    return float(((total - within) / (len(names) - 1)) / (within / (n - len(names))))


def test_pseudo_f_and_its_exact_p() -> None:
    D = random_dissimilarities(7)
    group = np.array([0, 0, 2, 1, 1, 0, 1])
    found = group_permutation_test(D, group, n_permutations=20_000, seed=1)
    observed = slow_pseudo_f(D, group)
    assert found.statistic == pytest.approx(observed, rel=1e-10)
    # Which of the 140 ways to form groups of 3, 3 and 1 are as far apart.
    ways = set(itertools.permutations(group.tolist()))
    exact = np.mean([slow_pseudo_f(D, np.array(way)) >= observed - 1e-9 for way in ways])
    assert 0.1 < exact < 0.9
    assert found.p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
    assert group_permutation_test(D, group, 20_000, seed=1) == found


def test_one_way_anova_is_the_special_case_of_one_dimension() -> None:
    rng = np.random.default_rng(5)
    x, group = rng.standard_normal(15), np.repeat([0, 1, 2], 5)
    D = np.abs(x[:, None] - x)
    expected = f_oneway(*(x[group == g] for g in range(3))).statistic
    assert group_permutation_test(D, group, 1).statistic == pytest.approx(expected)


def test_false_alarms_are_as_many_as_promised() -> None:
    """Of 600 sets without groups, about 5 % may be found to have them."""
    rng = np.random.default_rng(6)
    group = np.repeat([0, 1, 2], [3, 4, 6])
    p = [
        group_permutation_test(squareform(pdist(rng.standard_normal((13, 4)))), group, 199, seed=seed).p
        for seed in range(600)
    ]
    assert binomtest(int(np.sum(np.array(p) <= 0.05)), 600, 0.05).pvalue > 1e-3
    assert kstest(p, "uniform").pvalue > 1e-3


def test_planted_groups_are_found() -> None:
    D, group = planted_groups()
    found = group_permutation_test(D, group, 999)
    assert found.p == 1 / 1000
    assert group_permutation_test(D, np.random.default_rng(0).permutation(group), 999).p > 0.01


def test_nothing_differs_within_groups_or_at_all() -> None:
    group = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    apart = (group[:, None] != group).astype(float)
    found = group_permutation_test(apart, group, 2000)
    assert found.statistic == np.inf
    assert found.p == pytest.approx(2 / 70, abs=4 * np.sqrt(2 / 70 / 2000))
    nothing = group_permutation_test(np.zeros((8, 8)), group, 50)
    assert np.isnan(nothing.statistic)
    assert nothing.p == 1


def test_labels_that_make_no_groups() -> None:
    D = random_dissimilarities(4)
    for labels in ([0, 0, 0, 0], [0, 1, 2, 3], [0, 1, 1], [[0, 1], [1, 0]]):
        for function in (silhouette, group_permutation_test):
            with pytest.raises(SpecError, match="make no groups"):
                function(D, labels)
    with pytest.raises(SpecError, match="nothing to compare"):
        group_permutation_test(D, [0, 0, 1, 1], 0)
