"""How far concepts can be trusted: agreement of participants, seeds and clusterings; and the map of weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from brainviz.analyses.concepts import concept_vectors
from brainviz.analyses.near_points import NOISE
from brainviz.errors import DatasetError


@dataclass(frozen=True)
class Agreement:
    """How alike two clusterings of the same points are.

    Attributes
    ----------
    rand : float
        Adjusted Rand index (Hubert & Arabie 1985) of the points that are in clusters of both: 1 the same, 0 chance.
        NaN where no point is, or where either has a single cluster: all agree, and it means nothing.
    overlap : float
        Points in clusters of both, as a share of those in clusters of either (Jaccard index). NaN where none is.
    """

    rand: float
    overlap: float


def agreement(one: ArrayLike, other: ArrayLike) -> Agreement:
    """Compare two clusterings of the same points; -1 is noise.

    Parameters
    ----------
    one, other : (N,) int arrays
        Labels.

    Raises
    ------
    DatasetError
        They are not about the same points.
    """
    from sklearn.metrics import adjusted_rand_score

    first, second = np.asarray(one), np.asarray(other)
    if first.ndim != 1 or first.shape != second.shape:
        raise DatasetError("Clusterings of other points cannot be compared.", got=f"{first.shape} and {second.shape}")
    both, either = (first != NOISE) & (second != NOISE), (first != NOISE) | (second != NOISE)
    several = min(len(np.unique(first[both])), len(np.unique(second[both]))) > 1
    return Agreement(
        float(adjusted_rand_score(first[both], second[both])) if several else np.nan,
        float(both.sum() / either.sum()) if either.any() else np.nan,
    )


def participant_vectors(
    vectors: ArrayLike, participants: ArrayLike, labels: ArrayLike, n_participants: int
) -> NDArray[np.float64]:
    """Return each concept's direction in each participant's own vertices.

    Parameters
    ----------
    vectors : (N, p) array
    participants : (N,) int array
        Numbers from 0.
    labels : (N,) int array
        Concept of each point; -1 for none.
    n_participants : int

    Returns
    -------
    (K, n_participants, p) array
        Unit vectors; NaN where a participant has no vertex of the concept.
    """
    points, who, number = np.asarray(vectors), np.asarray(participants), np.asarray(labels)
    n = int(number.max(initial=NOISE)) + 1
    found = np.full((n, n_participants, points.shape[1]), np.nan)
    for participant in range(n_participants):
        own = np.flatnonzero((who == participant) & (number != NOISE))
        if own.size:
            direction = concept_vectors(points[own], number[own])
            having = np.unique(number[own])
            found[having, participant] = direction[having]
    return found


def consistency(directions: ArrayLike) -> NDArray[np.float64]:
    """Return how much each participant's version of a concept is like that of the others.

    Parameters
    ----------
    directions : (K, P, p) array
        Of `participant_vectors`.

    Returns
    -------
    (K, P) array
        Cosine of a participant's direction with the mean of the others'; NaN where either lacks the concept.
    """
    each = np.asarray(directions, np.float64)
    having: NDArray[np.bool_] = np.asarray(~np.isnan(each).any(axis=2))
    known = np.where(having[:, :, None], each, 0)
    others = known.sum(axis=1, keepdims=True) - known
    lengths = np.linalg.norm(others, axis=2)
    cosines = np.einsum("kpd,kpd->kp", known, others)
    usable = having & (having.sum(axis=1, keepdims=True) > 1) & (lengths > 0)
    found: NDArray[np.float64] = np.divide(cosines, lengths, out=np.full(cosines.shape, np.nan), where=usable)
    return found


def turned_at_random(vectors: ArrayLike, participants: ArrayLike, seed: int = 0) -> NDArray[np.float32]:
    """Turn every participant's vectors by a random rotation (or reflection) of their own.

    What a participant's vectors have among themselves stays; what participants have in common beyond chance is gone:
    concepts found in these, and how consistent they look, are what clustering finds by chance.

    Parameters
    ----------
    vectors : (N, p) array
    participants : (N,) int array
    seed : int

    Returns
    -------
    (N, p) float32 array

    References
    ----------
    Mezzadri 2007, Notices of the AMS 54, 592: uniformly distributed orthogonal matrices.
    """
    from scipy.stats import ortho_group

    points, who = np.asarray(vectors, np.float32), np.asarray(participants)
    rng = np.random.default_rng(seed)
    turned = np.empty_like(points)
    for participant in np.unique(who):
        own = who == participant
        turned[own] = points[own] @ ortho_group.rvs(points.shape[1], random_state=rng).astype(np.float32)
    return turned


def best_matches(concepts: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """Return for each concept the largest cosine with any of the others.

    Parameters
    ----------
    concepts : (K, p) array
        Unit vectors.
    others : (L, p) array

    Returns
    -------
    (K,) array
        NaN where there are no others.
    """
    own, theirs = np.asarray(concepts, np.float64), np.asarray(others, np.float64)
    if not len(theirs):
        return np.full(len(own), np.nan)
    largest: NDArray[np.float64] = (own @ theirs.T).max(axis=1)
    return largest


def correlations(one: ArrayLike, other: ArrayLike) -> NDArray[np.float64]:
    """Return Pearson's r of matching rows over the columns where both are known.

    Parameters
    ----------
    one, other : (K, n) arrays
        NaN where a value is not known.

    Returns
    -------
    (K,) array
        NaN for fewer than 3 known columns, or where a row is constant.
    """
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    found = np.full(len(first), np.nan)
    for row, (a, b) in enumerate(zip(first, second, strict=True)):
        known = ~(np.isnan(a) | np.isnan(b))
        if known.sum() >= 3 and np.ptp(a[known]) > 0 and np.ptp(b[known]) > 0:
            found[row] = np.corrcoef(a[known], b[known])[0, 1]
    return found


@dataclass(frozen=True)
class Bin:
    """Pictures of neighbouring ranks.

    Attributes
    ----------
    share : float
        The middle of its ranks, as a share of all: 0 the most associated.
    value, low, high : float
        Mean and its t interval (95 %); NaN for fewer than 3 pictures.
    n : int
        Pictures.
    """

    share: float
    value: float
    low: float
    high: float
    n: int


def evidence_bins(similarity: ArrayLike, evidence: ArrayLike, n_bins: int = 10, *, least: int = 10) -> list[Bin]:
    """Return the mean of what responses say of pictures, in bins of pictures by their own likeness to a concept.

    Parameters
    ----------
    similarity : (M,) array
        Cosines of the pictures' embeddings with the concept.
    evidence : (M,) array
        Cosines of what was decoded from the responses to them; NaN where nothing was.
    n_bins : int
        Fewer where there are few pictures with evidence.
    least : int
        Pictures in a bin, where there are so many.

    Returns
    -------
    list of Bin
        From the most to the least associated.
    """
    own, decoded = np.asarray(similarity, np.float64), np.asarray(evidence, np.float64)
    known = np.flatnonzero(~np.isnan(decoded))
    ranked = known[np.argsort(-own[known], kind="stable")]
    bins, start = [], 0
    for part in np.array_split(decoded[ranked], min(n_bins, max(1, len(ranked) // least))) if len(ranked) else []:
        n, mean = len(part), float(part.mean())
        reach = float(stats.t.ppf(0.975, n - 1) * part.std(ddof=1) / np.sqrt(n)) if n > 2 else np.nan
        bins.append(Bin((start + n / 2) / len(ranked), mean, mean - reach, mean + reach, n))
        start += n
    return bins


def sample_points(labels: ArrayLike, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw points for a map, ascending: as many members of concepts as others, as far as there are so many.

    Members are a small part of all points, and would hardly be seen in a plain sample.
    """
    number = np.asarray(labels)
    members, others = np.flatnonzero(number != NOISE), np.flatnonzero(number == NOISE)
    n_members = min(len(members), max(n // 2, n - len(others)))
    drawn = [
        rng.choice(members, n_members, replace=False),
        rng.choice(others, min(len(others), n - n_members), replace=False),
    ]
    return np.sort(np.concatenate(drawn))


def map_weights(
    vectors: ArrayLike, *, n_neighbors: int = 15, min_dist: float = 0.1, seed: int = 0
) -> NDArray[np.float32]:
    """Lay vectors out in two dimensions by UMAP on cosine distance, the same each time.

    Parameters
    ----------
    vectors : (m, p) array
        At least 4.
    n_neighbors : int
        At most m - 1 are taken.
    min_dist : float
    seed : int

    Returns
    -------
    (m, 2) float32 array
        The units mean nothing.

    Raises
    ------
    DatasetError
        There are too few vectors.

    References
    ----------
    McInnes, Healy & Melville 2018, arXiv 1802.03426.
    """
    points = np.asarray(vectors, np.float32)
    if len(points) < 4:
        raise DatasetError("UMAP needs more points.", got=str(len(points)), expected="at least 4")
    from umap import UMAP

    mapper = UMAP(
        n_neighbors=min(n_neighbors, len(points) - 1),
        min_dist=min_dist,
        metric="cosine",
        init="pca",
        random_state=seed,
        n_jobs=1,
    )
    found: NDArray[np.float32] = np.asarray(mapper.fit_transform(points), np.float32)
    return found
