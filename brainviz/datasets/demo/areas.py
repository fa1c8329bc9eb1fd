"""Where the demo's visual areas lie on fsaverage5: bands around the calcarine sulcus, and patches grown from seeds.

Early areas follow the banded model of V1-V3 (Schira et al. 2010, PLoS Comput Biol 6:e1000651; Benson et al. 2014,
PLoS Comput Biol 10:e1003538): on the registration sphere, V1 is a band along the line from the occipital pole to the
anterior end of the calcarine sulcus; V2, V3 and (ventrally only) hV4 follow on either side, the polar angle reversing
at every border. Category areas grow from seeds on the pial surface: fsaverage millimetres, stated by hand, near where
group studies find these areas (Rosenke et al. 2021, Cereb Cortex 31:603, for faces, bodies, places and characters;
Jain et al. 2023, Commun Biol 6:175, for food).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra

#: Names and values of the ROI sets of the Algonauts layout (methods, section 11); 0 is "Unknown".
ROI_SETS: dict[str, tuple[str, ...]] = {
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
}
EARLY = ROI_SETS["prf-visualrois"]

#: A patch that no localiser names: vertices that prefer food in some subjects.
FOOD_PATCH = "food-patch"

# Two points of the calcarine line on the pial surface, millimetres: near the pole, and well inside the sulcus.
_POLE = {"lh": (-18, -101, -14), "rh": (19, -102, -10)}
_CALCARINE = {"lh": (-15, -77, 8), "rh": (17, -72, 9)}

# Inner and outer border of each early area: degrees of the sphere from the calcarine line (negative: ventral).
_BANDS = {
    "V1v": (0.0, -10.5),
    "V1d": (0.0, 10.5),
    "V2v": (-10.5, -16.0),
    "V2d": (10.5, 15.5),
    "V3v": (-16.0, -21.0),
    "V3d": (15.5, 20.5),
    "hV4": (-21.0, -27.5),
}
_LENGTH = 30.0  # degrees of the sphere from the foveal to the peripheral end of a band
_HV4_LENGTH = 19.0
_FOVEAL_SHIFT = {
    "dorsal": 0.9,
    "ventral": 0.35,
}  # bands further from the line start further behind the pole, degrees per degree

# Seed (left hemisphere; x is mirrored for the right one) and number of vertices (left, right) of the other areas.
_SEEDS: dict[str, tuple[tuple[int, int, int], tuple[int, int]]] = {
    "OFA": ((-44, -81, -12), (28, 40)),
    "FFA-1": ((-42, -60, -18), (36, 52)),
    "FFA-2": ((-41, -44, -21), (28, 38)),
    "PPA": ((-28, -46, -12), (70, 78)),
    FOOD_PATCH: ((-33, -62, -12), (34, 34)),
    "OPA": ((-36, -82, 20), (56, 60)),
    "RSC": ((-14, -57, 10), (44, 46)),
    "EBA": ((-47, -70, 4), (80, 92)),
    "VWFA-1": ((-46, -64, -8), (46, 28)),
    "VWFA-2": ((-48, -54, -15), (34, 0)),
    "OWFA": ((-40, -88, -8), (34, 28)),
    "FBA-1": ((-45, -45, -18), (30, 34)),
    "FBA-2": ((-43, -33, -22), (28, 30)),
}

_STREAM_SEEDS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "midventral": ((-30, -80, -13),),
    "midlateral": ((-40, -86, 3),),
    "midparietal": ((-24, -87, 22),),
    "ventral": ((-40, -56, -18), (-28, -48, -12), (-42, -40, -22)),
    "lateral": ((-46, -72, 4), (-52, -60, 8)),
    "parietal": ((-24, -72, 36), (-22, -64, 52)),
}
_STREAM_REACH = 17.0  # millimetres along the surface
_EARLY_MARGIN = 5.0

#: ROIs that a subject lacks, by hemisphere.
MISSING: dict[str, dict[str, tuple[str, ...]]] = {
    "subj01": {"lh": (), "rh": ("VWFA-2",)},
    "subj02": {"lh": ("FBA-2", "OWFA"), "rh": ("VWFA-2", "FBA-2", "VWFA-1")},
    "subj03": {"lh": ("FFA-2",), "rh": ("VWFA-2", "OWFA")},
    "subj04": {"lh": ("VWFA-2", "FBA-2"), "rh": ("VWFA-2", "RSC", "OWFA")},
}
SUBJECTS = tuple(MISSING)


@dataclass(frozen=True)
class Areas:
    """One hemisphere of one subject, on the 10,242 vertices of fsaverage5.

    Attributes
    ----------
    labels : dict
        ROI set -> (10242,) int64, 0 where the vertex has none.
    area : (10242,) str array
        The area that decides a vertex's tuning: an early or category area, `FOOD_PATCH`, or "".
    keep : (10242,) bool array
        Vertices with responses.
    eccentricity, angle : (10242,) float arrays
        In early areas, the place in the visual field: eccentricity 0..1, and polar angle in degrees from the horizontal
        meridian of the opposite half, positive upwards; NaN elsewhere.
    """

    labels: dict[str, NDArray[np.int64]]
    area: NDArray[np.str_]
    keep: NDArray[np.bool_]
    eccentricity: NDArray[np.float64] = field(repr=False)
    angle: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True)
class _Surface:
    pial: NDArray[np.float64]
    sphere: NDArray[np.float64]  # unit length
    edges: csr_array  # millimetres on the pial surface


@cache
def _surface(hemi: str) -> _Surface:
    """Return fsaverage5 as nilearn bundles it (no download)."""
    from nilearn.datasets import load_fsaverage

    part = {"lh": "left", "rh": "right"}[hemi]
    meshes = load_fsaverage("fsaverage5")
    pial = np.asarray(meshes["pial"].parts[part].coordinates, float)
    sphere = np.asarray(meshes["sphere"].parts[part].coordinates, float)
    faces = np.asarray(meshes["pial"].parts[part].faces)
    one, other = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).T
    edges = csr_array((np.linalg.norm(pial[one] - pial[other], axis=1), (one, other)), shape=(len(pial),) * 2)
    return _Surface(pial, sphere / np.linalg.norm(sphere, axis=1, keepdims=True), edges.maximum(edges.T).tocsr())


def place_areas(subject: str, hemi: str, rng: np.random.Generator) -> Areas:
    """Return one subject's areas: the common plan with shifted seeds and other sizes, less what the subject lacks."""
    surface = _surface(hemi)
    area, eccentricity, angle = _early_bands(surface, hemi, rng)
    for name, (seed, sizes) in _SEEDS.items():
        size = round(sizes[hemi == "rh"] * rng.uniform(0.8, 1.15))
        start = _mirror(seed, hemi) + rng.normal(0, 2.5, 3)
        if size and name not in MISSING[subject][hemi]:
            area[_grow(surface, start, size, free=area == "")] = name
    labels = {
        key: sum(((area == name) * np.int64(code) for code, name in enumerate(names, 1)), np.zeros(len(area), np.int64))
        for key, names in ROI_SETS.items()
        if key != "streams"
    }
    labels["streams"] = _streams(surface, hemi, area)
    keep = (area != "") | (labels["streams"] > 0)
    if subject in ("subj03", "subj04"):  # some real subjects lack vertices, too
        keep &= (rng.random(len(keep)) > 0.01) | (area != "")
    return Areas({key: np.where(keep, label, 0) for key, label in labels.items()}, area, keep, eccentricity, angle)


