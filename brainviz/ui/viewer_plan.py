"""What the brain viewer is to draw, as a plan: a page of text that names files, and the files as bytes.

A file goes wherever a `Send` puts it: to the browser (`brainviz.ui.viewer`) or into a page of its own
(`brainviz.ui.viewer_page`).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERES, MESH_VERTICES
from brainviz.figures import packing
from brainviz.figures.meshes import SURFACES, load_mesh, onto
from brainviz.figures.style import CATEGORY_COLOURS
from brainviz.figures.surface import Scale, palettes
from brainviz.ui.look import Look

ASSETS = Path(__file__).parent / "assets" / "viewer"

#: The viewer's modules, each after those it imports.
MODULES = ("camera.js", "controls.js", "mesh.js", "painter.js", "store.js", "viewer.js")

#: Takes a file's contents, and returns the address at which the viewer will find them.
Send = Callable[[bytes], str]

#: Every file begins with so many bytes of its digest, which `store.js` takes off.
DIGEST_BYTES = 16


@dataclass(frozen=True)
class BrainMap:
    """One map.

    Attributes
    ----------
    title : str
    values : frame
        ``hemi``, ``column``, ``position``, ``value``; one row per vertex.
    """

    title: str
    values: pd.DataFrame


@dataclass(frozen=True)
class Regions:
    """Areas whose borders can be drawn, and that are named under the pointer.

    Attributes
    ----------
    sets : mapping of str to tuple of str
        Names of areas, in sets; the order is that of the colours.
    positions : mapping of (hemi, name) to int array
        The areas' vertices on the mesh.
    """

    sets: Mapping[str, tuple[str, ...]]
    positions: Mapping[tuple[str, str], NDArray[np.int64]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for names in self.sets.values() for name in names))

    @property
    def colours(self) -> dict[str, str]:
        """The colour of every area's border, on the page and in print."""
        return {name: CATEGORY_COLOURS[number % len(CATEGORY_COLOURS)] for number, name in enumerate(self.names)}


@dataclass(frozen=True)
class Tested:
    """Vertices of areas that a test found different.

    Attributes
    ----------
    label, help : str
        Of the control that leaves all others grey.
    positions : mapping of str to int array
        Hemisphere -> vertices on the mesh.
    """

    label: str
    help: str
    positions: Mapping[str, NDArray[np.int64]]


def make_plan(
    maps: Sequence[BrainMap],
    shapes: Mapping[str, str],
    scale: Scale,
    look: Look,
    send: Send,
    *,
    summary: str,
    folder: Path | None = None,
    regions: Regions | None = None,
    ceiling: pd.DataFrame | None = None,
    tested: Tested | None = None,
    picked: tuple[str, tuple[int, ...]] | None = None,
    usual_borders: tuple[str, ...] = (),
    restored: int = 0,
) -> dict[str, Any]:
    """Return what the viewer is to draw, as `viewer.js` reads it.

    Parameters
    ----------
    maps : one or two of BrainMap
    shapes : mapping of str to str
        Surface -> mesh that it is drawn on; positions beyond that mesh are left out.
    scale : Scale
        Of all maps.
    look : Look
        How to look first; afterwards the visitor decides.
    send : Send
    summary : str
        The picture in words, for those who cannot see it.
    folder : Path, optional
        Of finer meshes.
    regions : Regions, optional
    ceiling : frame, optional
        ``hemi``, ``position``, ``value``: each vertex's noise ceiling, a share of the variance.
    tested : Tested, optional
    picked : (str, tuple of int), optional
        Hemisphere and vertices that are marked.
    usual_borders : tuple of str
        The areas that are outlined as long as the visitor chooses no others.
    restored : int
        Another number than before makes the viewer take up `look` anew.
    """
    n = max(MESH_VERTICES[name] for name in shapes.values())
    return {
        "mesh": {"name": " ".join(shapes.values()), "surfaces": _surfaces(shapes, folder, send)},
        "maps": _maps(maps, n, send),
        "scale": _scale(scale),
        "rois": None if regions is None else _regions(regions, n, send),
        "ceiling": None if ceiling is None else _maps([BrainMap("noise ceiling", ceiling)], n, send)[0],
        "tested": None if tested is None else _tested(tested, n, send),
        "picked": None if picked is None else {"hemi": picked[0], "vertices": list(picked[1])},
        "look": look.for_viewer(),
        "borders": list(usual_borders),
        "summary": summary,
        "restored": restored,
    }


