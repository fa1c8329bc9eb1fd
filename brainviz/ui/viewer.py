"""The brain viewer on a page: a Streamlit component on WebGL2, its files, and the plan of what it is to draw.

Meshes, maps and areas go to the browser as files named after their contents; the plan itself is a page of text. A mesh
is fetched once in a browser's life (`assets/viewer/store.js`), a map when it is first shown.
"""

from __future__ import annotations

import base64
import gc
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray
from streamlit.runtime import Runtime

from brainviz.datasets.base import HEMISPHERES, MESH_VERTICES
from brainviz.figures import packing
from brainviz.figures.meshes import SURFACES, load_mesh, onto, resolution
from brainviz.figures.style import CATEGORY_COLOURS
from brainviz.figures.surface import Scale, palettes
from brainviz.ui.look import Look

ASSETS = Path(__file__).parent / "assets" / "viewer"

#: The viewer's modules, each after those it imports.
MODULES = ("camera.js", "controls.js", "mesh.js", "painter.js", "store.js", "viewer.js")

#: Every file begins with so many bytes of its digest, which `store.js` takes off.
DIGEST_BYTES = 16

#: Fetches the viewer's code, which is too long to be sent with every change, and hands it the plan.
START = """
export default function (component) {
  const code = new URL(component.data.code, window.location.origin);
  const shown = import(code).then(({ show }) => show(component));
  return () => shown.then((stop) => stop());
}
"""


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


def show_viewer(
    maps: Sequence[BrainMap],
    mesh: str,
    scale: Scale,
    look: Look,
    *,
    key: str,
    summary: str,
    on_picked: Callable[[str, tuple[int, ...]], None],
    folder: Path | None = None,
    regions: Regions | None = None,
    ceiling: pd.DataFrame | None = None,
    tested: Tested | None = None,
    picked: tuple[str, tuple[int, ...]] | None = None,
    usual_borders: tuple[str, ...] = (),
) -> None:
    """Mount the viewer.

    Parameters
    ----------
    maps : one or two of BrainMap
    mesh : str
        The mesh that positions are on.
    scale : Scale
        Of all maps.
    look : Look
        How to look first; afterwards the visitor decides.
    key : str
        Of the component.
    summary : str
        The picture in words, for those who cannot see it.
    on_picked : function
        Called with the hemisphere and the mesh's vertices that were picked.
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
    """
    shapes = {surface: resolution(mesh, folder, surface=surface) for surface in SURFACES}
    n = max(MESH_VERTICES[name] for name in shapes.values())
    send = _Sender(key)

    def told_picked() -> None:
        if told := st.session_state[key].get("picked"):
            on_picked(str(told["hemi"]), tuple(int(vertex) for vertex in told["vertices"]))

    _component()(
        key=key,
        data={
            "code": _code(send),
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
        },
        on_look_change=lambda: None,  # read where the page is drawn: `told_look`
        on_picked_change=told_picked,
    )


def told_look(key: str) -> Mapping[str, Any] | None:
    """Return what the viewer has told of its look (see `brainviz.ui.look.look_of`); None before it has told any.

    It is more recent than the address: a run that the browser asked for before the last one ended brings an older one.
    """
    return (st.session_state.get(key) or {}).get("look")


@lru_cache(maxsize=1)
def _component() -> Any:
    # Streamlit collects garbage after every run of a page, which delays what the browser asks for in the meantime by
    # 150 ms once plotly, pandas and nilearn are loaded. These are there to stay: leave them out of it.
    gc.freeze()
    return st.components.v2.component(
        "brainviz_viewer", html='<div class="viewer"></div>', css=(ASSETS / "viewer.css").read_text("utf-8"), js=START
    )


class _Sender:
    """Puts files where the browser can fetch them, under names made of their contents.

    Parameters
    ----------
    key : str
        Of the component: keeps apart what several of one page send.
    """

    def __init__(self, key: str) -> None:
        self.key, self.count = key, 0

    def file(self, content: bytes) -> str:
        """Return the address of a file that begins with the digest of its contents.

        Streamlit names a file after parts of it only, where it is large: with the digest among them, equal names mean
        equal files, for as long as a browser keeps them.
        """
        return self.text(hashlib.sha256(content).digest()[:DIGEST_BYTES] + content, "application/octet-stream")

    def text(self, content: bytes, mimetype: str) -> str:
        """Return the address of a file, from the server's root."""
        self.count += 1
        address = Runtime.instance().media_file_mgr.add(content, mimetype, f"{self.key} {self.count}")
        base = str(st.get_option("server.baseUrlPath")).strip("/")
        return f"/{base}{address}" if base else address


