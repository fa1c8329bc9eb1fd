"""Shared concepts: clusters of vertices whose decoding weights point the same way in several participants' brains.

Points are unit vectors, a vertex's weights each, of all participants together (Efird et al. 2024, arXiv 2405.17663;
methods, section 8). Two points are near when their cosine distance is at most eps. DBSCAN (Ester et al. 1996) adapted:
a point is a core point when points of at least `min_participants` other participants are near it, however many these
are. Clusters are the connected components of core points; a point that is near a core point, and is none, belongs to
the cluster of the nearest one (the authors let the last one win, which depends on the order); all others are noise.

Exact, and the same for any order of the points: products are float32, or bfloat16 where the processor is made for it,
and those that are nearer to the threshold than rounding can carry them are taken again in float64. The N x N matrix is
made block by block, each pair once, and kept as one bit per pair, or not at all (`streamed`), in which case products
are taken twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.errors import DatasetError, SpecError

if TYPE_CHECKING:
    from torch import Tensor

#: Points on a side of a block; a multiple of 8. The products of a block, 16 MiB, mostly stay in the processor's cache.
BLOCK = 2048

#: Label groups of a block whose edges are looked at together.
GROUPS = 256

#: Cosines this close are equal: those of points exactly at eps, or equally near, differ by rounding alone.
ROUNDING = 1e-12

#: Where a larger share of a block's bytes is in doubt after products in bfloat16, it is taken in float32.
DOUBT = 1 / 16

NOISE = -1

Progress = Callable[[int, int], None]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
Bits = NDArray[np.uint8]


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
    points = _Points.checked(vectors, participants)
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
    points = _Points.checked(vectors, participants)
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


def _scan_row(points: _Points, eps: float, min_participants: int, labels: Indices) -> ScanRow:
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
    points = _Points.checked(vectors, participants)
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
    graph = _Graph(points, radius, device, keep=False)
    sorted_labels = given.astype(np.int64)[graph.order]
    starts = [*graph.starts, len(found)]
    for first, last in pairwise(starts):
        is_member = sorted_labels[first:last] != NOISE
        search = _Nearest(graph)
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


@dataclass(frozen=True, eq=False)
class _Points:
    """The vectors, (N, p), their lengths, and the participants' numbers; None where all have one point each."""

    vectors: NDArray[np.floating]
    lengths: NDArray[np.float64]
    who: Indices | None

    @classmethod
    def checked(cls, vectors: ArrayLike, participants: ArrayLike | None) -> _Points:
        points = np.asarray(vectors)
        if points.dtype not in (np.float32, np.float64):
            points = points.astype(np.float64)
        largest = _by_rows(points, lambda x: np.abs(x).max(axis=1)) if points.ndim == 2 and points.size else None
        if largest is None or not np.isfinite(largest).all():
            raise DatasetError(
                "The points are no finite vectors.", got=f"shape {points.shape}", expected="(N, p), numbers"
            )
        if (largest == 0).any():
            raise DatasetError(
                "Some vectors have no direction.", got=f"{int((largest == 0).sum())} of {len(points)} are 0 throughout"
            )
        if largest.max() > 1e100 or largest.min() < 1e-100:  # squares would overflow, or vanish
            points = np.ldexp(points, -np.frexp(largest)[1][:, None])
        lengths = _by_rows(points, lambda x: np.sqrt(np.einsum("np,np->n", x, x)))
        if participants is None:
            return cls(points, lengths, None)
        names = np.asarray(participants)
        if names.shape != (len(points),):
            raise DatasetError("Every point needs a participant.", got=f"{names.shape} for {len(points)} points")
        different, who = np.unique(names, return_inverse=True)
        return cls(points, lengths, None if len(different) == len(names) else who.astype(np.int64))

    def cosine(self, one: Indices, other: Indices) -> NDArray[np.float64]:
        """Return cosines of pairs of points in float64, the same whichever comes first."""
        found = np.empty(len(one))
        for part in _blocks(len(one), 512):
            a, b = (self.vectors[each[part]].astype(np.float64) for each in (one, other))
            found[part] = np.einsum("np,np->n", a, b) / (self.lengths[one[part]] * self.lengths[other[part]])
        return found

    def ranks(self, which: Indices) -> Indices:
        """Return the ranks of some points by their unit vectors, coordinate by coordinate; equal ones share a rank."""
        few = self._ranks(which, 4)  # the first coordinates tell nearly all apart
        same = np.flatnonzero(np.bincount(few)[few] > 1)
        rest = np.zeros(len(which), np.int64)
        rest[same] = self._ranks(which[same], self.vectors.shape[1])
        return _dense(np.stack([few, rest], axis=1))

    def _ranks(self, which: Indices, width: int) -> Indices:
        return _dense(self.vectors[which, :width] / self.lengths[which, None])


