"""Shared concepts: clusters of vertices whose decoding weights point the same way in several participants' brains.

Points are unit vectors, a vertex's weights each, of all participants together (Efird et al. 2024, arXiv 2405.17663;
methods, section 8). Two points are near when their cosine distance is at most eps. DBSCAN (Ester et al. 1996) adapted:
a point is a core point when points of at least `min_participants` other participants are near it, however many these
are. Clusters are the connected components of core points; a point that is near a core point, and is none, belongs to
the cluster of the nearest one (the authors let the last one win, which depends on the order); all others are noise.

Exact, and the same for any order of the points: products are float32, and the few within rounding of eps are taken
again in float64, always in the order of the coordinates. The N x N matrix is made block by block, each pair once, and
kept as one bit per pair, or not at all (`streamed`), in which case the products are taken twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.errors import DatasetError, SpecError

if TYPE_CHECKING:
    from torch import Tensor

#: Points on a side of a block; a multiple of 8, so that blocks begin at whole bytes.
BLOCK = 4096

#: Products of unit vectors that are closer than this to the threshold are taken again in float64. A sum of p products
#: in float32 is off by less than sqrt(p) roundings with all but no probability: 1.4e-6 for 512.
NEAR_THRESHOLD = 4e-6

NOISE = -1

Progress = Callable[[int, int], None]


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


def shared_dbscan(
    vectors: ArrayLike,
    participants: ArrayLike | None,
    eps: float,
    min_participants: int,
    *,
    streamed: bool = False,
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
    streamed: bool = False,
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
    streamed : bool
        Keep no bits: memory grows with N alone, and the products are taken twice.
    device : str
        Where products are taken.
    progress : callable, optional
        Called with the blocks done and the number of all.

    Returns
    -------
    Clustering
        Labels go by size; of clusters of one size, the one with the smallest vector (in the order of the coordinates)
        comes first. A point as near to core points of two clusters belongs to the first of these.

    Raises
    ------
    SpecError
        `eps` or `min_participants` out of range.
    DatasetError
        Vectors that are not finite or have no direction, or not one participant per vector.
    """
    points, lengths, who = _checked(vectors, participants, eps, min_participants)
    graph = _Graph(points, lengths, who, 1.0 - eps, device, keep=not streamed)
    graph.connect(progress)
    core = graph.reached >= min_participants
    labels = np.full(len(points), NOISE, np.int64)
    labels[core] = graph.components(core)
    graph.join_borders(core, labels)
    return Clustering(_by_size(labels, points, lengths), core, graph.reached)


def _checked(
    vectors: ArrayLike, participants: ArrayLike | None, eps: float, min_participants: int
) -> tuple[NDArray[np.floating], NDArray[np.float64], NDArray[np.int64] | None]:
    """Return the vectors, their lengths, and the participants' numbers."""
    if not 0 < eps < 2 or min_participants < 1:
        raise SpecError(
            "Points cannot be clustered with these settings.",
            got=f"eps {eps}, min_participants {min_participants}",
            expected="eps above 0 and below 2, min_participants at least 1",
        )
    points = np.asarray(vectors)
    if points.dtype not in (np.float32, np.float64):
        points = points.astype(np.float64)
    if points.ndim != 2 or not len(points) or not np.isfinite(points.sum(axis=1, dtype=np.float64)).all():
        raise DatasetError("The points are no finite vectors.", got=f"shape {points.shape}", expected="(N, p), numbers")
    lengths = np.sqrt(np.einsum("np,np->n", points, points, dtype=np.float64))
    if (lengths == 0).any():
        raise DatasetError(
            "Some vectors have no direction.", got=f"{int((lengths == 0).sum())} of {len(points)} are 0 throughout"
        )
    if participants is None:
        return points, lengths, None
    names = np.asarray(participants)
    if names.shape != (len(points),):
        raise DatasetError("Every point needs a participant.", got=f"{names.shape} for {len(points)} points")
    return points, lengths, np.unique(names, return_inverse=True)[1].astype(np.int64)


