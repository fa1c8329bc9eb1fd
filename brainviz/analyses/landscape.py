"""The model landscape: how differently models classify the same images, and maps of those differences.

Every model m gives class probabilities ``p_m(n, c)`` for N images. The dissimilarity of two models is the mean, over
images, of the Bhattacharyya distance of their probabilities (methods, section 6)::

    d(u, v) = -(1/N) sum_n log sum_c sqrt(p_u(n, c) p_v(n, c))

An image for which the two have no class in common counts 100 instead of infinity; one for which rounding makes the
term negative counts 0. InPCA, metric MDS and UMAP draw maps of the matrix; the rest of the module orders it and tests
groups.

How `bhattacharyya` computes it: for one image, all pairs' sums are one product of the (M, C) matrix of roots with its
own transpose, of which BLAS computes half, and the roots are taken once per model instead of once per pair. The
product's diagonal is the sum of each model's probabilities, and NaN where one is negative, so that validation takes no
pass of its own.

Precision: single precision adds 1,000 roots one after the other, and what is far smaller than the sum so far is lost. A
confident network has one class near 1 and a thousand near 0, whose sum is what tells it from its like: with such
networks plain float32 products were wrong by up to 1e-6 absolute, or 1e-5 of d. The few classes that are likely for
any model (`LIKELY`) are therefore taken out of the float32 product and multiplied in float64. What is left adds up to
little where it is small.

References
----------
Mao et al. 2024, PNAS 121(12), e2310002121 (the dissimilarity, InPCA of networks, explained stress).
Quinn et al. 2019, PNAS 116(28), 13762-13767 (InPCA).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from sklearn.manifold import smacof
from sklearn.metrics import euclidean_distances, silhouette_score
from torch import Tensor

from brainviz.encoding.linalg import eigh
from brainviz.errors import DatasetError, SpecError

#: What an image counts for which two models have no class in common.
DISJOINT = 100.0

#: How far a row of probabilities may be from summing to 1: what rounding to half precision may do, and to single.
SUM_TOLERANCE = {"half": 2e-3, "single": 1e-4}

#: A class is multiplied in float64 where the root of some model's probability is above this (p > 1/16).
LIKELY = 0.25

#: Sums below this are taken one by one, in float64: in float32 their small parts may have been rounded to 0.
TINY = 1e-30

#: Working memory when the caller names none, unless one image needs more; and the most that is taken unasked.
BLOCK_BYTES, MOST_BYTES = 2**29, 2**31

#: Roots that are held at a time, within that: what a processor's cache nearly holds is fastest.
ROOTS_BYTES = 12 * 2**20


# --- dissimilarity ----------------------------------------------------------------------------------------------------


def bhattacharyya(
    P: NDArray[np.floating] | Sequence[NDArray[np.floating]], *, device: str = "cpu", block_bytes: int | None = None
) -> NDArray[np.float64]:
    """Measure how differently models classify the same images.

    Parameters
    ----------
    P : (M, N, C) array, or M arrays (N, C)
        Probability of each of C classes, per model and image; float16, float32 or float64. May be memory-mapped: it is
        read once, in blocks of images.
    device : str
        ``"cpu"`` or ``"cuda"``.
    block_bytes : int, optional
        Working memory, beside P and the result. As a rule half a GiB, and never more than 2 GiB unless asked for.

    Returns
    -------
    (M, M) float64 array
        Exactly symmetric, 0 on the diagonal and exactly 0 between models with equal probabilities; a single model gives
        a 1 x 1 matrix. Correct to 1e-6 relative or 1e-7 absolute for the probabilities as they are: they are not
        divided by their sum. On the CPU, float64 probabilities are multiplied in float64 throughout, which takes about
        twice as long.

    Raises
    ------
    DatasetError
        No models, images or classes; shapes that differ between models; a probability that is negative or NaN, or
        probabilities that do not sum to 1 (within `SUM_TOLERANCE`), naming the model and image.
    SpecError
        `block_bytes` is less than one image takes.

    References
    ----------
    Mao et al. 2024, PNAS 121(12), e2310002121; methods, section 6: 100 for disjoint supports, and 0 for negative terms,
    are theirs.
    """
    models = _require_models(P)
    n_models, (n_images, n_classes) = len(models), models[0].shape
    double = any(model.dtype == np.float64 for model in models)
    read_as = np.float64 if double else np.float32
    # A GPU has time for float64, whatever precision the process has set for float32 products there.
    computed_as = torch.float64 if double or device != "cpu" else torch.float32
    images_at_a_time, rows_at_a_time = _blocks(n_models, n_images, n_classes, computed_as.itemsize, block_bytes)
    tolerance = torch.tensor([_sum_tolerance(model) for model in models], dtype=torch.float64, device=device)

    buffer = np.empty((n_models, images_at_a_time, n_classes), read_as)
    work = _Work.make(n_models, rows_at_a_time, computed_as, device)
    D = torch.zeros(n_models, n_models, dtype=torch.float64, device=device)
    for first in range(0, n_images, images_at_a_time):
        block = buffer[:, : min(images_at_a_time, n_images - first)]
        with np.errstate(invalid="ignore"):
            for into, model in zip(block, models, strict=True):
                np.sqrt(model[first : first + len(into)], out=into, dtype=read_as)
        roots = torch.from_numpy(block).to(device, computed_as)
        for index, peak in enumerate(block.max(axis=0)):
            likely = np.flatnonzero(peak > LIKELY) if computed_as == torch.float32 else None
            wrong = _add_terms(D, roots[:, index], likely, tolerance, work)
            if wrong is not None:
                raise _no_probabilities(models[wrong][first + index], wrong, first + index)
    D /= n_images
    result = D.cpu().numpy()
    for row in range(n_models):
        result[:row, row] = result[row, :row]
        result[row, row] = 0
    first_equal = _first_equal(result, models)
    if np.any(first_equal != np.arange(n_models)):
        # What their sums' rounding makes of equal models, as in the formula's -log(1 - 1e-7), is no difference.
        result = result[np.ix_(first_equal, first_equal)]
    return result


def oracle(labels: ArrayLike, n_classes: int) -> NDArray[np.float32]:
    """Return the probabilities of a model that knows the labels: 1 for each image's class, 0 elsewhere.

    Parameters
    ----------
    labels : (N,) array of int
        From 0.
    n_classes : int

    Returns
    -------
    (N, C) float32 array

    Raises
    ------
    DatasetError
        `labels` are not whole numbers from 0 to C - 1, or there are none.
    """
    index = np.asarray(labels)
    if (
        index.ndim != 1
        or len(index) == 0
        or index.dtype.kind not in "iu"
        or index.min() < 0
        or index.max() >= n_classes
    ):
        inside = f", {index.min()} to {index.max()}" if index.size and index.dtype.kind in "iuf" else ""
        raise DatasetError(
            "These labels name no classes.",
            got=f"shape {index.shape}, {index.dtype}{inside}",
            expected=f"a list of at least one whole number, each from 0 to {n_classes - 1}",
        )
    probabilities = np.zeros((len(index), n_classes), np.float32)
    probabilities[np.arange(len(index)), index] = 1
    return probabilities


def _require_models(P: NDArray[np.floating] | Sequence[NDArray[np.floating]]) -> list[NDArray[np.floating]]:
    """Return the models' probabilities, one (N, C) array each, none of them read."""
    models = [model if isinstance(model, np.ndarray) else np.asarray(model) for model in P]
    if not models:
        raise DatasetError("There is no model to compare.", expected="at least one model's probabilities")
    shape = models[0].shape
    for index, model in enumerate(models):
        if model.ndim != 2 or 0 in model.shape or model.dtype.kind != "f":
            raise DatasetError(
                f"Model {index} has no probabilities.",
                got=f"shape {model.shape}, {model.dtype}",
                expected="an (images, classes) array of float16, float32 or float64",
            )
        if model.shape != shape:
            raise DatasetError(
                f"Model {index} was not asked about the same images and classes as model 0.",
                got=f"shapes {model.shape} and {shape}",
                expected="the same number of images and of classes for every model",
            )
    return models


