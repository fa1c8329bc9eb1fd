"""The brain on a page: one place that draws maps on the cortex, or says why it cannot.

Pages hand over columns, positions and values, and know nothing of how the picture is made.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from brainviz.config import mesh_folder
from brainviz.datasets.base import HEMISPHERE_NAMES, HEMISPHERES, MESH_VERTICES
from brainviz.figures.meshes import SURFACES, resolution
from brainviz.figures.style import PLOTLY_CONFIG, Provenance
from brainviz.figures.surface import Scale, palettes, strip_figure
from brainviz.ui.binding import QUOTED, bound, came_by_history
from brainviz.ui.errors import plain
from brainviz.ui.look import Look, look_from, look_of, query_of
from brainviz.ui.viewer import show_viewer, told_look
from brainviz.ui.viewer_plan import BrainMap, Regions, Tested
from brainviz.ui.words import unit_noun

#: Rows of the table that stands beside a strip.
TABLE_ROWS = 200

#: What is picked on the cortex: in the address as text, such as "lh 1234"; a patch, too long for one, in the session.
VERTEX, PATCH = "vertex", "_patch"
VERTEX_NUMBER = re.compile("[0-9]{1,6}")


def has_place(mesh: str) -> bool:
    """Return whether data on a mesh can be drawn on the cortex."""
    return mesh in MESH_VERTICES


def show_brain(
    maps: Sequence[BrainMap],
    mesh: str,
    scale: Scale,
    provenance: Provenance,
    default: Look,
    *,
    key: str,
    regions: Regions | None = None,
    ceiling: pd.DataFrame | None = None,
    tested: Tested | None = None,
) -> Look:
    """Draw one value per vertex on the cortex; without a known mesh, a sorted strip and a table.

    Parameters
    ----------
    maps : one or two of BrainMap
    mesh : str
        The mesh that positions are on.
    scale : Scale
        Of all maps.
    provenance : Provenance
    default : Look
        Where the address says nothing else.
    key : str
        Of the picture.
    regions, ceiling, tested
        As for `brainviz.ui.viewer.show_viewer`.

    Returns
    -------
    Look
        How the visitor looks at it, for exports.
    """
    if not has_place(mesh):
        for number, one in enumerate(maps):
            _show_strip(one, mesh, scale, provenance, f"{key}{number}")
        return default
    kept = st.session_state.setdefault(f"_look {key}", _Kept())
    offered = {
        "colours": ("", *palettes(scale)),
        "borders": regions.names if regions else (),
        "tested": ("0", "1") if tested else ("0",),
    }
    look = _look(kept, told_look(key), default, offered)
    folder = mesh_folder()
    show_viewer(
        maps,
        mesh,
        scale,
        look,
        key=key,
        summary=summary_words(maps, scale),
        on_picked=_keep_picked,
        folder=folder,
        regions=regions,
        ceiling=ceiling,
        tested=tested,
        picked=picked(),
        usual_borders=default.borders,
        restored=kept.restored,
    )
    _say_resolution(maps, mesh, look.surface)
    if scale.kind != "categorical":
        with st.expander("The map in numbers", icon=":material/table_rows:"):
            st.dataframe(map_table(maps, regions), hide_index=True)
    return look


@dataclass
class _Kept:
    """What a session remembers of how a picture is looked at.

    Attributes
    ----------
    told : mapping or None
        What the viewer told last.
    look : Look or None
        The look that this is; None as long as the address decides.
    restored : int
        How often the address has come to decide again.
    """

    told: Mapping[str, Any] | None = None
    look: Look | None = None
    restored: int = 0


def _look(kept: _Kept, told: Mapping[str, Any] | None, default: Look, offered: Mapping[str, Collection[str]]) -> Look:
    """Return how the visitor looks at it: as the viewer told, be it on an earlier visit of the page.

    Before it has told any, and after a step back in the browser, the address decides.
    """
    if came_by_history():
        kept.told, kept.look, kept.restored = told, None, kept.restored + 1
    elif told and told != kept.told:
        kept.told, kept.look = told, look_of(told, default)
    query = st.query_params.to_dict()
    if kept.look is None:
        look, misunderstood = look_from(query, default, offered)
        if misunderstood:
            st.warning(
                f"The link says {', '.join(plain(each[:QUOTED]) for each in misunderstood)}, which means nothing here.",
                icon=":material/link_off:",
            )
        return look
    if anew := query_of(kept.look, default, query):
        st.query_params.update(anew)
    return kept.look


def map_table(maps: Sequence[BrainMap], regions: Regions | None) -> pd.DataFrame:
    """Return each map per hemisphere and area: ``map hemi roi vertices mean highest vertex`` (the highest one's).

    The first row of a hemisphere is of all vertices that have a value.
    """
    rows = []
    for one in maps:
        known = one.values.dropna(subset=["value"])
        for hemi, of_hemi in known.groupby("hemi"):
            parts = [("all shown", of_hemi)]
            for name in regions.names if regions else ():
                inside = of_hemi[of_hemi["position"].isin(regions.positions.get((str(hemi), name), ()))]  # type: ignore[union-attr]
                if len(inside):
                    parts.append((name, inside))
            for name, part in parts:
                values = part["value"].to_numpy()
                rows.append(
                    {
                        "map": one.title,
                        "hemi": hemi,
                        "roi": name,
                        "vertices": len(part),
                        "mean": values.mean(),
                        "highest": values.max(),
                        "vertex": int(part["position"].iloc[int(values.argmax())]),
                    }
                )
    return pd.DataFrame(rows)


def summary_words(maps: Sequence[BrainMap], scale: Scale) -> str:
    """Return the picture in words: how many vertices, and where each hemisphere's value is highest."""
    sentences = []
    for one in maps:
        known = one.values.dropna(subset=["value"])
        if scale.kind == "categorical":
            sizes = known["value"].value_counts()
            words = ", ".join(f"{name} {sizes.get(number, 0):,}" for number, name in enumerate(scale.names))
            sentences.append(f"{one.title}: vertices per ROI: {words}.")
            continue
        sentences += [
            f"{one.title}, {HEMISPHERE_NAMES[row['hemi']]}: "
            f"{row['vertices']:,} {unit_noun('vertex', row['vertices'])}, mean {scale.label} {row['mean']:.3f}, "
            f"highest {row['highest']:.3f} at vertex {row['vertex']}."
            for row in map_table([one], None).to_dict("records")
        ]
    return " ".join(sentences)


# --- what is picked ---------------------------------------------------------------------------------------------------


def picked() -> tuple[str, tuple[int, ...]] | None:
    """Return the hemisphere and the mesh's vertices that are picked; None where nothing is."""
    if (patch := st.session_state.get(PATCH)) and not came_by_history():
        hemi, vertices = patch
        return str(hemi), tuple(vertices)
    hemi, _, number = _named_vertex().lower().strip().partition(" ")
    if hemi not in HEMISPHERES or not VERTEX_NUMBER.fullmatch(number.strip()):
        return None
    return hemi, (int(number),)


def vertex_input() -> None:
    """Draw the field that names the picked vertex: bound to the address, and a way to pick one without a pointer."""
    if came_by_history():
        st.session_state.pop(PATCH, None)
    elif VERTEX in st.session_state and st.session_state[VERTEX] != st.query_params.get(VERTEX, ""):
        # What a callback has set is written into the address only in that callback's run, which another may cut short.
        st.session_state[VERTEX] = st.session_state[VERTEX]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "Vertex",
            **{**bound(VERTEX), "on_change": _forget_patch},  # type: ignore[call-overload]
            placeholder="lh 1234",
            width=180,
            help="Hemisphere (lh or rh) and number on the mesh. A click on the cortex fills this in.",
        )
        if picked():
            st.button("Clear", key="clear_picked", icon=":material/close:", on_click=_clear_picked)
    text = _named_vertex()
    if text and picked() is None:
        st.warning(f"There is no vertex “{plain(text)}”. Write lh or rh and a number, such as lh 1234.")