def link_modules(send: Callable[[str, str], str]) -> list[str]:
    """Send the viewer's modules, and return their addresses; the last one's `show` draws a plan.

    Parameters
    ----------
    send : function
        Takes a module's name and text, in which the imports are addresses, and returns its address as other modules
        import it.
    """
    addresses: dict[str, str] = {}
    for module in MODULES:
        text = (ASSETS / module).read_text("utf-8")
        for name, address in addresses.items():
            text = text.replace(f'"./{name}"', f'"{address}"')
        addresses[module] = send(module, text)
    return list(addresses.values())


def with_digest(content: bytes) -> bytes:
    """Return a file as the viewer reads it: its digest first, by which equal files are known."""
    return hashlib.sha256(content).digest()[:DIGEST_BYTES] + content


def _surfaces(shapes: Mapping[str, str], folder: Path | None, send: Send) -> dict[str, Any]:
    """Return per surface its two files, and how to read them: first the left hemisphere's part, then the right one's.

    ``shape`` holds the triangles of both, or those of one where both have the same, then the sulci of both; folded
    surfaces of a mesh have it in common. ``positions`` holds the vertices' places.
    """
    sent = {}
    for surface, name in shapes.items():
        packed = _packed_surface(name, surface, folder)
        sent[surface] = {
            "shape": send(packed.shape),
            "positions": send(packed.positions),
            "wide": packed.wide,
            "twins": packed.twins,
            "parts": packed.parts,
        }
    return sent


@dataclass(frozen=True)
class _PackedSurface:
    shape: bytes
    positions: bytes
    wide: bool
    twins: bool
    parts: dict[str, dict[str, Any]]


@lru_cache(maxsize=3 * len(SURFACES))
def _packed_surface(name: str, surface: str, folder: Path | None) -> _PackedSurface:
    meshes = load_mesh(name, surface, folder)
    both = [meshes[hemi] for hemi in HEMISPHERES]
    wide = not all(packing.is_narrow(mesh) for mesh in both)
    twins = np.array_equal(both[0].faces, both[1].faces)
    positions = [packing.pack_positions(mesh) for mesh in both]
    faces = [packing.pack_faces(mesh, wide=wide) for mesh in (both[:1] if twins else both)]
    return _PackedSurface(
        b"".join([*faces, *map(packing.pack_sulci, both)]),
        b"".join(packed.steps for packed in positions),
        wide,
        twins,
        {
            hemi: {
                "vertices": len(mesh.coordinates),
                "faces": len(mesh.faces),
                "low": packed.low,
                "high": packed.high,
            }
            for hemi, mesh, packed in zip(HEMISPHERES, both, positions, strict=True)
        },
    )


def _maps(maps: Sequence[BrainMap], n: int, send: Send) -> list[dict[str, Any]]:
    every = np.concatenate([each.values["value"].to_numpy(np.float64) for each in maps])
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    sent = []
    for each in maps:
        columns = {
            str(hemi): onto(rows["value"].to_numpy(np.float32), rows["position"].to_numpy(np.int64), n)
            for hemi, rows in each.values.groupby("hemi")
        }
        sent.append({"title": each.title, **_column_file(columns, low, high, send)})
    return sent


def _column_file(columns: Mapping[str, NDArray[np.floating]], low: float, high: float, send: Send) -> dict[str, Any]:
    """Send one value per vertex of each hemisphere, in one file, one after the other."""
    packed = [packing.pack_values(values, low, high) for values in columns.values()]
    return {"low": low, "high": high, "hemispheres": list(columns), "file": send(b"".join(packed))}


def _scale(scale: Scale) -> dict[str, Any]:
    return {
        "label": scale.label,
        "kind": scale.kind,
        "low": scale.low,
        "high": scale.high,
        "names": list(scale.names),
        "palettes": {name: base64.b64encode(colours.tobytes()).decode() for name, colours in palettes(scale).items()},
    }


def _regions(regions: Regions, n: int, send: Send) -> dict[str, Any]:
    names = regions.names
    parts = []
    for hemi in HEMISPHERES:
        masks = {}
        for name in names:
            if (hemi, name) in regions.positions:
                positions = regions.positions[hemi, name]
                masks[name] = np.zeros(n, bool)
                masks[name][positions[positions < n]] = True
        parts.append(packing.pack_areas(masks, names, n))
    return {
        "names": list(names),
        "sets": {title: list(members) for title, members in regions.sets.items()},
        "tints": [_rgb(colour) for colour in regions.colours.values()],
        "words": packing.area_words(names),
        "hemispheres": list(HEMISPHERES),
        "file": send(b"".join(parts)),
    }


def _tested(tested: Tested, n: int, send: Send) -> dict[str, Any]:
    columns = {
        hemi: onto(np.ones(len(positions), np.float32), positions, n) for hemi, positions in tested.positions.items()
    }
    return {"label": tested.label, "help": tested.help, **_column_file(columns, 0.0, 1.0, send)}


def _rgb(colour: str) -> list[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