def _clusterings(
    points: _Points,
    eps: float,
    min_participants: Sequence[int],
    streamed: bool | None,
    device: str,
    progress: Progress | None,
) -> list[Clustering]:
    """Return a clustering for every number of participants; products are taken once for all of them."""
    if streamed is None:
        streamed = needs_streaming(len(points.vectors))
    graph = _Graph(points, eps, device, keep=not streamed)
    graph.connect(_part(progress, 0, 2) if streamed else progress)
    # Core points of more participants are core points of fewer: from the fewest core points to the most.
    levels = sorted(set(min_participants), reverse=True)
    forests = [_Forest(graph.reached >= level) for level in levels]
    others = graph.join(forests, _part(progress, 1, 2) if streamed else None)
    search, searched = _Nearest(graph), np.zeros(len(graph.order), bool)
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


class _Graph:
    """Which points are near each other.

    Inside, points are sorted by participant, so that a participant's are beside each other, from `starts` on.
    """

    def __init__(self, points: _Points, eps: float, device: str, *, keep: bool) -> None:
        self.points, self.threshold = points, 1.0 - eps - ROUNDING
        n, n_coordinates = points.vectors.shape
        self.order = np.arange(n) if points.who is None else np.argsort(points.who, kind="stable")
        self.who = None if points.who is None else points.who[self.order]
        self.starts = [] if self.who is None else np.flatnonzero(np.diff(self.who, prepend=-1)).tolist()
        self.reached = np.zeros(n, np.int64)
        #: The bits of every pair of blocks, none twice: (columns of the block) / 8 bytes for each of its rows.
        self.bits: dict[tuple[int, int], Bits] | None = {} if keep else None
        #: A product of unit vectors in float32 is off by less than this. Whatever the order of the sum, it is off by
        #: less than p roundings (Higham 2002, section 3.1), and a vector by two, that of its entries and of its length.
        self.tolerance = (1.01 * n_coordinates + 8) * 2.0**-24
        self._unit = np.empty((n, n_coordinates), np.float32)
        for rows in _blocks(n, 256):
            of = self.order[rows]
            self._unit[rows] = points.vectors[of] / points.lengths[of, None]
        self._on_device: Tensor | None = None
        self._products = np.empty(min(n, BLOCK) ** 2, np.float32)
        self._rough: _Rough | None = None
        if device != "cpu":
            import torch

            self._on_device = torch.from_numpy(self._unit).to(device)
        elif n > BLOCK and _has_bfloat16():
            rough = _Rough(self._unit, self.threshold, 2 * self.tolerance)
            self._rough = rough if rough.low > 0 else None

    def as_given(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of the points in the order in which these were given."""
        found = np.empty_like(values)
        found[self.order] = values
        return found

    def products(self, rows: Indices | slice, columns: Indices | slice) -> NDArray[np.float32]:
        """Return products of unit vectors, (a, b), which the next call overwrites."""
        if self._on_device is not None:
            found: NDArray[np.float32] = (self._on_device[rows] @ self._on_device[columns].T).cpu().numpy()
            return found
        left, right = self._unit[rows], self._unit[columns]
        out = self._products[: len(left) * len(right)].reshape(len(left), len(right))
        return np.matmul(left, right.T, out=out)

    def near(self, rows: Indices | slice, columns: Indices | slice) -> Bits:
        """Return which of some points are near which others, a bit each: (a, b / 8)."""
        bits, certain = self._bounds(rows, columns)
        unsure = np.flatnonzero(bits != certain)
        if len(unsure):
            row, byte = np.divmod(unsure, bits.shape[1])
            open_bits = np.unpackbits((bits ^ certain)[row, byte, None], axis=1)
            which, bit = np.nonzero(open_bits)
            one, other = self._given(rows, row[which]), self._given(columns, 8 * byte[which] + bit)
            open_bits[which, bit] = self.points.cosine(one, other) >= self.threshold
            bits[row, byte] = certain[row, byte] | np.packbits(open_bits, axis=1)[:, 0]
        return bits

    def _bounds(self, rows: Indices | slice, columns: Indices | slice) -> tuple[Bits, Bits]:
        """Return the bits of pairs that may be near, and of those that certainly are."""
        if self._rough is not None:
            bits, certain = self._rough.bounds(rows, columns)
            if np.count_nonzero(bits != certain) <= DOUBT * bits.size:
                return bits, certain
        products = self.products(rows, columns)
        low, high = np.float32(self.threshold - self.tolerance), np.float32(self.threshold + self.tolerance)
        return np.packbits(products >= low, axis=1), np.packbits(products >= high, axis=1)

    def _given(self, part: Indices | slice, places: Indices) -> Indices:
        """Return the numbers, among the points as given, of places in a part of the points inside."""
        return self.order[part.start + places if isinstance(part, slice) else part[places]]

    def connect(self, progress: Progress | None) -> None:
        """Find who is near whom; keep it as bits, if they are kept, and count whom each point reaches."""
        n = len(self.order)
        blocks = list(_blocks(n))
        pairs = [(k, j) for k in range(len(blocks)) for j in range(k, len(blocks))]
        reaches = None if self.who is None else np.zeros((n, len(self.starts)), bool)
        for done, (k, j) in enumerate(pairs):
            bits = self.near(blocks[k], blocks[j])
            if reaches is None:
                self._count(bits, blocks[k], blocks[j])
            else:
                self._reach(reaches, bits, blocks[k], blocks[j])
            if self.bits is not None:
                self.bits[k, j] = bits
            if progress is not None:
                progress(done + 1, len(pairs))
        if reaches is None:
            self.reached -= 1  # itself
        else:
            reaches[np.arange(n), self.who] = False
            self.reached = reaches.sum(axis=1)

    def _count(self, bits: Bits, rows: slice, columns: slice) -> None:
        """Add how many of the columns are near each row and, of two blocks, how many of the rows each column."""
        self.reached[rows] += np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
        if rows != columns:
            for part in _blocks(len(bits), 255):  # what a byte can count
                some = np.unpackbits(bits[part], axis=1, count=columns.stop - columns.start)
                self.reached[columns] += some.sum(axis=0, dtype=np.uint8)

    def _reach(self, reaches: Mask, bits: Bits, rows: slice, columns: slice) -> None:
        """Note which participants of the columns are near each row and, of two blocks, those of the rows."""
        for participant, first, last in self._within(columns):
            mask = np.packbits(_mask(slice(first, last), columns.stop - columns.start))
            span = slice(first // 8, -(-last // 8))
            reaches[rows, participant] |= (bits[:, span] & mask[span]).any(axis=1)
        if rows != columns:
            for participant, first, last in self._within(rows):
                any_row = np.bitwise_or.reduce(bits[first:last], axis=0)
                reaches[columns, participant] |= np.unpackbits(any_row, count=columns.stop - columns.start).view(bool)

    def _within(self, block: slice) -> Iterator[tuple[int, int, int]]:
        """Yield each participant of a block, and where in it the participant's points begin and end."""
        assert self.who is not None
        for participant in range(int(self.who[block.start]), int(self.who[block.stop - 1]) + 1):
            first, last = np.searchsorted(self.who[block], [participant, participant + 1])
            yield participant, int(first), int(last)

    def join(self, forests: Sequence[_Forest], progress: Progress | None) -> Mask:
        """Join the core points of all forests; return which points may be near one of the last, which has the most."""
        core = forests[-1].label != NOISE
        if self.bits is None:
            members = np.flatnonzero(core)
            blocks = list(_blocks(len(members)))
            pairs = [(a, b) for k, a in enumerate(blocks) for b in blocks[k:]]
            for done, (a, b) in enumerate(pairs):
                bits = self.near(members[a], members[b])
                for forest in forests:
                    forest.join(members[a], members[b], bits)
                if progress is not None:
                    progress(done + 1, len(pairs))
            if progress is not None and not pairs:
                progress(1, 1)
            return self._reaching(np.flatnonzero(~core), members)
        blocks = list(_blocks(len(core)))
        found = np.zeros(len(core), bool)
        for (k, j), bits in self.bits.items():
            rows, columns = blocks[k], blocks[j]
            for forest in forests:
                forest.join(rows, columns, bits)
            found[rows] |= (bits & np.packbits(core[columns])).any(axis=1)
            any_row = np.bitwise_or.reduce(bits[core[rows]], axis=0)
            found[columns] |= np.unpackbits(any_row, count=columns.stop - columns.start).view(bool)
        return found

    def _reaching(self, others: Indices, members: Indices) -> Mask:
        """Return which points may be near a member: all, where to ask would cost as much as to find the nearest."""
        found = np.full(len(self.order), self._rough is None)
        if self._rough is not None:
            found[members] = True
            for a in (others[part] for part in _blocks(len(others))):
                for b in (members[part] for part in _blocks(len(members))):
                    found[a] |= self._bounds(a, b)[0].any(axis=1)
        return found


class _Rough:
    """Products in bfloat16, twice as fast as in float32, and what they leave in doubt.

    With x' for x rounded, |x'y' - xy| <= |x' - x| |y| + |x'| |y' - y|; sums are float32, and rounded once in the end.
    """

    def __init__(self, unit: NDArray[np.float32], threshold: float, tolerance: float) -> None:
        import torch

        self._half = torch.empty(unit.shape, dtype=torch.bfloat16)
        apart = 0.0
        for rows in _blocks(len(unit), 256):
            exact = torch.from_numpy(unit[rows])
            self._half[rows] = exact.bfloat16()
            apart = max(apart, float((self._half[rows].float() - exact).norm(dim=1).max()))
        error = 2.001 * apart + apart**2 + tolerance
        #: The least that the product of a pair that is near can be, and the most that that of another can.
        self.low, self.high = (threshold - error) * (1 - 2.0**-8), (threshold + error) * (1 + 2.0**-8)

    def bounds(self, rows: Indices | slice, columns: Indices | slice) -> tuple[Bits, Bits]:
        """Return the bits of pairs that may be near, and of those that certainly are."""
        import torch

        products = (self._half[rows] @ self._half[columns].T).view(torch.int16).numpy()
        # Read as whole numbers, positive ones are in the order of their values, and negative ones below.
        low, high = (np.array([self.low, self.high], np.float32).view(np.uint32) >> 16).astype(np.int16)
        return np.packbits(products >= low, axis=1), np.packbits(products > high, axis=1)


def _has_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 faster than float32."""
    import torch

    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


class _Forest:
    """Connected components of core points, found by joining block by block.

    Attributes
    ----------
    label : (N,) int64 array
        The number of a core point of the same component; -1 for points that are not core points.
    """

    def __init__(self, core: Mask) -> None:
        self.label = np.where(core, np.arange(len(core)), NOISE)

    def join(self, rows: Indices | slice, columns: Indices | slice, bits: Bits) -> None:
        """Join the components of core points that are near each other."""
        own, other = self.label[rows], self.label[columns]
        inside = np.flatnonzero(own != NOISE)
        if not len(inside) or not (other != NOISE).any():
            return
        inside = inside[np.argsort(own[inside], kind="stable")]
        names, starts = np.unique(own[inside], return_index=True)
        # Which columns a component of the rows reaches.
        reached = np.bitwise_or.reduceat(bits[inside], starts, axis=0) & np.packbits(other != NOISE)
        some = reached.any(axis=1)
        names, reached = names[some], reached[some]
        for part in _blocks(len(names), GROUPS):
            near = np.unpackbits(reached[part], axis=1, count=len(other)).view(bool)
            which, column = np.nonzero(near & (names[part, None] != other))
            if len(which):
                renamed = self._unite(names[part][which], other[column])
                names, other = renamed[names], renamed[other]

    def _unite(self, one: Indices, other: Indices) -> Indices:
        """Make components one in which pairs of labels are; return every label's new one."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        labels, ends = np.unique(np.stack([one, other]), return_inverse=True)
        edges = coo_array((np.ones(len(one), bool), tuple(ends.reshape(2, -1))), shape=(len(labels), len(labels)))
        component = connected_components(edges, directed=False)[1]
        renamed = np.arange(len(self.label) + 1)
        renamed[NOISE] = NOISE  # the last one
        renamed[labels] = labels[np.unique(component, return_index=True)[1]][component]
        self.label = renamed[self.label]
        return renamed


class _Nearest:
    """A search for the nearest of some members, to which more may be added."""

    def __init__(self, graph: _Graph) -> None:
        self.graph = graph
        #: At least this near are those that may be the nearest.
        self.least = np.full(len(graph.order), graph.threshold - graph.tolerance, np.float32)
        self.row, self.member, self.product = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)

    def add(self, rows: Indices, members: Indices) -> None:
        """Search among more members; from now on only for some of the rows so far."""
        found = [(self.row, self.member, self.product)]
        for a in (rows[part] for part in _blocks(len(rows))):
            for b in (members[part] for part in _blocks(len(members))):
                products = self.graph.products(a, b)
                self.least[a] = np.maximum(self.least[a], products.max(axis=1) - 2 * self.graph.tolerance)
                at = np.flatnonzero(products >= self.least[a, None])
                row, column = np.divmod(at, len(b))
                found.append((a[row], b[column], products.ravel()[at]))
        self.row, self.member, self.product = (np.concatenate(each) for each in zip(*found, strict=True))
        left = (self.product >= self.least[self.row]) & _mask(rows, len(self.least))[self.row]
        self.row, self.member, self.product = self.row[left], self.member[left], self.product[left]

    def nearest(self, labels: Indices) -> tuple[Indices, Indices]:
        """Return the rows that are near a member, and the nearest: of equally near ones, that of the smallest vector.

        `labels` decide between members with the same vector.
        """
        points, order = self.graph.points, self.graph.order
        cosine = points.cosine(order[self.row], order[self.member])
        best = np.full(len(self.least), self.graph.threshold)
        np.maximum.at(best, self.row, cosine)
        left = np.flatnonzero((cosine >= self.graph.threshold) & (cosine >= best[self.row] - ROUNDING))
        row, member = self.row[left], self.member[left]
        candidates, at = np.unique(member, return_inverse=True)
        tied = np.bincount(row, minlength=len(best))[row] > 1
        ranks = np.zeros(len(candidates), np.int64)
        among = np.unique(at[tied])
        ranks[among] = points.ranks(order[candidates[among]])
        ranked = np.lexsort((labels[member], ranks[at], row))
        rows, first = np.unique(row[ranked], return_index=True)
        return rows, member[ranked[first]]