def _sum_tolerance(model: NDArray[np.floating]) -> float:
    return SUM_TOLERANCE["half" if model.dtype == np.float16 else "single"]


def _blocks(n_models: int, n_images: int, n_classes: int, itemsize: int, block_bytes: int | None) -> tuple[int, int]:
    """Return how many images to hold, and how many rows of an image's products to make, at a time."""
    image = n_models * n_classes * itemsize
    # Of a float32 image, copies: of the likely classes, which may be all, in both precisions, or of all in float64.
    copies = 4 * image if itemsize == 4 else 0
    # Of one row: both of `_Work`, and comparisons.
    row = 16 * n_models
    least = image + copies + row
    limit = max(BLOCK_BYTES, min(least, MOST_BYTES)) if block_bytes is None else block_bytes
    if limit < least:
        raise SpecError(
            "One image of all models does not fit into the working memory.",
            got=f"{limit} bytes for {n_models} models and {n_classes} classes",
            expected=f"at least {least} bytes",
            mend="compare fewer models, or name more memory (block_bytes)",
        )
    rows = min(n_models, 1 + (limit - least) // 2 // row)
    images = 1 + (limit - least - (rows - 1) * row) // image
    return min(n_images, images, max(1, ROOTS_BYTES // image)), rows


@dataclass(frozen=True)
class _Work:
    """Memory that one image after the other is worked on in: (rows, M) tensors.

    Attributes
    ----------
    sums : of the dtype of the roots
    exact : float64
        For what float32 cannot do; the same memory as `sums` where those are float64.
    """

    sums: Tensor
    exact: Tensor

    @staticmethod
    def make(n_models: int, rows: int, dtype: torch.dtype, device: str) -> _Work:
        """Return memory for so many rows at a time."""
        sums = torch.empty(rows, n_models, dtype=dtype, device=device)
        return _Work(sums, sums if dtype == torch.float64 else torch.empty_like(sums, dtype=torch.float64))


def _add_terms(
    D: Tensor, roots: Tensor, likely: NDArray[np.int64] | None, tolerance: Tensor, work: _Work
) -> int | None:
    """Add one image's terms to the lower triangle of D; return the first model whose probabilities are wrong, if any.

    Parameters
    ----------
    D : (M, M) float64 tensor
    roots : (M, C) tensor
        Roots of the probabilities. Where they are float32, the likely classes are set to 0.
    likely : int64 array or None
        The likely classes. None where roots are float64, and no class needs be taken out.
    tolerance : (M,) float64 tensor
        How far each model's sum of probabilities may be from 1.
    work : _Work
    """
    if likely is not None:
        values = roots.numpy()  # quicker than torch at columns
        taken = torch.from_numpy(values[:, likely].astype(np.float64))
        values[:, likely] = 0
    for start in range(0, len(D), len(work.sums)):
        # In the first block, and so with few models in the only one, both factors are the same: half a product.
        rows, columns = slice(start, start + len(work.sums)), slice(start + len(work.sums))
        sums = _product(roots[rows], roots[columns].T, work.sums)
        if likely is not None:
            sums += _product(taken[rows], taken[columns].T, work.exact)
        wrong = ~((sums.diagonal(start) - 1).abs() <= tolerance[rows])  # NaN is wrong, too
        if wrong.any():
            return start + int(wrong.nonzero()[0, 0])
        smallest = float(sums.min())
        if likely is not None and smallest < TINY:
            exact = torch.from_numpy(values.astype(np.float64))
            exact.numpy()[:, likely] = taken.numpy()
            sums = _product(exact[rows], exact[columns].T, work.exact)
        terms = _log_(sums.clamp_(max=1))
        if smallest < TINY:
            terms.masked_fill_(terms.isneginf(), -DISJOINT)
        D[rows, columns].sub_(terms)
    return None


def _product(left: Tensor, right: Tensor, work: Tensor) -> Tensor:
    """Return `matmul` of (m, k) and (k, n), in the memory of `work`."""
    out = work[: left.shape[0], : right.shape[1]]
    if left.is_cuda:
        return torch.mm(left, right, out=out)
    np.matmul(left.numpy(), right.numpy(), out=out.numpy())
    return out


def _log_(values: Tensor) -> Tensor:
    """Replace values by their logarithms; on the CPU numpy takes a third of torch's time."""
    if values.is_cuda:
        return values.log_()
    with np.errstate(divide="ignore"):
        np.log(values.numpy(), out=values.numpy())
    return values


def _no_probabilities(row: NDArray[np.floating], model: int, image: int) -> DatasetError:
    """Say what is wrong with one model's probabilities for one image."""
    values = np.asarray(row, np.float64)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    return DatasetError(
        f"What model {model} gives for image {image} are no probabilities.",
        got=f"{values[bad[0]]:.3g} for class {bad[0]}" if len(bad) else f"a sum of {values.sum():.6g}",
        expected="numbers from 0 to 1 that sum to 1",
        mend="give the softmax of the logits" if len(bad) == 0 or np.isfinite(values[bad[0]]) else None,
    )


def _first_equal(D: NDArray[np.float64], models: Sequence[NDArray[np.floating]]) -> NDArray[np.int64]:
    """Return, for each model, the first with the same probabilities: as a rule itself."""
    first = np.arange(len(models))
    # Equal models are as far apart as their sums are from 1, or less.
    tolerance = max(_sum_tolerance(model) for model in models)
    near = np.tril(2 * tolerance >= D, -1)
    for later, earlier in zip(*np.nonzero(near), strict=True):
        if first[later] == later and first[earlier] == earlier and _equal(models[earlier], models[later]):
            first[later] = earlier
    return first


def _equal(a: NDArray[np.floating], b: NDArray[np.floating], step: int = 16) -> bool:
    return all(np.array_equal(a[row : row + step], b[row : row + step]) for row in range(0, len(a), step))


# --- InPCA ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InPCA:
    """A map of models, of `inpca`.

    Attributes
    ----------
    coordinates : (M, k) float64 array
        Of each model on each axis.
    eigenvalues : (k,) float64 array
        Of ``W``, by falling absolute value. Negative: distances along this axis count negatively.
    signs : (k,) float64 array
        Of the eigenvalues: 1, -1, or 0 for an axis without extent.
    stress : (k,) float64 array
        Explained stress of the first 1, 2, ... k axes, up to 1.
    mean_dissimilarity : (M,) float64 array
        Of each model from all, to place new models with.
    """

    coordinates: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]
    signs: NDArray[np.float64]
    stress: NDArray[np.float64]
    mean_dissimilarity: NDArray[np.float64]


def inpca(D: ArrayLike, n_components: int) -> InPCA:
    """Map models so that signed squared distances on the map are their dissimilarities.

    ``W = -1/2 L D L`` with ``L = I - 11'/M``, D not squared. With eigenvalues l_k and eigenvectors v_k by falling
    ``|l_k|``, coordinate k is ``x_k = v_k sqrt(|l_k|)``, and ``D_ij = sum_k sign(l_k) (x_ik - x_jk)^2`` over all k.
    Explained stress of the first m axes is ``1 - sqrt(1 - sum_{k <= m} l_k^2 / ||W||_F^2)``.

    An eigenvalue that is nothing but rounding (``|l| <= M eps max|D|``) is set to 0, and so is its axis; there is
    always one. Where nothing differs, as with a single model or equal ones, all coordinates are 0 and explained stress
    is 1: there is nothing left to explain.

    Parameters
    ----------
    D : (M, M) array
        Dissimilarities.
    n_components : int
        Number of axes, k, at most M.

    Returns
    -------
    InPCA
        On each axis the model with the largest absolute coordinate has a positive one; of several, the first.

    Raises
    ------
    DatasetError
        D is not square, symmetric, finite, and 0 on the diagonal.
    SpecError
        `n_components` is not from 1 to M.

    References
    ----------
    Quinn et al. 2019; Mao et al. 2024: see the module.
    """
    dissimilarity = _require_dissimilarities(D, signed=True)
    n_models = len(dissimilarity)
    if not 1 <= n_components <= n_models:
        raise SpecError(
            "InPCA has no such axes.", got=f"{n_components}", expected=f"1 to {n_models}, as many as models"
        )
    mean = dissimilarity.mean(axis=0)
    W = -0.5 * (dissimilarity - mean - mean[:, None] + mean.mean())
    values, vectors = (part.numpy() for part in eigh(torch.from_numpy(W)))
    values[np.abs(values) <= n_models * np.finfo(np.float64).eps * np.abs(dissimilarity).max()] = 0
    order = np.argsort(-np.abs(values), kind="stable")
    values, vectors = values[order], vectors[:, order]
    total = np.sum(values**2)
    unexplained = np.clip(1 - np.cumsum(values**2) / total, 0, 1) if total > 0 else np.zeros(n_models)
    size = np.abs(vectors)
    # The first of the entries that are largest but for rounding: always the same one.
    largest = np.argmax(size >= (1 - 1e-8) * size.max(axis=0), axis=0)
    coordinates = vectors * np.sign(vectors[largest, np.arange(n_models)]) * np.sqrt(np.abs(values))
    kept = slice(n_components)
    return InPCA(coordinates[:, kept], values[kept], np.sign(values[kept]), 1 - np.sqrt(unexplained[kept]), mean)


def project(inpca: InPCA, d_new: ArrayLike) -> NDArray[np.float64]:
    """Place new models on a map without changing it.

    A row of W, multiplied with an eigenvector, is that eigenvector's entry times the eigenvalue. A new model's row of W
    is ``w = -1/2 (d - mean of D's rows)``, but for a constant, which the eigenvectors are blind to; so
    ``x_k = sum_i w_i x_ik / l_k``, and 0 on an axis without extent. A model of the map returns to its place.

    Parameters
    ----------
    inpca : InPCA
    d_new : (m, M) array
        Dissimilarities of m new models from the M of the map, in their order.

    Returns
    -------
    (m, k) float64 array

    Raises
    ------
    DatasetError
        `d_new` has another shape, or holds NaN or infinity.

    References
    ----------
    Gower 1968, Biometrika 55, 582-585 (adding a point); Pekalska & Duin 2005, The Dissimilarity Representation for
    Pattern Recognition, section 3.5 (negative eigenvalues).
    """
    d = np.asarray(d_new, dtype=np.float64)
    n_models = len(inpca.mean_dissimilarity)
    if d.ndim != 2 or d.shape[1] != n_models or not np.isfinite(d).all():
        raise DatasetError(
            "New models cannot be placed by these dissimilarities.",
            got=f"shape {d.shape}" + ("" if np.isfinite(d).all() else ", with NaN or infinity"),
            expected=f"finite numbers, a row per new model with {n_models} entries, one per model of the map",
        )
    extent = np.where(inpca.signs == 0, 1, inpca.eigenvalues)  # coordinates on an axis without extent are 0
    placed: NDArray[np.float64] = -0.5 * (d - inpca.mean_dissimilarity) @ (inpca.coordinates / extent)
    return placed


# --- other maps -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Embedding:
    """A map of models whose plain distances stand for dissimilarities, of `mds` or `umap`.

    Attributes
    ----------
    coordinates : (M, k) float64 array
        Centred.
    stress : float
        Kruskal's stress-1 of the map at its best scale: ``sqrt(sum (s e - d)^2 / sum d^2)`` over all pairs, with e the
        distance on the map and ``s = sum e d / sum e^2``. 0: every distance is right; 0 also where all d are 0.
    """

    coordinates: NDArray[np.float64]
    stress: float


def mds(D: ArrayLike, n_components: int = 2, seed: int = 0) -> Embedding:
    """Map models by metric multidimensional scaling (scikit-learn's SMACOF).

    It starts from classical scaling of D, and from small random numbers on an axis for which classical scaling has
    no positive eigenvalue left, so that it gives the same map each time.

    Parameters
    ----------
    D : (M, M) array
    n_components : int
    seed : int
        Of the random numbers, if any.

    Returns
    -------
    Embedding

    Raises
    ------
    DatasetError
        D is not square, symmetric, finite, without negative entries, and 0 on the diagonal.
    SpecError
        `n_components` is less than 1.

    References
    ----------
    Borg & Groenen 2005, Modern Multidimensional Scaling, chapters 8 (SMACOF) and 12 (classical scaling).
    """
    dissimilarity = _require_dissimilarities(D)
    if n_components < 1:
        raise SpecError("A map needs an axis.", got=f"{n_components}", expected="at least 1")
    if not dissimilarity.any():
        return Embedding(np.zeros((len(dissimilarity), n_components)), 0.0)
    start = 1e-3 * dissimilarity.max() * np.random.default_rng(seed).standard_normal((len(dissimilarity), n_components))
    classical = inpca(dissimilarity**2, len(dissimilarity))
    positive = np.flatnonzero(classical.signs > 0)[:n_components]
    start[:, : len(positive)] = classical.coordinates[:, positive]
    coordinates, _ = smacof(dissimilarity, init=start, n_init=1, max_iter=1000, eps=1e-8, normalized_stress=False)
    return _embedding(coordinates, dissimilarity)


def umap(
    D: ArrayLike, n_components: int = 2, *, n_neighbors: int = 15, min_dist: float = 0.1, seed: int = 0
) -> Embedding:
    """Map models by UMAP, which keeps neighbours together and says little about large distances.

    It starts from the first axes of InPCA, so that the arrangement of groups is not left to chance, and runs in one
    thread with its own random numbers, so that it gives the same map each time.

    Parameters
    ----------
    D : (M, M) array
        Of at least 4 models.
    n_components : int
        Less than M - 1.
    n_neighbors : int
        How many neighbours, itself included, a model is compared with: at least 2; no more than M - 1 are taken.
    min_dist : float
        How close models may come on the map, 0 to 1.
    seed : int

    Returns
    -------
    Embedding
        The units of the coordinates mean nothing.

    Raises
    ------
    DatasetError
        D is not square, symmetric, finite, without negative entries, and 0 on the diagonal.
    SpecError
        Fewer than 4 models, or another argument is out of range.

    References
    ----------
    McInnes, Healy & Melville 2018, arXiv 1802.03426; Kobak & Linderman 2021, Nature Biotechnology 39, 156-157 (where to
    start from).
    """
    dissimilarity = _require_dissimilarities(D)
    n_models = len(dissimilarity)
    if n_models < 4:
        raise SpecError(
            "UMAP needs more models.", got=f"{n_models}", expected="at least 4", mend="look at InPCA or MDS"
        )
    if not (1 <= n_components < n_models - 1 and n_neighbors >= 2 and 0 <= min_dist <= 1):
        raise SpecError(
            "UMAP cannot be made with these settings.",
            got=f"{n_components} axes, {n_neighbors} neighbours, min_dist {min_dist}",
            expected=f"1 to {n_models - 2} axes, at least 2 neighbours, min_dist from 0 to 1",
        )
    if not dissimilarity.any():
        return Embedding(np.zeros((n_models, n_components)), 0.0)
    import umap as umap_learn

    reducer = umap_learn.UMAP(
        n_components=n_components,
        n_neighbors=min(n_neighbors, n_models - 1),
        min_dist=min_dist,
        metric="precomputed",
        init=inpca(dissimilarity, n_components).coordinates,
        random_state=seed,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "using precomputed metric")  # which was asked for
        coordinates = np.asarray(reducer.fit_transform(dissimilarity), np.float64)
    return _embedding(coordinates, dissimilarity)


def _embedding(coordinates: NDArray[np.float64], dissimilarity: NDArray[np.float64]) -> Embedding:
    distance = euclidean_distances(coordinates)
    square = np.sum(distance**2)
    scale = np.sum(distance * dissimilarity) / square if square > 0 else 0.0
    stress = np.sqrt(np.sum((scale * distance - dissimilarity) ** 2) / np.sum(dissimilarity**2))
    return Embedding(coordinates - coordinates.mean(axis=0), float(stress))


# --- order and groups -------------------------------------------------------------------------------------------------


def cluster_order(D: ArrayLike) -> NDArray[np.int64]:
    """Order models for a heat map so that similar ones are neighbours.

    Average linkage, its branches turned so that neighbours are as similar as the tree allows.

    Parameters
    ----------
    D : (M, M) array

    Returns
    -------
    (M,) int64 array
        Row numbers of D, first to last.

    Raises
    ------
    DatasetError
        D is not square, symmetric, finite, without negative entries, and 0 on the diagonal.

    References
    ----------
    Bar-Joseph, Gifford & Jaakkola 2001, Bioinformatics 17 Suppl. 1, S22-S29 (turning the branches).
    """
    dissimilarity = _require_dissimilarities(D)
    if len(dissimilarity) == 1:
        return np.zeros(1, np.int64)
    tree = hierarchy.linkage(squareform(dissimilarity, checks=False), "average", optimal_ordering=True)
    return np.asarray(hierarchy.leaves_list(tree), np.int64)


def silhouette(D: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean silhouette of groups of models, -1 to 1: how much nearer a model is to its group than to others.

    Parameters
    ----------
    D : (M, M) array
    labels : (M,) array
        Equal values mark a group; at least 2 groups, and fewer than models. A model that is alone in its group counts
        0.

    Raises
    ------
    DatasetError
        D is not square, symmetric, finite, without negative entries, and 0 on the diagonal.
    SpecError
        `labels` do not fit.

    References
    ----------
    Rousseeuw 1987, Journal of Computational and Applied Mathematics 20, 53-65; scikit-learn's `silhouette_score`.
    """
    dissimilarity = _require_dissimilarities(D)
    return float(silhouette_score(dissimilarity, _require_groups(labels, len(dissimilarity)), metric="precomputed"))


class GroupTest(NamedTuple):
    """What `group_permutation_test` found: the pseudo-F statistic, and its p-value."""

    statistic: float
    p: float


def group_permutation_test(D: ArrayLike, labels: ArrayLike, n_permutations: int = 5000, seed: int = 0) -> GroupTest:
    """Test whether groups of models differ more than models within groups do: PERMANOVA, one way.

    With a groups, ``SS_T = sum_{i<j} d_ij^2 / M`` and ``SS_W = sum over groups of sum_{i<j within} d_ij^2 / size``::

        F = ((SS_T - SS_W) / (a - 1)) / (SS_W / (M - a)),    p = (1 + #{F* >= F}) / (1 + n_permutations)

    with F* for randomly permuted labels. SS_T stays the same, so that F* >= F where SS_W* <= SS_W. The test supposes
    that models may be exchanged: models of one subject, or seeds of one setting, are not. Groups that are as far apart
    but scatter differently may be found to differ. D is squared, as Anderson does; for the geometry of InPCA, in which
    D is a squared distance already, give its root.

    Parameters
    ----------
    D : (M, M) array
    labels : (M,) array
        Equal values mark a group; at least 2 groups, and fewer than models.
    n_permutations : int
    seed : int

    Returns
    -------
    GroupTest
        ``(statistic, p)``. The statistic is infinite where nothing differs within groups; where nothing differs at
        all, it is NaN and p is 1.

    Raises
    ------
    DatasetError
        D is not square, symmetric, finite, without negative entries, and 0 on the diagonal.
    SpecError
        `labels` do not fit, or there are no permutations.

    References
    ----------
    Anderson 2001, Austral Ecology 26, 32-46, equations 1 to 4; Phipson & Smyth 2010, Statistical Applications in
    Genetics and Molecular Biology 9(1), 39 (p is never 0).
    """
    dissimilarity = _require_dissimilarities(D)
    n_models = len(dissimilarity)
    group = _require_groups(labels, n_models)
    if n_permutations < 1:
        raise SpecError(
            "There is nothing to compare with.", got=f"{n_permutations} permutations", expected="at least 1"
        )
    square = dissimilarity**2
    total = square.sum() / (2 * n_models)
    share = np.eye(group.max() + 1)[group] / np.sqrt(np.bincount(group))  # (M, a): membership / sqrt(size)

    def within(shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return SS_W, (B,), for labels (B, M, a)."""
        sums: NDArray[np.float64] = np.einsum("bma,bma->b", shares, square @ shares) / 2
        return sums

    rng = np.random.default_rng(seed)
    observed = float(within(share[None])[0])
    as_far = 0
    step = max(1, 2**21 // share.size)
    for start in range(0, n_permutations, step):
        count = min(step, n_permutations - start)
        permuted = share[rng.permuted(np.tile(np.arange(n_models), (count, 1)), axis=1)]
        as_far += int(np.count_nonzero(within(permuted) <= observed + 1e-12 * total))
    between = (total - observed) / (share.shape[1] - 1)
    left = observed / (n_models - share.shape[1])
    statistic = between / left if left > 0 else (np.inf if total > 0 else np.nan)
    return GroupTest(float(statistic), (1 + as_far) / (1 + n_permutations))


def _require_groups(labels: ArrayLike, n_models: int) -> NDArray[np.int64]:
    """Return each model's group number, from 0."""
    values = np.asarray(labels)
    names, group = np.unique(values, return_inverse=True)
    if values.shape != (n_models,) or not 2 <= len(names) < n_models:
        raise SpecError(
            "These labels make no groups of the models.",
            got=f"{len(names)} groups, labels of shape {values.shape}",
            expected=f"{n_models} labels, at least 2 groups and fewer than models",
        )
    return np.asarray(group, np.int64)


def _require_dissimilarities(D: ArrayLike, *, signed: bool = False) -> NDArray[np.float64]:
    """Return D in float64 and exactly symmetric; entries may be negative where `signed`."""
    values = np.array(D, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) == 0:
        raise DatasetError("This is no matrix of dissimilarities.", got=f"shape {values.shape}", expected="(M, M)")
    largest = np.abs(values).max()
    if not np.isfinite(largest):
        wrong = "has entries that are NaN or infinite"
    elif np.abs(values - values.T).max() > 1e-9 * largest:
        wrong = "is not symmetric"
    elif np.abs(values.diagonal()).max() > 1e-9 * largest:
        wrong = "is not 0 on the diagonal"
    elif not signed and values.min() < 0:
        wrong = "has negative entries"
    else:
        np.fill_diagonal(values, 0)
        return (values + values.T) / 2
    raise DatasetError(
        f"The matrix of dissimilarities {wrong}.",
        expected="a symmetric matrix of finite numbers"
        + ("" if signed else ", none negative,")
        + " with 0 on the diagonal",
    )
