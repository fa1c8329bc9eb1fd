"""Part of the Concepts page that lays vertices out by their decoding weights, side by side with the cortex."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERES
from brainviz.figures.contact_sheet import contact_sheet
from brainviz.figures.style import PLOTLY_CONFIG, signed
from brainviz.figures.weight_map import weight_map
from brainviz.runs import share
from brainviz.ui.binding import bound, say_unknown
from brainviz.ui.brain import has_place, picked
from brainviz.ui.concept_cortex import show_cortex
from brainviz.ui.concept_results import ConceptResults, unit_weights
from brainviz.ui.concept_search import picture_vectors
from brainviz.ui.downloads import figure_downloads
from brainviz.ui.errors import plain

#: What the points' colours can mean.
COLOURS = ("concept", "subject", "hemi", "roi")

#: Concepts that have a colour and a name on the map, the largest; and what the others are called.
MOST_NAMED, OTHERS = 40, "other concepts"

#: Pictures of a selection, most and least associated each.
PICTURES = 10

#: Picked vertices that are placed by those with the most similar weights, at most.
MOST_PLACED = 500

#: ROIs that overlap with others name no vertex.
PASSED_OVER = ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal", "early-visual")


def show_weight_space(shown: ConceptResults) -> None:
    """Draw the map of weights; what is lassoed there is shown on the cortex, and what is picked there, here."""
    if not shown.has(share.MAP):
        st.info("This run has no map: it was asked for without one, or has too few vertices.", icon=":material/info:")
        return
    say_unknown("map_colour", COLOURS, "colour")
    colour = st.segmented_control("Colour", COLOURS, default="concept", required=True, **bound("map_colour"))
    table = map_table(shown)
    by = str(colour or "concept")
    remembered = _Lasso.of(shown.run.id)
    patch = _on_map(shown, table) or remembered.points
    orders = {"concept": [*shown.labels[:MOST_NAMED], OTHERS], "subject": shown.subjects}
    figure = weight_map(table, shown.provenance, colour=by, highlight=patch, order=orders.get(by, ()))
    selected: Any = st.plotly_chart(
        figure,
        config=PLOTLY_CONFIG,
        theme=None,
        key="weight_map",
        on_select="rerun",
        selection_mode=("lasso", "box"),
        alt="Vertices by their decoding weights",
    )
    st.caption(
        f"UMAP on the cosine distance of decoding weights, of {len(table):,} vertices: as many of concepts as others, "
        "where there are so many. Draw round vertices to see what they have in common, and where they lie. Vertices "
        "drawn round, or picked on the cortex, have a ring here."
    )
    figure_downloads("Map", table, figure, [shown.spec], f"{shown.stem}_weights", shown.provenance)
    points = [int(point["customdata"][0]) for point in selected.selection.points if point.get("customdata")]
    if remembered.follow(points):
        st.rerun()  # rings are drawn before
    if remembered.points:
        st.button("Forget the selection", icon=":material/deselect:", on_click=remembered.forget)
        _show_selection(shown, np.array(remembered.points))
    elif has_place(shown.source.dataset.mesh):
        st.markdown("**Cortex**")
        st.caption(
            "Vertices of concepts; colour: cosine of a vertex's weights with its own concept. Pick a vertex, or draw "
            "round a patch, to see where it lies in the map."
        )
        inside = shown.points["concept"] >= 0
        values = shown.points[["subject", "hemi", "column", "position"]].assign(
            value=np.where(inside, _own_cosines(shown), np.nan)
        )
        show_cortex(shown, values, "cosine with the own concept", f"{shown.stem}_own")


def map_table(shown: ConceptResults) -> pd.DataFrame:
    """Return the mapped vertices: ``x y concept subject hemi roi point``."""
    return _map_table(shown.run.id, tuple(shown.labels), shown)


@st.cache_data(show_spinner=False, max_entries=8)
def _map_table(run_id: str, labels: tuple[str, ...], _shown: ConceptResults) -> pd.DataFrame:
    drawn, places = (np.load(_shown.run.file(name)) for name in (share.MAP_POINTS, share.MAP))
    points = _shown.points.iloc[drawn]
    concept = [
        "none" if number < 0 else labels[number] if number < MOST_NAMED else OTHERS for number in points["concept"]
    ]
    return pd.DataFrame(
        {
            "x": places[:, 0],
            "y": places[:, 1],
            "concept": concept,
            "subject": points["subject"].to_numpy(),
            "hemi": points["hemi"].to_numpy(),
            "roi": _rois(_shown)[drawn],
            "point": drawn,
        }
    )


def _rois(shown: ConceptResults) -> NDArray[np.object_]:
    """Return one ROI of every vertex; empty where it is in none. Streams and unions name no vertex."""
    names = np.full(len(shown.points), "", dtype=object)
    for subject in shown.subjects:
        for hemi in HEMISPHERES:
            own = np.flatnonzero((shown.points["subject"] == subject) & (shown.points["hemi"] == hemi))
            if not len(own):
                continue
            columns = shown.points["column"].to_numpy()[own]
            for roi, mask in shown.source.dataset.rois(subject, hemi).items():
                if roi not in PASSED_OVER:
                    free = mask[columns] & (names[own] == "")
                    names[own[free]] = roi
    return names


def _own_cosines(shown: ConceptResults) -> NDArray[np.float32]:
    """Return the cosine of every vertex's weights with its own concept; 0 where it has none."""
    labels = shown.points["concept"].to_numpy()
    inside = np.flatnonzero(labels >= 0)
    cosines = np.zeros(len(labels), np.float32)
    directions = np.asarray(shown.directions)
    weights = unit_weights(shown.run.id, shown.spec)
    cosines[inside] = np.einsum("np,np->n", weights[inside], directions[labels[inside]])
    return cosines