def _named_vertex() -> str:
    """Return what the field says, or before it is drawn, the address."""
    from_address = VERTEX not in st.session_state or came_by_history()
    return str((st.query_params if from_address else st.session_state).get(VERTEX) or "")


def _keep_picked(hemi: str, vertices: tuple[int, ...]) -> None:
    if len(vertices) == 1:
        st.session_state.pop(PATCH, None)
        st.session_state[VERTEX] = f"{hemi} {vertices[0]}"
    else:
        st.session_state[PATCH] = (hemi, vertices)
        st.session_state[VERTEX] = ""  # the field and the address name a vertex, and there is none now


def _clear_picked() -> None:
    st.session_state.pop(PATCH, None)
    st.session_state[VERTEX] = ""


def _forget_patch(_key: str) -> None:
    st.session_state.pop(PATCH, None)


# --- words ------------------------------------------------------------------------------------------------------------


def _say_resolution(maps: Sequence[BrainMap], mesh: str, surface: str) -> None:
    """Say so where the picture is of a coarser mesh than the data."""
    shown = resolution(mesh, mesh_folder(), surface=surface if surface in SURFACES else "inflated")
    n = MESH_VERTICES[shown]
    if n == MESH_VERTICES[mesh]:
        return
    values = maps[0].values
    inside = int((values["position"] < n).sum())
    st.caption(
        f"The data are on {mesh}; the picture is of {shown}, which is its first {n:,} vertices per hemisphere "
        f"({inside:,} of the {len(values):,} vertices here). Tables and downloads hold all of them. With the files of "
        f"{mesh} at hand ([meshes] in brainviz.toml) the picture is of all."
    )


def _show_strip(one: BrainMap, mesh: str, scale: Scale, provenance: Provenance, key: str) -> None:
    why = "has no mesh" if mesh == "none" else f"is on a mesh that brainviz does not know ({mesh})"
    st.info(
        f"This data set {plain(why)}, so there is no place on a cortex to draw the values at. "
        "They are shown sorted instead."
    )
    maps = {}
    for hemi, rows in one.values.groupby("hemi"):
        known = rows.sort_values("column")
        full = np.full(int(known["column"].max()) + 1, np.nan, np.float32)
        full[known["column"]] = known["value"]
        maps[str(hemi)] = full
    figure = strip_figure(maps, scale.label, provenance)
    chart, table = st.columns([2, 1])
    chart.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key=key, alt=f"{scale.label}, sorted")
    table.dataframe(
        one.values.sort_values("value", ascending=False)[["hemi", "column", "value"]].head(TABLE_ROWS),
        hide_index=True,
        height=400,
    )
