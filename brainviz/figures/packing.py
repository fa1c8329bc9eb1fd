"""Meshes, maps and areas as the bytes that the brain viewer reads: small, and exact to what can be seen.

Positions and values are 16-bit steps between their smallest and largest; areas are bits. The viewer's `mesh.js` unpacks
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainviz.figures.meshes import Mesh

#: Stands for no value.
NO_VALUE = 2**16 - 1

#: Areas that fit into one number per vertex.
WORD_BITS = 32


@dataclass(frozen=True)
class Packed:
    """Numbers as steps between two ends.

    Attributes
    ----------
    steps : bytes
        Unsigned 16-bit, little-endian.
    low, high : tuple of float
        What the first and the last step stand for, per axis.
    """

    steps: bytes
    low: tuple[float, ...]
    high: tuple[float, ...]


def pack_positions(mesh: Mesh) -> Packed:
    """Pack the vertices' coordinates; a step is a 65,535th of the surface's extent, some micrometres.

    Returns
    -------
    Packed
        Steps (n, 3), ends of x, y and z in millimetres.
    """
    low, high = mesh.coordinates.min(axis=0).astype(np.float64), mesh.coordinates.max(axis=0).astype(np.float64)
    extent = np.where(high > low, high - low, 1.0)
    steps = np.round((mesh.coordinates - low) / extent * (2**16 - 1)).astype("<u2")
    return Packed(steps.tobytes(), tuple(low.tolist()), tuple((low + extent).tolist()))


def pack_faces(mesh: Mesh, *, wide: bool) -> bytes:
    """Pack the triangles' vertex numbers, (m, 3), of 32 bits each if `wide`, else of 16 (see `is_narrow`)."""
    return mesh.faces.astype("<u4" if wide else "<u2").tobytes()


def is_narrow(mesh: Mesh) -> bool:
    """Whether 16 bits are enough for the number of a vertex."""
    return len(mesh.coordinates) <= 2**16


def pack_sulci(mesh: Mesh) -> bytes:
    """Pack on which side of 0 the sulcal depth is, (n,): 0 for a gyrus, 255 for a sulcus."""
    return np.where(mesh.sulcal_depth > 0, 255, 0).astype(np.uint8).tobytes()


def pack_values(values: NDArray[np.floating], low: float, high: float) -> bytes:
    """Pack one value per vertex, as one of 65,535 steps from `low` to `high`; NaN as `NO_VALUE`.

    Parameters
    ----------
    values : (n,) array
        Between `low` and `high`, or NaN.
    low, high : float
        Of all maps that share these steps.
    """
    extent = high - low if high > low else 1.0
    known = np.isfinite(values)
    steps = np.full(len(values), NO_VALUE, "<u2")
    shares = np.clip((values[known].astype(np.float64) - low) / extent, 0, 1)  # beyond the ends by rounding at most
    steps[known] = np.round(shares * (NO_VALUE - 1)).astype("<u2")
    return steps.tobytes()


def pack_areas(masks: Mapping[str, NDArray[np.bool_]], names: tuple[str, ...], n: int) -> bytes:
    """Pack which areas hold each vertex: bit k of a vertex is set where ``names[k]`` does.

    Parameters
    ----------
    masks : mapping of (n,) bool arrays
        A name that is missing here is an area that this hemisphere lacks.
    names : tuple of str
    n : int
        Vertices.

    Returns
    -------
    bytes
        (n, words) unsigned 32-bit numbers, with as many words as the names need.
    """
    bits = np.zeros((n, area_words(names)), "<u4")
    for number, name in enumerate(names):
        if name in masks:
            word, bit = divmod(number, WORD_BITS)
            bits[masks[name], word] |= np.uint32(1 << bit)
    return bits.tobytes()


def area_words(names: tuple[str, ...]) -> int:
    """Return how many numbers per vertex hold so many areas."""
    return max(1, -(-len(names) // WORD_BITS))