def _on_map(shown: ConceptResults, table: pd.DataFrame) -> list[int]:
    """Return the mapped points that are picked on the cortex."""
    chosen = picked()
    if chosen is None:
        return []
    hemi, vertices = chosen
    points = shown.points.iloc[table["point"]]
    here = (points["hemi"] == hemi) & points["position"].isin(vertices)
    who = st.session_state.get("who", st.query_params.get("who"))  # its control is drawn further down
    who = who if who in shown.subjects else shown.subjects[0]
    here &= points["subject"] == who
    found: list[int] = table["point"].to_numpy()[here.to_numpy()].tolist()
    if found:
        return found
    own = (shown.points["subject"] == who) & (shown.points["hemi"] == hemi) & shown.points["position"].isin(vertices)
    used = np.flatnonzero(own)
    if not len(used):
        st.caption(f"{plain(str(who))} has no decoded vertex there: {hemi} {', '.join(map(str, vertices[:5]))}.")
        return []
    mapped = table["point"].to_numpy()
    weights = unit_weights(shown.run.id, shown.spec)
    nearest = np.unique(mapped[(weights[used[:MOST_PLACED]] @ weights[mapped].T).argmax(axis=1)])
    st.caption("The picked vertices are not in the map's sample: rings are round those with the most similar weights.")
    return [int(point) for point in nearest]


@dataclass
class _Lasso:
    """The vertices that were drawn round, which a session keeps when the figure is drawn in other colours."""

    drawn: list[int] = field(default_factory=list)
    points: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, run_id: str) -> _Lasso:
        lasso: _Lasso = st.session_state.setdefault(f"_lasso {run_id}", cls())
        return lasso

    def follow(self, drawn: list[int]) -> bool:
        """Take over a new selection; an empty one, which a figure drawn anew has, is none. Return whether it is new."""
        new = bool(drawn) and drawn != self.drawn
        self.drawn = drawn
        if new:
            self.points = drawn
        return new

    def forget(self) -> None:
        self.points = []


def _show_selection(shown: ConceptResults, points: NDArray[np.int64]) -> None:
    """Draw what the selected vertices have in common: pictures, and where they lie."""
    direction = unit_weights(shown.run.id, shown.spec)[points].mean(axis=0)
    cosines = picture_vectors(shown) @ (direction / max(float(np.linalg.norm(direction)), 1e-12))
    order = np.argsort(-cosines, kind="stable")
    st.subheader(f"{len(points)} selected vertices")
    for label, numbers in (
        ("Pictures most like their mean direction", order[:PICTURES]),
        ("Least like it", order[::-1][:PICTURES]),
    ):
        labels = [signed(cosines[number], 2) for number in numbers]
        st.caption(label)
        st.image(contact_sheet(shown.thumbnails(numbers.tolist()), columns=PICTURES, labels=labels), width="stretch")
    chosen = shown.points.iloc[points]
    counts = chosen.assign(concept=np.where(chosen["concept"] < 0, "none", chosen["concept"].astype(str)))
    st.dataframe(
        counts.groupby(["subject", "hemi", "concept"]).size().rename("vertices").reset_index(), hide_index=True
    )
    values = shown.vertex_cosines(direction)
    mask = np.zeros(len(values), bool)
    mask[points] = True
    show_cortex(shown, values.assign(value=values["value"].where(mask)), "selected vertices", f"{shown.stem}_selected")