class _Graph:
    """Which points are near each other.

    Inside, points are sorted by participant, so that a participant's are beside each other.
    """

    def __init__(
        self,
        points: NDArray[np.floating],
        lengths: NDArray[np.float64],
        who: NDArray[np.int64] | None,
        threshold: float,
        device: str,
        *,
        keep: bool,
    ) -> None:
        import torch

        self.points, self.lengths, self.threshold = points, lengths, threshold
        self.order = np.arange(len(points)) if who is None else np.argsort(who, kind="stable")
        self.who = None if who is None else who[self.order]
        unit = np.empty(points.shape, np.float32)
        for rows in _blocks(len(points)):
            of = self.order[rows]
            unit[rows] = points[of] / lengths[of, None]
        self.unit = torch.from_numpy(unit).to(device)
        self.bits = np.zeros((len(points), -(-len(points) // 8)), np.uint8) if keep else None
        self._reached = np.zeros(len(points), np.int64)

    @property
    def reached(self) -> NDArray[np.int64]:
        """How many other participants are near each point, in the order of the points as they were given."""
        found = np.empty_like(self._reached)
        found[self.order] = self._reached
        return found

    def near(self, rows: NDArray[np.int64] | slice, columns: NDArray[np.int64] | slice) -> Tensor:
        """Return which of some points are near which others, (a, b) bool."""
        import torch

        products = self.unit[rows] @ self.unit[columns].T
        near = products >= self.threshold
        at = torch.nonzero(products.sub_(self.threshold).abs_() < NEAR_THRESHOLD)
        if len(at):
            where = at.cpu().numpy()
            one, other = (_numbers(part, len(self.order))[where[:, k]] for k, part in enumerate((rows, columns)))
            exact = self.cosine(self.order[one], self.order[other]) >= self.threshold
            near[at[:, 0], at[:, 1]] = torch.from_numpy(exact).to(near.device)
        return near

    def cosine(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return cosines of pairs of points as they were given, in float64: the same whichever comes first."""
        found = np.empty(len(one))
        for part in _blocks(len(one)):
            a, b = (self.points[each[part]].astype(np.float64) for each in (one, other))
            found[part] = (a * b).sum(axis=1) / (self.lengths[one[part]] * self.lengths[other[part]])
        return found

    def connect(self, progress: Progress | None) -> None:
        """Find who is near whom; keep it as bits, if they are kept, and count whom each point reaches."""
        n = len(self.order)
        n_participants = 0 if self.who is None else int(self.who.max()) + 1
        reaches = np.zeros((n, n_participants), bool)
        blocks = list(_blocks(n))
        pairs = [(a, b) for k, a in enumerate(blocks) for b in blocks[k:]]
        for done, (a, b) in enumerate(pairs):
            near = self.near(a, b)
            if a == b:
                near.fill_diagonal_(True)
            if self.who is None:
                self._reached[a] += near.sum(1).cpu().numpy()
                if a != b:
                    self._reached[b] += near.sum(0).cpu().numpy()
            else:
                self._reach(reaches, near, a, b)
                if a != b:
                    self._reach(reaches, near.T, b, a)
            if self.bits is not None:
                self._keep(near, a, b)
                if a != b:
                    self._keep(near.T, b, a)
            if progress is not None:
                progress(done + 1, len(pairs))
        if self.who is None:
            self._reached -= 1
        else:
            reaches[np.arange(n), self.who] = False
            self._reached = reaches.sum(axis=1)

    def _reach(self, reaches: NDArray[np.bool_], near: Tensor, a: slice, b: slice) -> None:
        """Note which participants of the columns are near the rows."""
        assert self.who is not None
        for participant in range(int(self.who[b.start]), int(self.who[b.stop - 1]) + 1):
            first, last = np.searchsorted(self.who[b], [participant, participant + 1])
            reaches[a, participant] |= near[:, first:last].any(1).cpu().numpy()

    def _keep(self, near: Tensor, a: slice, b: slice) -> None:
        assert self.bits is not None
        self.bits[a, b.start // 8 : -(-b.stop // 8)] = np.packbits(near.contiguous().cpu().numpy(), axis=1)

    def components(self, core: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the connected component of each core point, numbered from 0, in the order of the points given."""
        inside = core[self.order]
        found = self._by_bits(inside) if self.bits is not None else self._by_products(inside)
        given = np.empty(len(inside), np.int64)
        given[self.order[inside]] = found
        return given[core]

    def _by_bits(self, core: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Walk from point to point; every core point's row of bits is read once."""
        assert self.bits is not None
        label = np.full(len(core), NOISE, np.int64)
        left = np.packbits(core)
        number = 0
        for start in np.flatnonzero(core):
            if label[start] != NOISE:
                continue
            frontier = np.array([start])
            while len(frontier):
                label[frontier] = number
                left[:] &= ~np.packbits(_mask(frontier, len(core)))
                reached = np.zeros_like(left)
                for part in _blocks(len(frontier), 256):
                    reached |= np.bitwise_or.reduce(self.bits[frontier[part]], axis=0)
                frontier = np.flatnonzero(np.unpackbits(reached & left, count=len(core)))
            number += 1
        return label[core]

    def _by_products(self, core: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Join components block by block, with products taken again."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        members = np.flatnonzero(core)
        label = np.arange(len(members))
        blocks = list(_blocks(len(members)))
        for k, a in enumerate(blocks):
            for b in blocks[k:]:
                near = self.near(members[a], members[b]).cpu().numpy()
                while True:
                    open_edges = near & (label[a][:, None] != label[b])
                    rows = np.flatnonzero(open_edges.any(axis=1))
                    if not len(rows):
                        break
                    ends = (label[a][rows], label[b][open_edges[rows].argmax(axis=1)])
                    edges = coo_array((np.ones(len(rows), bool), ends), shape=(len(members), len(members)))
                    label = connected_components(edges, directed=False)[1][label]
        return np.unique(label, return_inverse=True)[1]

    def join_borders(self, core: NDArray[np.bool_], labels: NDArray[np.int64]) -> None:
        """Give every point that is near a core point, and is none, the label of the nearest one."""
        inside = core[self.order]
        members, others = np.flatnonzero(inside), np.flatnonzero(~inside)
        if self.bits is not None and len(members):
            packed = np.packbits(inside)
            others = np.concatenate(
                [others[part][(self.bits[others[part]] & packed).any(axis=1)] for part in _blocks(len(others), 1024)]
                or [others]
            )
        if not len(members):
            return
        for part in _blocks(len(others)):
            nearest, cosine = self._nearest(others[part], members, labels)
            joined = cosine >= self.threshold
            labels[self.order[others[part][joined]]] = labels[self.order[nearest[joined]]]

    def _nearest(
        self, rows: NDArray[np.int64], members: NDArray[np.int64], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the nearest member of each row and its cosine; of equally near ones, that with the smallest vector."""
        import torch

        best = torch.full((len(rows),), -2.0, device=self.unit.device)
        for part in _blocks(len(members)):
            best = torch.maximum(best, (self.unit[rows] @ self.unit[members[part]].T).amax(1))
        found: list[NDArray[np.int64]] = []
        for part in _blocks(len(members)):
            products = self.unit[rows] @ self.unit[members[part]].T
            close = torch.nonzero(products >= best[:, None] - NEAR_THRESHOLD).cpu().numpy()
            found.append(np.column_stack([close[:, 0], members[part][close[:, 1]]]))
        pairs = np.concatenate(found)
        exact = self.cosine(self.order[rows[pairs[:, 0]]], self.order[pairs[:, 1]])
        first = self.points[self.order[pairs[:, 1]]][:, :4] / self.lengths[self.order[pairs[:, 1]], None]
        ranked = np.lexsort((*first.T[::-1], -exact, pairs[:, 0]))
        chosen = ranked[np.unique(pairs[ranked, 0], return_index=True)[1]]
        return pairs[chosen, 1], exact[chosen]


def _blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _numbers(part: NDArray[np.int64] | slice, n: int) -> NDArray[np.int64]:
    return np.arange(n)[part] if isinstance(part, slice) else part


def _mask(rows: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    mask = np.zeros(n, bool)
    mask[rows] = True
    return mask


def _by_size(
    labels: NDArray[np.int64], points: NDArray[np.floating], lengths: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Number clusters by size; those of one size by the smallest of their vectors."""
    members = np.flatnonzero(labels != NOISE)
    if not len(members):
        return labels
    sizes = np.bincount(labels[members])
    first = points[members][:, :4] / lengths[members, None]
    own = labels[members]
    ranked = np.lexsort((*first.T[::-1], own, -sizes[own]))
    # The first point of every cluster, in the order of sizes, is its smallest.
    starts = ranked[np.concatenate([[True], own[ranked][1:] != own[ranked][:-1]])]
    order = starts[np.lexsort((*first[starts].T[::-1], -sizes[own[starts]]))]
    number = np.empty(len(sizes), np.int64)
    number[own[order]] = np.arange(len(order))
    renamed = labels.copy()
    renamed[members] = number[own]
    return renamed


def concept_vectors(vectors: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Return each cluster's direction, (n_clusters, p): the mean of its members' unit vectors, normalised."""
    points, number = np.asarray(vectors, np.float64), np.asarray(labels)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    n = int(number.max(initial=NOISE)) + 1
    sums = np.zeros((n, points.shape[1]))
    np.add.at(sums, number[number != NOISE], unit[number != NOISE])
    found: NDArray[np.float64] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return found
