"""A surface cut into pieces for print: what each is painted with, borders of sets of vertices, what hides what.

Numbers only; `brainviz.figures.print_panels` draws them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainviz.figures.meshes import Floats

Booleans = NDArray[np.bool_]
Faces = NDArray[np.int32]
Numbers = NDArray[np.float64]
#: Points of a line, (k, 3): right, up, towards the viewer.
Line = NDArray[np.float64]

#: By how much of their size pieces reach over one another: matplotlib leaves out dots of which none covers half.
OVERLAP = 0.04
#: Outlines run so far from the last vertex inside to the first outside, so that those of neighbours run side by side.
INSET = 0.25
#: Millimetres: cells in which it is found out what is in front, how far behind it a line may be, and the shortest part
#: of a line that is drawn.
CELL, BEHIND, SHORTEST = 1.5, 4.0, 3.0


@dataclass(frozen=True)
class Pieces:
    """Triangles, each of one colour.

    Attributes
    ----------
    corners : (p, 3, 3) array
        Right, up, towards the viewer.
    values : (p,) array
        NaN where nothing is painted.
    deep : (p,) bool array
        Whether it lies in a sulcus.
    shadow : (p,) array
    """

    corners: Numbers
    values: Numbers
    deep: Booleans
    shadow: Numbers


def cut(
    points: Numbers, faces: Faces, values: Numbers, sulcal_depth: Floats, shadow: Numbers, *, finest: int, step: float
) -> Pieces:
    """Cut triangles into pieces where their colour changes.

    Parameters
    ----------
    points : (n, 3) array
    faces : (m, 3) int array
    values : (at least n,) array
        NaN where nothing is painted.
    sulcal_depth, shadow : (n,) array
    finest : int
        How often a triangle is cut into four at most.
    step : float
        Triangles are cut until values within a piece differ by no more than this; 0 for names, which do not blend.
        Those that are painted in part are cut as often as is allowed.
    """
    corners: Numbers = values[faces]
    known, deep = np.isfinite(corners), np.asarray(sulcal_depth[faces] > 0)
    whole, bare = known.all(axis=1), ~known.any(axis=1)
    differ = np.ptp(np.where(known, corners, 0), axis=1)
    steps = np.where(differ > 0, np.inf, 1) if step == 0 else differ / step
    level = np.clip(np.ceil(np.log2(np.maximum(steps, 1))), 0, finest)
    level[~whole & ~bare] = finest
    level[bare & (deep.any(axis=1) & ~deep.all(axis=1) | shadow[faces].any(axis=1))] = finest

    parts = []
    for cuts in range(finest + 1):
        alike, pieces = faces[level == cuts], barycentric(cuts)
        weights = pieces.mean(axis=1)
        parts.append(
            (
                np.einsum("kcw,mwd->mkcd", pieces, points[alike]).reshape(-1, 3, 3),
                piece_values(values, alike, weights, categorical=step == 0).ravel(),
                (sulcal_depth[alike] @ weights.T).ravel() > 0,
                (shadow[alike] @ weights.T).ravel(),
            )
        )
    triangles, *rest = (np.concatenate(part) for part in zip(*parts, strict=True))
    middle = triangles.mean(axis=1, keepdims=True)
    return Pieces(middle + (1 + OVERLAP) * (triangles - middle), *rest)


def barycentric(cuts: int) -> Numbers:
    """Return the corners of the pieces that a triangle is cut into, (4 ** cuts, 3 corners, 3 weights)."""
    pieces = np.eye(3)[None]
    for _ in range(cuts):
        a, b, c = pieces[:, 0], pieces[:, 1], pieces[:, 2]
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        quarters = ([a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca])
        pieces = np.concatenate([np.stack(quarter, axis=1) for quarter in quarters])
    return pieces


def piece_values(values: Numbers, faces: Faces, weights: Numbers, *, categorical: bool) -> Numbers:
    """Return one value per piece, NaN where it is not painted.

    Parameters
    ----------
    values : (n,) array
        NaN where there is none.
    faces : (m, 3) int array
    weights : (k, 3) array
        How near each piece is to the corners of its triangle; sums to 1.
    categorical : bool
        Values are names and do not blend.

    Returns
    -------
    (m, k) array
        Interpolated between the corners that have values, where these weigh more than half; for names, that of the
        corner's name which weighs most.
    """
    corners = values[faces]
    known = np.isfinite(corners)
    share = known @ weights.T
    if categorical:
        alike = (corners[:, :, None] == corners[:, None, :]) | (~known[:, :, None] & ~known[:, None, :])
        heaviest = np.argmax(np.einsum("mcd,kd->mkc", alike, weights), axis=2)
        return np.take_along_axis(corners, heaviest, axis=1)
    filled = np.where(known, corners, 0.0) @ weights.T
    return np.where(share > 0.5, filled / np.where(share > 0, share, 1.0), np.nan)


def outlines(points: Numbers, faces: Faces, mask: Booleans) -> list[Line]:
    """Return the border of a set of vertices, just inside of where it crosses edges.

    Parameters
    ----------
    points : (n, 3) array
    faces : (m, 3) int array
    mask : (at least n,) bool array

    Returns
    -------
    list of (k, 3) arrays
        A closed line ends where it began; on a cut-open flat map a line may end at the cut.
    """
    member = mask[faces]
    mixed = member.any(axis=1) & ~member.all(axis=1)
    crossed, member = faces[mixed], member[mixed]
    rows = np.arange(len(crossed))
    # The vertex that is alone on its side: both edges that begin there cross the border.
    alone = np.argmax(member == (member.sum(axis=1) == 1)[:, None], axis=1)
    neighbours: dict[tuple[int, int], list[tuple[int, int]]] = {}
    both = [np.stack([crossed[rows, alone], crossed[rows, (alone + k) % 3]], axis=1) for k in (1, 2)]
    for edges in zip(*(map(tuple, np.sort(edges, axis=1).tolist()) for edges in both), strict=True):
        for one, other in (edges, edges[::-1]):
            neighbours.setdefault(one, []).append(other)
    lines = []
    for chain in _chains(neighbours):
        edges = np.array(chain)
        inside, outside = np.where(mask[edges[:, :1]], edges, edges[:, ::-1]).T
        lines.append(_smooth((1 - INSET) * points[inside] + INSET * points[outside]))
    return lines


def _chains(neighbours: dict[Any, list[Any]]) -> Iterator[list[Any]]:
    """Yield the open and then the closed lines of a graph in which every node has one or two neighbours."""
    starts = [node for node, found in neighbours.items() if len(found) == 1]
    for start in (*starts, *neighbours):
        line = [start]
        while onward := neighbours[line[-1]]:
            following = onward.pop()
            neighbours[following].remove(line[-1])
            line.append(following)
        if len(line) > 1:
            yield line


def _smooth(line: Line) -> Line:
    """Take the triangles' zigzag out of a line: points move halfway to the middle of their neighbours, ends stay."""
    if (line[0] == line[-1]).all():
        before, after = line[-2], line[1]
    else:
        before, after = 2 * line[0] - line[1], 2 * line[-1] - line[-2]
    padded = np.concatenate([[before], line, [after]])
    return np.asarray((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4)


@dataclass(frozen=True)
class Front:
    """How near to the viewer the surface is, on a grid.

    Attributes
    ----------
    origin : (2,) array
        Millimetres.
    nearest : (w, h) array
        Largest z in each cell; -inf where there is nothing.
    """

    origin: Numbers
    nearest: Numbers

    @classmethod
    def of(cls, points: Numbers) -> Front:
        """Find the nearest of many points of a surface, (p, 3), in each cell."""
        origin = points[:, :2].min(axis=0)
        cells = ((points[:, :2] - origin) / CELL).astype(int)
        nearest = np.full(cells.max(axis=0) + 1, -np.inf)
        np.maximum.at(nearest, tuple(cells.T), points[:, 2])
        return cls(origin, nearest)

    def seen(self, line: Line) -> list[Line]:
        """Return the parts of a line, (k, 3), that nothing hides."""
        cells = np.clip(((line[:, :2] - self.origin) / CELL).astype(int), 0, np.array(self.nearest.shape) - 1)
        seen = line[:, 2] >= self.nearest[tuple(cells.T)] - BEHIND
        parts = np.split(line, np.flatnonzero(np.diff(seen)) + 1)[0 if seen[0] else 1 :: 2]
        return [part for part in parts if np.linalg.norm(np.diff(part[:, :2], axis=0), axis=1).sum() >= SHORTEST]
