"""Components of core points that are found block by block, and the nearest member of a component."""

from __future__ import annotations

import numpy as np

from brainviz.analyses.near_points import NOISE, ROUNDING, Bits, Graph, Indices, Mask, in_blocks, mask_of

#: Label groups of a block whose edges are looked at together.
GROUPS = 256


class Forest:
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
        for part in in_blocks(len(names), GROUPS):
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


class Nearest:
    """A search for the nearest of some members, to which more may be added."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        #: At least this near are those that may be the nearest.
        self.least = np.full(len(graph.order), graph.threshold - graph.tolerance, np.float32)
        self.row, self.member, self.product = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)

    def add(self, rows: Indices, members: Indices) -> None:
        """Search among more members; from now on only for some of the rows so far."""
        found = [(self.row, self.member, self.product)]
        for a in (rows[part] for part in in_blocks(len(rows))):
            for b in (members[part] for part in in_blocks(len(members))):
                products = self.graph.products(a, b)
                self.least[a] = np.maximum(self.least[a], products.max(axis=1) - 2 * self.graph.tolerance)
                at = np.flatnonzero(products >= self.least[a, None])
                row, column = np.divmod(at, len(b))
                found.append((a[row], b[column], products.ravel()[at]))
        self.row, self.member, self.product = (np.concatenate(each) for each in zip(*found, strict=True))
        left = (self.product >= self.least[self.row]) & mask_of(rows, len(self.least))[self.row]
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