def _blocks(n: int, size: int | None = None) -> Iterator[slice]:
    step = BLOCK if size is None else size
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _mask(which: Indices | slice, n: int) -> Mask:
    mask = np.zeros(n, bool)
    mask[which] = True
    return mask


def _dense(rows: NDArray[Any]) -> Indices:
    """Return the ranks of rows by their first entry, those of equal ones by the second, and so on; equal rows share."""
    order = np.lexsort(rows.T[::-1])
    ranks = np.empty(len(rows), np.int64)
    ranks[order] = np.cumsum(np.concatenate([[False], (rows[order[1:]] != rows[order[:-1]]).any(axis=1)])[: len(rows)])
    return ranks


def _by_rows(vectors: NDArray[Any], function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Any:
    """Return a number per vector, found in float64."""
    return np.concatenate([function(vectors[part].astype(np.float64)) for part in _blocks(len(vectors), 1024)])


def _part(progress: Progress | None, number: int, n_parts: int) -> Progress | None:
    """Return what tells the progress of one of several parts as that of the whole."""
    if progress is None:
        return None
    return lambda done, of: progress(number * of + done, n_parts * of)


def _by_size(labels: Indices, points: _Points) -> Indices:
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

    points, number = _Points.checked(vectors, None), np.asarray(labels)
    n = int(number.max(initial=NOISE)) + 1
    sums = np.zeros((n, points.vectors.shape[1]))
    members = np.flatnonzero(number != NOISE)
    for some in (members[part] for part in _blocks(len(members))):
        unit = points.vectors[some] / points.lengths[some, None]
        sums += csr_array((np.ones(len(some)), (number[some], np.arange(len(some)))), shape=(n, len(some))) @ unit
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    found: NDArray[np.float64] = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
    return found
