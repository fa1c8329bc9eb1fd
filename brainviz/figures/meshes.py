"""The cortex as triangles: which fsaverage meshes are at hand, their files, and one value per vertex on them.

fsaverage5 comes with nilearn. The finer meshes are read where they already are and never downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERES, MESH_VERTICES
from brainviz.errors import DatasetError

SURFACES = ("inflated", "pial", "white", "sphere", "flat")
#: From coarse to fine. Each begins with the vertices of the one before it.
RESOLUTIONS = ("fsaverage5", "fsaverage6", "fsaverage")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Mesh:
    """One hemisphere's surface. Its arrays cannot be written to: all who draw share them.

    Attributes
    ----------
    coordinates : (n, 3) float32 array
        Millimetres; x to the right, y to the front, z up. On a flat map z is 0 and x and y are places on paper.
    faces : (m, 3) int32 array
        Vertex numbers of every triangle. A flat map has fewer of them: it is cut open and lacks the medial wall.
    sulcal_depth : (n,) float32 array
        Above 0 in a sulcus, below 0 on a gyrus.
    """

    coordinates: Floats
    faces: NDArray[np.int32]
    sulcal_depth: Floats


def resolution(data_mesh: str, folder: Path | None = None, *, surface: str | None = None) -> str:
    """Return the finest mesh at hand that is not finer than the data's own.

    Parameters
    ----------
    data_mesh : {"fsaverage5", "fsaverage6", "fsaverage"}
        The mesh that the data are on.
    folder : Path, optional
        As for `load_mesh`.
    surface : str, optional
        One of `SURFACES`: only meshes that have it count. Without it, one surface of any kind is enough.

    Returns
    -------
    str
        ``"fsaverage5"`` at least.
    """
    finest_first = RESOLUTIONS[RESOLUTIONS.index(data_mesh) :: -1]
    return next(
        name for name in finest_first if (found := surfaces(name, folder)) and (surface is None or surface in found)
    )


def surfaces(name: str, folder: Path | None = None) -> tuple[str, ...]:
    """Return those of `SURFACES` that are at hand for a mesh, for both hemispheres.

    Parameters
    ----------
    name : {"fsaverage5", "fsaverage6", "fsaverage"}
    folder : Path, optional
        As for `load_mesh`.
    """
    return tuple(
        surface for surface in SURFACES if all(_found(name, hemi, surface, folder) is not None for hemi in HEMISPHERES)
    )


@lru_cache(maxsize=2 * len(SURFACES))
def load_mesh(name: str, surface: str, folder: Path | None = None) -> dict[str, Mesh]:
    """Return both hemispheres of a surface.

    Where a finer mesh has no file of sulcal depths, those of fsaverage5, its first 10,242 vertices, are spread over it:
    round by round, each vertex takes the mean of its neighbours that have a value.

    Parameters
    ----------
    name : {"fsaverage5", "fsaverage6", "fsaverage"}
    surface : {"inflated", "pial", "white", "sphere", "flat"}
    folder : Path, optional
        Where the finer meshes are, under nilearn's names (``fsaverage6/infl_left.gii.gz``), FreeSurfer's
        (``fsaverage6/surf/lh.inflated``) or as ``fsaverage6.lh.inflated.gii``. Without it, nilearn's own folders are
        looked through. fsaverage5 is always nilearn's.

    Returns
    -------
    dict of Mesh
        Keys ``"lh"`` and ``"rh"``; 10,242, 40,962 or 163,842 vertices each. Coordinates are as in the file: inflated
        hemispheres may overlap in x.

    Raises
    ------
    DatasetError
        A file is not there, cannot be read or is of another mesh.
    """
    return {hemi: _load_hemisphere(name, hemi, surface, folder) for hemi in HEMISPHERES}


def onto(values: NDArray[np.floating], positions: NDArray[np.integer], n: int) -> Floats:
    """Put values on the first `n` vertices of the mesh that they are on.

    fsaverage's vertices are a subdivided icosahedron, so its first 10,242 are fsaverage5's and its first 40,962 are
    fsaverage6's, in the same order (methods, section 11); values at later positions are left out.

    Parameters
    ----------
    values : (v,) array
    positions : (v,) int array
        Vertex of every value.
    n : int
        Vertices per hemisphere of the mesh that is shown.

    Returns
    -------
    (n,) float32 array
        NaN where there is no value.
    """
    full = np.full(n, np.nan, np.float32)
    inside = positions < n
    full[positions[inside]] = values[inside]
    return full


def _names(name: str, hemi: str, what: str) -> Iterator[str]:
    """Yield where, in a folder, a file may be: nilearn's names, one file per surface in one place, FreeSurfer's."""
    side = {"lh": "left", "rh": "right"}[hemi]
    for ending in ("gii.gz", "gii"):
        yield f"{name}/{'infl' if what == 'inflated' else what}_{side}.{ending}"
    for ending in ("gii.gz", "gii"):
        yield f"{name}.{hemi}.{what}.{ending}"
    if what != "flat":  # FreeSurfer's own flat map is a patch, which is another kind of file
        yield f"{name}/surf/{hemi}.{what}"


def _folders(name: str, folder: Path | None) -> tuple[Path, ...]:
    """Return the folders in which a mesh is looked for."""
    from nilearn.datasets.utils import get_data_dirs

    if name == "fsaverage5":
        return (_nilearns_own(),)
    return (folder,) if folder else tuple(Path(found) for found in get_data_dirs())


@lru_cache(maxsize=1)
def _nilearns_own() -> Path:
    """Return the folder that holds fsaverage5's."""
    from nilearn.datasets import fetch_surf_fsaverage

    return Path(fetch_surf_fsaverage("fsaverage5")["infl_left"]).parents[1]


