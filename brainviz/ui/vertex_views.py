"""Parts of the Encoding page that show one subject's vertices: as points of two methods, and as a map."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from brainviz.encoding.metrics import share_improved
from brainviz.figures.scatter import vertex_scatter
from brainviz.figures.style import PLOTLY_CONFIG
from brainviz.figures.surface import correlation_scale, difference_scale
from brainviz.ui.binding import bound, keep_among, say_unknown
from brainviz.ui.brain import brain_controls, show_brain
from brainviz.ui.comparison import TEST_R, one_per_vertex, vertex_frame
from brainviz.ui.downloads import figure_downloads, map_downloads
from brainviz.ui.shown import Shown

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
    """Draw r of a method, or the difference of the pair, on the cortex of one subject."""
    subject = pick_shown_subject(shown)
    vertices = _vertices(shown, subject)
    mesh, quantity = shown.source.dataset.mesh, available(_pick_quantity(shown), vertices, shown)
    view = brain_controls(mesh)
    once = one_per_vertex(vertices)
    values = once.assign(value=once[quantity])[["hemi", "column", "position", "value"]]
    methods = [quantity]
    words = quantity
    if quantity == DIFFERENCE:
        assert shown.pair
        methods, words = list(shown.pair), " − ".join(shown.pair)
        scale = difference_scale([values["value"].to_numpy()], f"Δr, {words}")
    else:
        # One scale for all methods, so that their maps can be compared by eye.
        scale = correlation_scale([once[method].to_numpy() for method in shown.methods])
    provenance = shown.about(methods, words, subject)
    figure = show_brain(values, mesh, scale, provenance, view, key="brain")
    map_downloads(
        values,
        vertices,
        figure,
        shown.specs(subject),
        mesh=mesh,
        label=f"{shown.how.score_words}, {words}",
        stem=f"{shown.source.key}_{subject}_{quantity}",
        provenance=provenance,
    )


def available(quantity: str, vertices: pd.DataFrame, shown: Shown) -> str:
    """Return the quantity if its runs are there; otherwise one whose runs are, with a word."""
    if vertices[quantity].notna().any():
        return quantity
    instead = next(method for method in shown.methods if vertices[method].notna().any())
    needed = "results of both A and B" if quantity == DIFFERENCE else f"the {quantity} runs"
    st.info(f"This map needs {needed}. Until they are there, you see {instead}.", icon=":material/hourglass_empty:")
    return instead


def _pick_quantity(shown: Shown) -> str:
    options = [*dict.fromkeys(method for method, _ in shown.choice.asked), DIFFERENCE]
    keep_among("map", options, DIFFERENCE)
    chosen = st.segmented_control(
        "Map of", options, default=DIFFERENCE, required=True, **bound("map"), help="difference: A minus B."
    )
    return chosen or DIFFERENCE


def _vertices(shown: Shown, subject: str) -> pd.DataFrame:
    asked = list(dict.fromkeys(method for method, _ in shown.choice.asked))
    return vertex_frame(shown.runs, shown.how, subject, asked, shown.source.dataset)