def _code(send: _Sender) -> str:
    """Return the address of the viewer's last module, whose imports name the addresses of the others."""
    addresses: dict[str, str] = {}
    for module in MODULES:
        text = (ASSETS / module).read_text("utf-8")
        for name, address in addresses.items():
            text = text.replace(f'"./{name}"', f'"./{address.rsplit("/", 1)[1]}"')
        addresses[module] = send.text(text.encode(), "text/javascript")
    return addresses[MODULES[-1]]


def _surfaces(shapes: Mapping[str, str], folder: Path | None, send: _Sender) -> dict[str, Any]:
    sent = {}
    for surface, name in shapes.items():
        packed = _packed_surface(name, surface, folder)
        sent[surface] = {
            hemi: {
                "positions": send.file(packed[hemi].positions.steps),
                "low": packed[hemi].positions.low,
                "high": packed[hemi].positions.high,
                "faces": send.file(packed[hemi].faces),
                "wide": packed[hemi].wide,
                "sulci": send.file(packed[hemi].sulci),
            }
            for hemi in HEMISPHERES
        }
    return sent


@dataclass(frozen=True)
class _PackedSurface:
    positions: packing.Packed
    faces: bytes
    wide: bool
    sulci: bytes


@lru_cache(maxsize=3 * len(SURFACES))
def _packed_surface(name: str, surface: str, folder: Path | None) -> dict[str, _PackedSurface]:
    meshes = load_mesh(name, surface, folder)
    return {
        hemi: _PackedSurface(
            packing.pack_positions(mesh),
            packing.pack_faces(mesh),
            not packing.is_narrow(mesh),
            packing.pack_sulci(mesh),
        )
        for hemi, mesh in meshes.items()
    }


def _maps(maps: Sequence[BrainMap], n: int, send: _Sender) -> list[dict[str, Any]]:
    every = np.concatenate([each.values["value"].to_numpy(np.float64) for each in maps])
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    sent = []
    for each in maps:
        files = {}
        for hemi, rows in each.values.groupby("hemi"):
            values = onto(rows["value"].to_numpy(np.float32), rows["position"].to_numpy(np.int64), n)
            files[str(hemi)] = send.file(packing.pack_values(values, low, high))
        sent.append({"title": each.title, "low": low, "high": high, "values": files})
    return sent


def _scale(scale: Scale) -> dict[str, Any]:
    return {
        "label": scale.label,
        "kind": scale.kind,
        "low": scale.low,
        "high": scale.high,
        "names": list(scale.names),
        "palettes": {name: base64.b64encode(colours.tobytes()).decode() for name, colours in palettes(scale).items()},
    }


def _regions(regions: Regions, n: int, send: _Sender) -> dict[str, Any]:
    names = regions.names
    sent: dict[str, Any] = {
        "names": list(names),
        "sets": {title: list(members) for title, members in regions.sets.items()},
        "tints": [_rgb(CATEGORY_COLOURS[number % len(CATEGORY_COLOURS)]) for number in range(len(names))],
        "words": packing.area_words(names),
    }
    for hemi in HEMISPHERES:
        masks = {}
        for name in names:
            if (hemi, name) in regions.positions:
                positions = regions.positions[hemi, name]
                masks[name] = np.zeros(n, bool)
                masks[name][positions[positions < n]] = True
        sent[hemi] = send.file(packing.pack_areas(masks, names, n))
    return sent


def _tested(tested: Tested, n: int, send: _Sender) -> dict[str, Any]:
    files = {}
    for hemi, positions in tested.positions.items():
        values = onto(np.ones(len(positions), np.float32), positions, n)
        files[hemi] = send.file(packing.pack_values(values, 0.0, 1.0))
    return {"label": tested.label, "help": tested.help, "low": 0.0, "high": 1.0, "values": files}


def _rgb(colour: str) -> list[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
