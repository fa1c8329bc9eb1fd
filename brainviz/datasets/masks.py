"""Masks: which column belongs to which ROI, and where on the mesh it sits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import ALL_VERTICES, MESH_VERTICES
from brainviz.datasets.npy import describe, open_npy
from brainviz.errors import DatasetError

#: How to mend files that do not fit each other.
SAME_RELEASE = "take both files from the same release of the data."

#: The mask that says where the columns sit on the mesh.
POSITIONS = "all-vertices"


def roi_masks(labels: NDArray[np.int64], names: Mapping[int, str]) -> dict[str, NDArray[np.bool_]]:
    """Return the non-empty named ROIs of one set: name -> mask over the columns; 0 is no ROI."""
    masks = {name: labels == value for value, name in sorted(names.items()) if value != 0 and name != ALL_VERTICES}
    return {name: mask for name, mask in masks.items() if mask.any()}


def read_integers(path: Path) -> NDArray[np.int64]:
    """Read a mask: one whole number per vertex, shape (v,).

    Raises
    ------
    DatasetError
        The file is damaged, or holds anything else.
    """
    file = open_npy(path)
    if len(file.shape) != 1 or file.dtype.kind not in "biu":
        raise DatasetError(
            f"{path.name} is not a mask.",
            got=f"an array {describe(file.shape, file.dtype)}",
            expected="int64, one value per vertex",
            mend="save it as one row of whole numbers.",
        )
    return np.array(file.map(), np.int64) if file.shape[0] else np.empty(0, np.int64)


def read_labels(path: Path, n_vertices: int) -> NDArray[np.int64]:
    """Read a challenge-space mask, one value per column, shape (v,).

    Raises
    ------
    DatasetError
        The file is damaged, or has another length.
    """
    labels = read_integers(path)
    if len(labels) != n_vertices:
        raise DatasetError(
            f"{path.name} does not match the responses.",
            got=f"{len(labels):,} values",
            expected=f"{n_vertices:,}, one per column",
            mend=SAME_RELEASE,
        )
    return labels


def read_labels_on_mesh(path: Path, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Read a fsaverage-space mask at the columns' positions, shape (v,).

    Raises
    ------
    DatasetError
        The file is damaged, or shorter than the mesh.
    """
    on_mesh = read_integers(path)
    if positions.max() >= len(on_mesh):
        raise DatasetError(
            f"{path.name} is shorter than the mesh.",
            got=f"{len(on_mesh):,} values",
            expected=f"as many as the {POSITIONS} mask has",
            mend=SAME_RELEASE,
        )
    return on_mesh[positions]


def read_positions(path: Path, n_vertices: int, mesh: str) -> NDArray[np.int64]:
    """Read where the columns sit on the mesh, shape (v,), ascending.

    Parameters
    ----------
    path : Path
        The all-vertices mask: 1 where the mesh's vertex has a column, else 0.
    n_vertices : int
        How many columns there are.
    mesh : str
        Its number of vertices is compared if it is a key of `MESH_VERTICES`.

    Raises
    ------
    DatasetError
        The file is damaged, or does not fit the responses or the mesh.
    """
    mask = read_integers(path)
    if mesh in MESH_VERTICES and len(mask) != MESH_VERTICES[mesh]:
        fitting = [name for name, count in MESH_VERTICES.items() if count == len(mask)]
        raise DatasetError(
            f"{path.name} does not fit the mesh {mesh}.",
            got=f"{len(mask):,} values",
            expected=f"{MESH_VERTICES[mesh]:,}, one per vertex of {mesh}",
            mend=f'write mesh = "{fitting[0]}" into dataset.toml.'
            if fitting
            else "name the right mesh in dataset.toml.",
        )
    positions = np.flatnonzero(mask)
    if len(positions) != n_vertices:
        raise DatasetError(
            f"{path.name} does not match the responses.",
            got=f"{len(positions):,} vertices marked",
            expected=f"{n_vertices:,}, one per column",
            mend=SAME_RELEASE,
        )
    return positions
