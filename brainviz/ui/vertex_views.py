"""Parts of the Encoding page that show one subject's vertices: as points of two methods, and as maps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from brainviz.datasets.base import HEMISPHERES, MESH_VERTICES
from brainviz.encoding.metrics import share_improved
from brainviz.figures.scatter import vertex_scatter
from brainviz.figures.style import PLOTLY_CONFIG
from brainviz.figures.surface import correlation_scale, difference_scale
from brainviz.runs.compare import FALSE_DISCOVERY_RATE
from brainviz.ui.binding import bound, keep_among, say_unknown
from brainviz.ui.brain import has_place, picked, show_brain, vertex_input
from brainviz.ui.comparison import TEST_R, one_per_vertex, vertex_frame
from brainviz.ui.downloads import figure_downloads, map_downloads
from brainviz.ui.inspector import show_inspector
from brainviz.ui.look import Look
from brainviz.ui.map_picture import MapPicture
from brainviz.ui.regions import ceiling_of, regions_of, usual_borders
from brainviz.ui.shown import Shown
from brainviz.ui.vertex_facts import Picked
from brainviz.ui.viewer_plan import BrainMap, Regions, Tested

DIFFERENCE = "difference"


def pick_shown_subject(shown: Shown) -> str:
    """Draw the choice of one subject, if several have results."""
    if len(shown.subjects) == 1:
        return shown.subjects[0]
    keep_among("who", shown.subjects, shown.subjects[0])
    say_unknown("who", shown.subjects, "subject")
    return st.selectbox("Subject shown", shown.subjects, **bound("who"), width=240)


def show_vertices(shown: Shown) -> None:
    """Draw one point per vertex: A's r over B's."""
    if not shown.pair:
        st.info(
            "Choose two methods, and have both computed, to compare them per vertex.", icon=":material/arrow_upward:"
        )
        return
    first, second = shown.pair
    subject = pick_shown_subject(shown)
    vertices = _vertices(shown, subject)
    if not vertices["difference"].notna().any():
        st.info(f"{subject} has no ROI with results of both methods yet.", icon=":material/hourglass_empty:")
        return
    once = one_per_vertex(vertices)
    shares = {str(hemi): share_improved(rows[first], rows[second]) for hemi, rows in once.groupby("hemi")}
    provenance = shown.about(shown.pair, f"{first}, {second}", subject)
    label = TEST_R if shown.how.score == TEST_R else "cross-validated r"
    figure = vertex_scatter(once, first, second, provenance, shares=shares, label=label)
    st.plotly_chart(
        figure, config=PLOTLY_CONFIG, theme=None, key="scatter", alt=f"r of {first} over {second}, per vertex"
    )
    st.caption(f"Points above the diagonal are vertices that {first} predicts better than {second} does.")
    figure_downloads("Vertices", vertices, figure, shown.specs(subject), f"{shown.source.key}_{subject}", provenance)


def show_map(shown: Shown) -> None:
    """Draw r of a method, of two methods, or the difference of the pair, on the cortex of one subject."""
    subject = pick_shown_subject(shown)
    vertices = _vertices(shown, subject)
    if vertices[shown.methods].isna().all(axis=None):
        st.info(f"No vertex has a {shown.how.score_words}.", icon=":material/block:")
        return
    with st.container(horizontal=True):
        quantity = available(_pick_quantity(shown), vertices, shown)
        beside = _pick_beside(quantity, vertices, shown)
    _explore(shown, subject, vertices, quantity, beside)


@st.fragment
def _explore(shown: Shown, subject: str, vertices: pd.DataFrame, quantity: str, beside: str) -> None:
    """Draw the maps with what is known of the picked vertex; a click runs this part of the page alone."""
    dataset = shown.source.dataset
    mesh = dataset.mesh
    once = one_per_vertex(vertices)
    words, methods = quantity, [quantity]
    if quantity == DIFFERENCE:
        assert shown.pair
        words, methods = " − ".join(shown.pair), list(shown.pair)
        scale = difference_scale([once[quantity].to_numpy()], f"Δr, {words}")
    else:
        # One scale for all methods, so that their maps can be compared by eye.
        scale = correlation_scale([once[method].to_numpy() for method in shown.methods])
    maps = [_map_of(once, quantity, words)]
    if beside:
        maps.append(_map_of(once, beside, beside))
        methods, words = [quantity, beside], f"{quantity}, {beside}"
    provenance = shown.about(methods, words, subject)
    regions = regions_of(shown.source, subject)
    ceiling = ceiling_of(shown.source, subject)
    tested = _tested(shown, subject, regions) if quantity == DIFFERENCE else None
    on_cortex, facts = st.columns([5, 3]) if has_place(mesh) else (st.container(), st.container())
    with on_cortex:
        look = show_brain(
            maps,
            mesh,
            scale,
            provenance,
            Look(borders=usual_borders(regions, shown.provenance.rois)),
            key="brain",
            regions=regions,
            ceiling=ceiling,
            tested=tested,
        )
        of = _pick_file_map(maps)
        map_downloads(
            of.values,
            vertices,
            MapPicture(tuple(maps), scale, provenance, look, regions, mesh, ceiling, tested),
            shown.specs(subject),
            label=f"{shown.how.score_words}, {of.title}",
            stem=f"{shown.source.key}_{subject}_{quantity if of is maps[0] else beside}",
        )
    with facts:
        _inspect(shown, subject, vertices)


def _pick_file_map(maps: list[BrainMap]) -> BrainMap:
    """Draw the choice of which of two maps is downloaded; of one map there is none."""
    if len(maps) == 1:
        return maps[0]
    titles = [each.title for each in maps]
    chosen = st.segmented_control(
        "Panels and GIFTI of",
        titles,
        default=titles[0],
        required=True,
        key="file_map",
        help="Tables and the HTML file hold both maps.",
    )
    return maps[titles.index(chosen or titles[0])]


def _map_of(once: pd.DataFrame, quantity: str, title: str) -> BrainMap:
    return BrainMap(title, once.assign(value=once[quantity])[["hemi", "column", "position", "value"]])


def _tested(shown: Shown, subject: str, regions: Regions) -> Tested | None:
    """Return the vertices of ROIs in which the permutation test found the pair different; None without a test."""
    found = shown.differences
    found = found[(found["subject"] == subject) & found["significant"].notna()]
    if found.empty:
        return None
    positions = {hemi: np.empty(0, np.int64) for hemi in HEMISPHERES}
    for hemi, roi in found.loc[found["significant"] == 1, ["hemi", "roi"]].itertuples(index=False, name=None):
        inside = regions.positions.get((hemi, roi), positions[hemi])
        positions[hemi] = np.union1d(positions[hemi], inside)
    return Tested(
        f"Only ROIs with q < {FALSE_DISCOVERY_RATE}",
        "Paint only ROIs in which the permutation test found the two methods different, at this rate of false "
        "discoveries over ROIs.",
        positions,
    )


def _inspect(shown: Shown, subject: str, vertices: pd.DataFrame) -> None:
    """Draw what is known of the picked vertex or patch, with the field that names it."""
    if not has_place(shown.source.dataset.mesh):
        return
    vertex_input()
    if (chosen := picked()) is None:
        st.caption("Click a vertex to see its r, its responses and its pictures; on the flat map, draw round a patch.")
        return
    hemi, positions = chosen
    held = vertices[(vertices["hemi"] == hemi) & vertices["position"].isin(positions)]
    columns = tuple(dict.fromkeys(held["column"].astype(int)))
    if columns:
        show_inspector(shown, subject, Picked(hemi, columns))
    else:
        n = MESH_VERTICES[shown.source.dataset.mesh]
        beyond = max(positions) >= n
        st.info(
            f"{shown.source.dataset.mesh} has no vertex {max(positions)}: they are numbered from 0 to {n - 1}."
            if beyond
            else f"No vertex of the chosen ROIs of {subject} is there. Coloured vertices have results."
        )


def available(quantity: str, vertices: pd.DataFrame, shown: Shown) -> str:
    """Return the quantity if its runs are there; otherwise one whose runs are, with a word."""
    if vertices[quantity].notna().any():
        return quantity
    instead = next(method for method in shown.methods if vertices[method].notna().any())
    needed = "results of both A and B" if quantity == DIFFERENCE else f"the {quantity} runs"
    st.info(f"This map needs {needed}. Until they are there, you see {instead}.", icon=":material/hourglass_empty:")
    return instead


def _pick_beside(quantity: str, vertices: pd.DataFrame, shown: Shown) -> str:
    """Draw the choice of a second map; empty for none."""
    others = [method for method in shown.methods if method != quantity and vertices[method].notna().any()]
    if quantity == DIFFERENCE or not others:
        return ""
    keep_among("beside", others, None)
    say_unknown("beside", others, "map")
    return st.selectbox("Beside it", others, index=None, **bound("beside"), placeholder="one map", width=200) or ""


def _pick_quantity(shown: Shown) -> str:
    options = [*dict.fromkeys(method for method, _ in shown.choice.asked), DIFFERENCE]
    keep_among("map", options, DIFFERENCE)
    say_unknown("map", options, "map")
    chosen = st.segmented_control(
        "Map of", options, default=DIFFERENCE, required=True, **bound("map"), help="difference: A minus B."
    )
    return chosen or DIFFERENCE


def _vertices(shown: Shown, subject: str) -> pd.DataFrame:
    asked = list(dict.fromkeys(method for method, _ in shown.choice.asked))
    return vertex_frame(shown.runs, shown.how, subject, asked, shown.source.dataset)
