"""Shared concepts: clusters of vertices whose decoding weights point the same way in several participants' brains.

Points are unit vectors, a vertex's weights each, of all participants together (Efird et al. 2024, arXiv 2405.17663;
methods, section 8). Two points are near when their cosine distance is at most eps. DBSCAN (Ester et al. 1996) adapted:
a point is a core point when points of at least `min_participants` other participants are near it, however many these
are. Clusters are the connected components of core points; a point that is near a core point, and is none, belongs to
the cluster of the nearest one (the authors let the last one win, which depends on the order); all others are noise.

Exact, and the same for any order of the points (`near_points`); memory grows with one bit per pair of points, or, at
twice the products, with the points alone (`streamed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.analyses.components import Forest, Nearest
from brainviz.analyses.near_points import (
    NOISE,
    Graph,
    Indices,
    Points,
    Progress,
    in_blocks,
)
from brainviz.errors import DatasetError, SpecError


@dataclass(frozen=True, eq=False)
class Clustering:
    """Clusters of points.

    Attributes
    ----------
    labels : (N,) int64 array
        Cluster of each point, 0 the largest; -1 for noise.
    core : (N,) bool array
        Which points are core points.
    reached : (N,) int64 array
        How many other participants have a point near each point.
    """

    labels: NDArray[np.int64]
    core: NDArray[np.bool_]
    reached: NDArray[np.int64]

    @property
    def n_clusters(self) -> int:
        return int(self.labels.max(initial=NOISE)) + 1


@dataclass(frozen=True)
class ScanRow:
    """What one choice of settings makes of the points.

    Attributes
    ----------
    eps : float
    min_participants : int
    n_concepts : int
    share : float
        Share of all points that are in concepts.
    mean_participants, fewest_participants : float, int
        Over concepts, how many participants have points in it; 0 where there is no concept.
    largest : float
        Share of all points that are in the largest concept.
    """

    eps: float
    min_participants: int
    n_concepts: int
    share: float
    mean_participants: float
    fewest_participants: int
    largest: float


def shared_dbscan(
    vectors: ArrayLike,
    participants: ArrayLike | None,
    eps: float,
    min_participants: int,
    *,
    streamed: bool | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """Cluster points that several participants have in common; return only the labels of `cluster_shared`."""
    return cluster_shared(
        vectors, participants, eps, min_participants, streamed=streamed, device=device, progress=progress
    ).labels


def cluster_shared(
    vectors: ArrayLike,
    participants: ArrayLike | None,
    eps: float,
    min_participants: int,
    *,
    streamed: bool | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Clustering:
    """Cluster points that several participants have in common.

    Parameters
    ----------
    vectors : (N, p) array
        One per vertex, of any length above 0; only directions count.
    participants : (N,) array or None
        Whose vertex each is. None for plain DBSCAN: every point is then a participant of its own, and the core points
        are those of scikit-learn's ``DBSCAN(eps, min_samples=min_participants + 1, metric="cosine")``.
    eps : float
        Largest cosine distance of points that are near each other, above 0 and below 2.
    min_participants : int
        At least 1.
    streamed : bool, optional
        Keep no bits: memory grows with N alone, and products are taken twice. Where the bits would take much of the
        memory, unless said (`needs_streaming`).
    device : str
        Where products are taken.
    progress : callable, optional
        Called with the blocks done and the number of all.

    Returns
    -------
    Clustering
        Labels go by size; of clusters of one size, the one with the smallest vector (in the order of the coordinates)
        comes first. A point as near to core points of two clusters belongs to that of the smallest core point.

    Raises
    ------
    SpecError
        `eps` or `min_participants` out of range.
    DatasetError
        Vectors that are not finite or have no direction, or not one participant per vector.
    """
    points = Points.checked(vectors, participants)
    _require_settings(eps, min_participants)
    return _clusterings(points, eps, [min_participants], streamed, device, progress)[0]


def scan(
    vectors: ArrayLike,
    participants: ArrayLike | None,
    eps_values: Sequence[float],
    min_participants_values: Sequence[int],
    *,
    streamed: bool | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[ScanRow]:
    """Cluster points with many settings, to see how concepts merge as eps grows.

    Products are taken once per eps (twice where `streamed`), however many numbers of participants are tried.

    Parameters
    ----------
    vectors, participants, streamed, device, progress
        As in `cluster_shared`.
    eps_values : sequence of float
    min_participants_values : sequence of int

    Returns
    -------
    list of ScanRow
        For every eps, in the order given, one per number of participants, in the order given.

    Raises
    ------
    SpecError
        An eps or a number of participants is out of range.
    DatasetError
        Vectors that are not finite or have no direction, or not one participant per vector.
    """
    points = Points.checked(vectors, participants)
    for eps in eps_values:
        for min_participants in min_participants_values:
            _require_settings(eps, min_participants)
    if not min_participants_values:
        return []
    rows = []
    for k, eps in enumerate(eps_values):
        found = _clusterings(
            points, eps, min_participants_values, streamed, device, _part(progress, k, len(eps_values))
        )
        rows += [
            _scan_row(points, eps, each, clustering.labels)
            for each, clustering in zip(min_participants_values, found, strict=True)
        ]
    return rows


def _scan_row(points: Points, eps: float, min_participants: int, labels: Indices) -> ScanRow:
    inside = np.flatnonzero(labels != NOISE)
    sizes = np.bincount(labels[inside])
    if points.who is None:
        having = sizes
    else:
        n_participants = int(points.who.max()) + 1
        having = np.bincount(np.unique(labels[inside] * n_participants + points.who[inside]) // n_participants)
    n = len(labels)
    return ScanRow(
        eps=float(eps),
        min_participants=int(min_participants),
        n_concepts=len(sizes),
        share=len(inside) / n,
        mean_participants=float(having.mean()) if len(having) else 0.0,
        fewest_participants=int(having.min()) if len(having) else 0,
        largest=int(sizes.max(initial=0)) / n,
    )


def expand_within(
    vectors: ArrayLike, participants: ArrayLike, labels: ArrayLike, radius: float, *, device: str = "cpu"
) -> NDArray[np.int64]:
    """Add to clusters the noise that is near a member of the same participant: the second stage.

    Members are those of `labels`: a point that joins brings in no others.

    Parameters
    ----------
    vectors : (N, p) array
    participants : (N,) array
    labels : (N,) array
        Cluster of each point, from 0; -1 for noise.
    radius : float
        Largest cosine distance from a member, above 0 and below 2; the paper's is ``min(eps + 0.05, 0.65)``.
    device : str

    Returns
    -------
    (N,) int64 array
        Labels, with the clusters' numbers left as they are. Points join the cluster of the nearest member of their
        participant; of equally near ones, that with the smallest vector counts.

    Raises
    ------
    SpecError
        `radius` is out of range.
    DatasetError
        Vectors that are not finite or have no direction, or not one participant and one label per vector.
    """
    points = Points.checked(vectors, participants)
    if not 0 < radius < 2:
        raise SpecError("Clusters cannot be expanded so far.", got=f"{radius}", expected="above 0 and below 2")
    given = np.asarray(labels)
    if given.shape != points.lengths.shape or not np.issubdtype(given.dtype, np.integer) or given.min() < NOISE:
        raise DatasetError(
            "Every point needs a cluster, or -1.",
            got=f"{given.dtype} of shape {given.shape}, {len(points.lengths)} points",
            expected="whole numbers from -1, one per point",
        )
    found = given.astype(np.int64)
    if points.who is None:  # everybody has one point
        return found
    graph = Graph(points, radius, device, keep=False)
    sorted_labels = given.astype(np.int64)[graph.order]
    starts = [*graph.starts, len(found)]
    for first, last in pairwise(starts):
        is_member = sorted_labels[first:last] != NOISE
        search = Nearest(graph)
        search.add(first + np.flatnonzero(~is_member), first + np.flatnonzero(is_member))
        joined, nearest = search.nearest(sorted_labels)
        found[graph.order[joined]] = sorted_labels[nearest]
    return found


def needs_streaming(n: int) -> bool:
    """Return whether the bits of all pairs of n points would take more than a quarter of the memory that is free."""
    import psutil

    return n**2 / 16 > psutil.virtual_memory().available / 4


def _require_settings(eps: float, min_participants: int) -> None:
    if not 0 < eps < 2 or min_participants < 1:
        raise SpecError(
            "Points cannot be clustered with these settings.",
            got=f"eps {eps}, min_participants {min_participants}",
            expected="eps above 0 and below 2, min_participants at least 1",
        )


def _clusterings(
    points: Points,
    eps: float,
    min_participants: Sequence[int],
    streamed: bool | None,
    device: str,
    progress: Progress | None,
) -> list[Clustering]:
    """Return a clustering for every number of participants; products are taken once for all of them."""
    if streamed is None:
        streamed = needs_streaming(len(points.vectors))
    graph = Graph(points, eps, device, keep=not streamed)
    graph.connect(_part(progress, 0, 2) if streamed else progress)
    # Core points of more participants are core points of fewer: from the fewest core points to the most.
    levels = sorted(set(min_participants), reverse=True)
    forests = [Forest(graph.reached >= level) for level in levels]
    others = graph.join(forests, _part(progress, 1, 2) if streamed else None)
    search, searched = Nearest(graph), np.zeros(len(graph.order), bool)
    found = {}
    for level, forest in zip(levels, forests, strict=True):
        core = forest.label != NOISE
        search.add(np.flatnonzero(others & ~core), np.flatnonzero(core & ~searched))
        searched = core
        joined, nearest = search.nearest(forest.label)
        given = np.full(len(core), NOISE, np.int64)
        given[graph.order] = forest.label
        given[graph.order[joined]] = forest.label[nearest]
        found[level] = Clustering(_by_size(given, points), graph.as_given(core), graph.as_given(graph.reached))
    return [found[each] for each in min_participants]


def _part(progress: Progress | None, number: int, n_parts: int) -> Progress | None:
    """Return what tells the progress of one of several parts as that of the whole."""
    if progress is None:
        return None
    return lambda done, of: progress(number * of + done, n_parts * of)


def _by_size(labels: Indices, points: Points) -> Indices:
    """Number clusters by size; those of one size by the smallest of their vectors."""
    members = np.flatnonzero(labels != NOISE)
    if not len(members):
        return labels
    own = np.unique(labels[members], return_inverse=True)[1]
    sizes = np.bincount(own)
    tied = np.bincount(sizes)[sizes] > 1
    smallest = np.zeros(len(sizes), np.int64)
    if tied.any():
        some = np.flatnonzero(tied[own])
        ranks = np.zeros(len(own), np.int64)
        ranks[some] = points.ranks(members[some])
        best = np.full(len(sizes), len(own))
        np.minimum.at(best, own, ranks)
        smallest = np.where(tied, best, 0)
    number = np.empty(len(sizes), np.int64)
    number[np.lexsort((smallest, -sizes))] = np.arange(len(sizes))
    renamed = labels.copy()
    renamed[members] = number[own]
    return renamed


def concept_vectors(vectors: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Return each cluster's direction, (n_clusters, p): the mean of its members' unit vectors, normalised.

    0 throughout for a number that no point has, or where unit vectors cancel out.
    """
    from scipy.sparse import csr_array

    points, number = Points.checked(vectors, None), np.asarray(labels)
    n = int(number.max(initial=NOISE)) + 1
    sums = np.zeros((n, points.vectors.shape[1]))
    members = np.flatnonzero(number != NOISE)
    for some in (members[part] for part in in_blocks(len(members))):
        unit = points.vectors[some] / points.lengths[some, None]
        sums += csr_array((np.ones(len(some)), (number[some], np.arange(len(some)))), shape=(n, len(some))) @ unit
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    found: NDArray[np.float64] = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
    return found
