"""The cortex as triangles: fsaverage5 from nilearn, and the geometry that paints one value per vertex on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import MESH_VERTICES

#: Name in the page -> nilearn's name of the surface.
SURFACES = {"inflated": "infl", "pial": "pial", "white": "white"}
N_VERTICES = MESH_VERTICES["fsaverage5"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Mesh:
    """One hemisphere's surface.

    Attributes
    ----------
    coordinates : (n, 3) float32 array
        Millimetres; x to the right, y to the front, z up.
    faces : (m, 3) int32 array
        Vertex numbers of every triangle.
    sulcal_depth : (n,) float32 array
        Above 0 in a sulcus, below 0 on a gyrus.
    """

    coordinates: Floats
    faces: NDArray[np.int32]
    sulcal_depth: Floats


@lru_cache(maxsize=len(SURFACES))
def fsaverage5(surface: str) -> dict[str, Mesh]:
    """Return both hemispheres of fsaverage5, which nilearn carries (no download).

    Parameters
    ----------
    surface : {"inflated", "pial", "white"}

    Returns
    -------
    dict of Mesh
        Keys ``"lh"`` and ``"rh"``, 10,242 vertices each.
    """
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_data, load_surf_mesh

    files = fetch_surf_fsaverage("fsaverage5")
    meshes = {}
    for hemi, side in (("lh", "left"), ("rh", "right")):
        mesh = load_surf_mesh(files[f"{SURFACES[surface]}_{side}"])
        depth = load_surf_data(files[f"sulc_{side}"])
        meshes[hemi] = Mesh(
            np.asarray(mesh.coordinates, np.float32), np.asarray(mesh.faces, np.int32), np.asarray(depth, np.float32)
        )
    return meshes


def shown_on_fsaverage5(mesh: str) -> bool:
    """Return whether data on `mesh` can be drawn: fsaverage and fsaverage6 begin with fsaverage5's vertices."""
    return mesh in MESH_VERTICES


def to_fsaverage5(values: NDArray[np.floating], positions: NDArray[np.integer]) -> Floats:
    """Put values on fsaverage5's vertices.

    fsaverage's vertices are a subdivided icosahedron, so its first 10,242 are fsaverage5's, in the same order
    (methods, section 11); values at later positions are not drawn.

    Parameters
    ----------
    values : (v,) array
    positions : (v,) int array
        Index on fsaverage, fsaverage6 or fsaverage5 of every value.

    Returns
    -------
    (10242,) float32 array
        NaN where there is no value.
    """
    full = np.full(N_VERTICES, np.nan, np.float32)
    inside = positions < N_VERTICES
    full[positions[inside]] = values[inside]
    return full


def normals(mesh: Mesh) -> Floats:
    """Return the outward unit normal at every vertex, (n, 3), weighted by the area of the faces around it."""
    a, b, c = (mesh.coordinates[mesh.faces[:, corner]] for corner in range(3))
    face_normals = np.cross(b - a, c - a)
    total = np.zeros_like(mesh.coordinates)
    for corner in range(3):
        np.add.at(total, mesh.faces[:, corner], face_normals)
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    return np.asarray(total / np.maximum(lengths, 1e-12), np.float32)


@dataclass(frozen=True)
class Patch:
    """The painted part of a surface.

    Attributes
    ----------
    coordinates : (n, 3) float32 array
    faces : (m, 3) int32 array
    values : (n,) float32 array
    vertices : (n,) int32 array
        The mesh vertex whose value each point shows.
    """

    coordinates: Floats
    faces: NDArray[np.int32]
    values: Floats
    vertices: NDArray[np.int32]


def patch(mesh: Mesh, values: NDArray[np.floating], *, smooth: bool = True, lift: float = 0.3) -> Patch:
    """Return the triangles that paint each value on its vertex's own part of the surface and nothing else.

    A triangle whose three vertices have values is kept whole (and shaded smoothly). Any other is cut along its
    medians: each vertex with a value gets its third of the triangle, in its one colour. So no vertex with a value is
    lost at a border, and none without a value looks as if it had one.

    Parameters
    ----------
    mesh : Mesh
    values : (n,) array
        NaN where there is nothing to paint.
    smooth : bool
        False for values that must not blend (names of ROIs): triangles with differing values are cut as well.
    lift : float
        Millimetres above the surface, so that the paint is not hidden by it.

    Returns
    -------
    Patch
    """
    corner_values = values[mesh.faces]
    known = np.isfinite(corner_values)
    whole = known.all(axis=1)
    if not smooth:
        whole &= (corner_values == corner_values[:, :1]).all(axis=1)
    coordinates = mesh.coordinates + np.float32(lift) * normals(mesh)

    used, faces = np.unique(mesh.faces[whole], return_inverse=True)
    points, point_vertices, triangles = [coordinates[used]], [used], [faces.reshape(-1, 3)]
    start = len(used)
    for corner in range(3):
        cut = mesh.faces[known[:, corner] & ~whole]
        own, following, previous = (coordinates[np.roll(cut, -corner, axis=1)[:, k]] for k in range(3))
        quads = np.stack([own, (own + following) / 2, (own + following + previous) / 3, (own + previous) / 2], axis=1)
        first = start + 4 * np.arange(len(cut))[:, None]
        triangles += [first + np.array([0, 1, 2]), first + np.array([0, 2, 3])]
        points.append(quads.reshape(-1, 3))
        point_vertices.append(np.repeat(cut[:, corner], 4))
        start += 4 * len(cut)
    vertices = np.concatenate(point_vertices).astype(np.int32)
    return Patch(
        np.concatenate(points).astype(np.float32),
        np.concatenate(triangles).astype(np.int32),
        values[vertices].astype(np.float32),
        vertices,
    )