def _found(name: str, hemi: str, what: str, folder: Path | None) -> Path | None:
    """Return the file of a surface or of the sulcal depths (``"sulc"``), or None."""
    paths = (place / file for place in _folders(name, folder) for file in _names(name, hemi, what))
    return next((path for path in paths if path.is_file()), None)


def _load_hemisphere(name: str, hemi: str, surface: str, folder: Path | None) -> Mesh:
    path = _found(name, hemi, surface, folder)
    if path is None:
        raise DatasetError(
            f"The {surface} surface of {name} is not at hand ({hemi}).",
            got=f"nothing in {' or '.join(map(str, _folders(name, folder)))}",
            expected=", ".join(_names(name, hemi, surface)),
            mend="put the file there, name the folder of the meshes in brainviz.toml, or choose another surface.",
        )
    coordinates, faces = _read_surface(path)
    _refuse_other_size(path, name, len(coordinates))
    if surface == "flat":
        coordinates[:, 2] = 0
    arrays = coordinates, faces, _sulcal_depth(name, hemi, faces, folder)
    for array in arrays:
        array.setflags(write=False)
    return Mesh(*arrays)


def _refuse_other_size(path: Path, name: str, count: int) -> None:
    if count != MESH_VERTICES[name]:
        fitting = [other for other, vertices in MESH_VERTICES.items() if vertices == count]
        raise DatasetError(
            f"{path} does not fit {name}.",
            got=f"{count:,} vertices" + (f", as many as {fitting[0]} has" if fitting else ""),
            expected=f"{MESH_VERTICES[name]:,}",
        )


def _read_surface(path: Path) -> tuple[Floats, NDArray[np.int32]]:
    """Return coordinates (n, 3) and faces (m, 3), as copies."""
    from nilearn.surface import load_surf_mesh

    mesh = _read(load_surf_mesh, path)
    return np.array(mesh.coordinates, np.float32), np.array(mesh.faces, np.int32)


def _read(reader: Any, path: Path) -> Any:
    try:
        return reader(escape(str(path)))  # nilearn takes a path for a pattern
    except Exception as error:  # a damaged file fails in the reader's XML, zip, base64 or array code
        raise DatasetError(
            f"{path} cannot be read.", got=str(error) or type(error).__name__, mend="get the file again."
        ) from error


def _sulcal_depth(name: str, hemi: str, faces: NDArray[np.int32], folder: Path | None) -> Floats:
    """Return the depth at every vertex, (n,): from a file, else spread from fsaverage5's vertices."""
    from nilearn.surface import load_surf_data

    path = _found(name, hemi, "sulc", folder)
    if path is not None:
        depth = np.array(_read(load_surf_data, path), np.float32)
        _refuse_other_size(path, name, len(depth))
        return depth
    coarse = load_mesh("fsaverage5", "inflated")[hemi].sulcal_depth
    return spread(onto(coarse, np.arange(len(coarse)), MESH_VERTICES[name]), faces)


def spread(values: Floats, faces: NDArray[np.int32]) -> Floats:
    """Fill in missing values, round by round, with the mean of those neighbours that have one.

    Parameters
    ----------
    values : (n,) float32 array
        NaN where missing.
    faces : (m, 3) int32 array

    Returns
    -------
    (n,) float32 array
        0 where no way along the faces leads to a value.
    """
    both_ways = faces[:, [0, 1, 1, 2, 2, 0, 1, 0, 2, 1, 0, 2]].reshape(-1, 2)
    filled = np.array(values, np.float64)
    while True:
        known = np.isfinite(filled)
        # Both ways along every edge, from a vertex that has a value to one that has none; an edge is in two faces.
        pairs = np.unique(both_ways[known[both_ways[:, 0]] & ~known[both_ways[:, 1]]], axis=0)
        if not len(pairs):
            return np.nan_to_num(filled).astype(np.float32)
        sums = np.bincount(pairs[:, 1], filled[pairs[:, 0]], len(filled))
        counts = np.bincount(pairs[:, 1], minlength=len(filled))
        filled[counts > 0] = sums[counts > 0] / counts[counts > 0]


def normals(mesh: Mesh) -> Floats:
    """Return the outward unit normal at every vertex, (n, 3), weighted by the area of the faces around it."""
    a, b, c = (mesh.coordinates[mesh.faces[:, corner]] for corner in range(3))
    face_normals = np.cross(b - a, c - a)
    total = np.zeros_like(mesh.coordinates)
    for corner in range(3):
        np.add.at(total, mesh.faces[:, corner], face_normals)
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    return np.asarray(total / np.maximum(lengths, 1e-12), np.float32)
