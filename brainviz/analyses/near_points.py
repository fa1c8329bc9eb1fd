"""Which points are near each other: exact in the threshold, block by block, with one bit per pair or none.

Products are float32, or bfloat16 where the processor is made for it, and those that are nearer to the threshold than
rounding can carry them are taken again in float64. The N x N matrix is made block by block, each pair once, and kept as
one bit per pair, or not at all, in which case products are taken twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.errors import DatasetError

if TYPE_CHECKING:
    from torch import Tensor

    from brainviz.analyses.components import Forest

#: Points on a side of a block; a multiple of 8. The products of a block, 16 MiB, mostly stay in the processor's cache.
BLOCK = 2048

#: Cosines this close are equal: those of points exactly at eps, or equally near, differ by rounding alone.
ROUNDING = 1e-12

#: Where a larger share of a block's bytes is in doubt after products in bfloat16, it is taken in float32.
DOUBT = 1 / 16

#: The label of points in no cluster.
NOISE = -1

Progress = Callable[[int, int], None]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
Bits = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Points:
    """The vectors, (N, p), their lengths, and the participants' numbers; None where all have one point each."""

    vectors: NDArray[np.floating]
    lengths: NDArray[np.float64]
    who: Indices | None

    @classmethod
    def checked(cls, vectors: ArrayLike, participants: ArrayLike | None) -> Points:
        """Return points of vectors of any scale; raise `DatasetError` for what has no direction."""
        points = np.asarray(vectors)
        if points.dtype not in (np.float32, np.float64):
            points = points.astype(np.float64)
        largest = by_rows(points, lambda x: np.abs(x).max(axis=1)) if points.ndim == 2 and points.size else None
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
        lengths = by_rows(points, lambda x: np.sqrt(np.einsum("np,np->n", x, x)))
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
        for part in in_blocks(len(one), 512):
            a, b = (self.vectors[each[part]].astype(np.float64) for each in (one, other))
            found[part] = np.einsum("np,np->n", a, b) / (self.lengths[one[part]] * self.lengths[other[part]])
        return found

    def ranks(self, which: Indices) -> Indices:
        """Return the ranks of some points by their unit vectors, coordinate by coordinate; equal ones share a rank."""
        few = self._ranks(which, 4)  # the first coordinates tell nearly all apart
        same = np.flatnonzero(np.bincount(few)[few] > 1)
        rest = np.zeros(len(which), np.int64)
        rest[same] = self._ranks(which[same], self.vectors.shape[1])
        return dense_ranks(np.stack([few, rest], axis=1))

    def _ranks(self, which: Indices, width: int) -> Indices:
        return dense_ranks(self.vectors[which, :width] / self.lengths[which, None])


class Graph:
    """Which points are near each other.

    Inside, points are sorted by participant, so that a participant's are beside each other, from `starts` on.
    """

    def __init__(self, points: Points, eps: float, device: str, *, keep: bool) -> None:
        self.points, self.threshold = points, 1.0 - eps - ROUNDING
        n, n_coordinates = points.vectors.shape
        self.order = np.arange(n) if points.who is None else np.argsort(points.who, kind="stable")
        self.who = None if points.who is None else points.who[self.order]
        self.starts = [] if self.who is None else np.flatnonzero(np.diff(self.who, prepend=-1)).tolist()
        self.reached = np.zeros(n, np.int64)
        #: The bits of every pair of in_blocks, none twice: (columns of the block) / 8 bytes for each of its rows.
        self.bits: dict[tuple[int, int], Bits] | None = {} if keep else None
        #: A product of unit vectors in float32 is off by less than this. Whatever the order of the sum, it is off by
        #: less than p roundings (Higham 2002, section 3.1), and a vector by two, that of its entries and of its length.
        self.tolerance = (1.01 * n_coordinates + 8) * 2.0**-24
        self._unit = np.empty((n, n_coordinates), np.float32)
        for rows in in_blocks(n, 256):
            of = self.order[rows]
            self._unit[rows] = points.vectors[of] / points.lengths[of, None]
        self._on_device: Tensor | None = None
        self._products = np.empty(min(n, BLOCK) ** 2, np.float32)
        self._rough: Rough | None = None
        if device != "cpu":
            import torch

            self._on_device = torch.from_numpy(self._unit).to(device)
        elif n > BLOCK and has_bfloat16():
            rough = Rough(self._unit, self.threshold, 2 * self.tolerance)
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
        blocks = list(in_blocks(n))
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
        """Add how many of the columns are near each row and, of two in_blocks, how many of the rows each column."""
        self.reached[rows] += np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
        if rows != columns:
            for part in in_blocks(len(bits), 255):  # what a byte can count
                some = np.unpackbits(bits[part], axis=1, count=columns.stop - columns.start)
                self.reached[columns] += some.sum(axis=0, dtype=np.uint8)

    def _reach(self, reaches: Mask, bits: Bits, rows: slice, columns: slice) -> None:
        """Note which participants of the columns are near each row and, of two in_blocks, those of the rows."""
        for participant, first, last in self._within(columns):
            mask = np.packbits(mask_of(slice(first, last), columns.stop - columns.start))
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

    def join(self, forests: Sequence[Forest], progress: Progress | None) -> Mask:
        """Join the core points of all forests; return which points may be near one of the last, which has the most."""
        core = forests[-1].label != NOISE
        if self.bits is None:
            members = np.flatnonzero(core)
            blocks = list(in_blocks(len(members)))
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
        blocks = list(in_blocks(len(core)))
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
            for a in (others[part] for part in in_blocks(len(others))):
                for b in (members[part] for part in in_blocks(len(members))):
                    found[a] |= self._bounds(a, b)[0].any(axis=1)
        return found


class Rough:
    """Products in bfloat16, twice as fast as in float32, and what they leave in doubt.

    With x' for x rounded, |x'y' - xy| <= |x' - x| |y| + |x'| |y' - y|; sums are float32, and rounded once in the end.
    """

    def __init__(self, unit: NDArray[np.float32], threshold: float, tolerance: float) -> None:
        import torch

        self._half = torch.empty(unit.shape, dtype=torch.bfloat16)
        apart = 0.0
        for rows in in_blocks(len(unit), 256):
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


def has_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 faster than float32."""
    import torch

    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def in_blocks(n: int, size: int | None = None) -> Iterator[slice]:
    """Yield slices of n points, `BLOCK` at a time unless said."""
    step = BLOCK if size is None else size
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def mask_of(which: Indices | slice, n: int) -> Mask:
    """Return which of n points are among these."""
    mask = np.zeros(n, bool)
    mask[which] = True
    return mask


def dense_ranks(rows: NDArray[Any]) -> Indices:
    """Return the ranks of rows by their first entry, those of equal ones by the second, and so on; equal rows share."""
    order = np.lexsort(rows.T[::-1])
    ranks = np.empty(len(rows), np.int64)
    ranks[order] = np.cumsum(np.concatenate([[False], (rows[order[1:]] != rows[order[:-1]]).any(axis=1)])[: len(rows)])
    return ranks


def by_rows(vectors: NDArray[Any], function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Any:
    """Return a number per vector, found in float64."""
    return np.concatenate([function(vectors[part].astype(np.float64)) for part in in_blocks(len(vectors), 1024)])