def _mirror(point: tuple[int, int, int], hemi: str) -> NDArray[np.float64]:
    return np.array(point, float) * ((-1 if hemi == "rh" else 1), 1, 1)


def _nearest(surface: _Surface, point: NDArray[np.float64]) -> int:
    return int(np.argmin(((surface.pial - point) ** 2).sum(1)))


def _grow(surface: _Surface, start: NDArray[np.float64], size: int, free: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the `size` free vertices nearest to `start` along the surface, around taken ones: one connected patch."""
    members = np.flatnonzero(_largest_piece(surface, free))  # not a pocket between taken patches
    first = int(np.argmin(((surface.pial[members] - start) ** 2).sum(1)))
    distance = dijkstra(surface.edges[members][:, members], indices=first, limit=60.0)
    order = np.argsort(distance, kind="stable")[:size]
    patch: NDArray[np.int64] = members[order[np.isfinite(distance[order])]]
    return patch


def _early_bands(
    surface: _Surface, hemi: str, rng: np.random.Generator
) -> tuple[NDArray[np.str_], NDArray[np.float64], NDArray[np.float64]]:
    """Return the early areas' names with eccentricity and polar angle, each linear in one of a band's coordinates."""
    pole = surface.sphere[_nearest(surface, np.array(_POLE[hemi], float))]
    end = surface.sphere[_nearest(surface, np.array(_CALCARINE[hemi], float))]
    across = np.cross(pole, end)
    across /= np.linalg.norm(across) * np.sign(across[2])  # dorsal is positive
    along = end - (end @ pole) * pole
    along /= np.linalg.norm(along)
    turn = np.deg2rad(rng.normal(0, 2.0))
    along, across = np.cos(turn) * along + np.sin(turn) * across, np.cos(turn) * across - np.sin(turn) * along
    width, length = rng.uniform(0.92, 1.12), _LENGTH * rng.uniform(0.92, 1.08)

    w = np.degrees(np.arcsin(surface.sphere @ across)) / width
    u = np.degrees(np.arctan2(surface.sphere @ along, surface.sphere @ pole))
    u = u + np.where(w > 0, _FOVEAL_SHIFT["dorsal"] * w, -_FOVEAL_SHIFT["ventral"] * w)

    area = np.full(len(w), "", dtype="U12")
    eccentricity, angle = np.full(len(w), np.nan), np.full(len(w), np.nan)
    for name, (inner, outer) in _BANDS.items():
        depth = (w - inner) / (outer - inner)
        extent = length * (_HV4_LENGTH / _LENGTH if name == "hV4" else 1.0)
        inside = (depth >= 0) & (depth < 1) & (u >= 0) & (u < extent)
        inside = _largest_piece(surface, inside)
        area[inside] = name
        eccentricity[inside] = u[inside] / extent
        angle[inside] = _polar_angle(name, depth[inside])
    return area, eccentricity, angle


def _polar_angle(name: str, depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return degrees above the horizontal meridian: V1 and V3 start there, V2 at the vertical one, hV4 spans both."""
    if name == "hV4":
        return 90.0 - 150.0 * depth
    sign = 1.0 if name.endswith("v") else -1.0
    return sign * 90.0 * ((1 - depth) if name.startswith("V2") else depth)


def _largest_piece(surface: _Surface, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    members = np.flatnonzero(mask)
    _, piece = connected_components(surface.edges[members][:, members], directed=False)
    out = np.zeros_like(mask)
    out[members[piece == np.bincount(piece).argmax()]] = True
    return out


def _streams(surface: _Surface, hemi: str, area: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the stream of each vertex: early around V1-V3, elsewhere that of the nearest seed within reach."""
    names = ROI_SETS["streams"]
    first_areas = np.flatnonzero(np.isin(area, EARLY[:-1]))
    distance = np.full((len(names), len(area)), np.inf)
    to_early = dijkstra(surface.edges, indices=first_areas, limit=_EARLY_MARGIN, min_only=True)
    for row, name in enumerate(names):
        for seed in _STREAM_SEEDS.get(name, ()):
            reached = dijkstra(surface.edges, indices=_nearest(surface, _mirror(seed, hemi)), limit=_STREAM_REACH)
            distance[row] = np.minimum(distance[row], reached)
    stream = np.where(np.isfinite(distance).any(0), distance.argmin(0) + 1, 0)
    stream[(to_early <= _EARLY_MARGIN) & (area == "")] = 1
    stream[first_areas] = 1
    stream[area == "hV4"] = 1 + names.index("midventral")
    return stream.astype(np.int64)
