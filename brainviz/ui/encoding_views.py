"""Parts of the Encoding page: what to show, the map, r per ROI, r per vertex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import streamlit as st

from brainviz.encoding.metrics import share_improved
from brainviz.figures.bars import correlation_bars, improved_bars
from brainviz.figures.scatter import vertex_scatter
from brainviz.figures.style import PLOTLY_CONFIG, Provenance
from brainviz.figures.surface import correlation_scale, difference_scale
from brainviz.runs.specs import Spec
from brainviz.runs.store import Run
from brainviz.ui.binding import bound
from brainviz.ui.brain import brain_controls, show_brain
from brainviz.ui.comparison import QUANTITIES, EncodingResult, improved_frame, one_per_vertex, roi_frame
from brainviz.ui.downloads import csv_text, download, map_downloads
from brainviz.ui.sources import Source

Results = Mapping[tuple[str, str, str], EncodingResult]

#: Names of the maps in words.
QUANTITY_WORDS = {
    "untuned": "test r, untuned",
    "contrastive": "test r, contrastive",
    "difference": "test r, contrastive minus untuned",
}


def pick_layers() -> bool:
    """Draw the choice of layers; return whether all candidate layers are to be tried."""
    chosen = st.segmented_control(
        "Layers",
        ["logits", "all"],
        default="logits",
        required=True,
        **bound("layers"),
        help="logits: the network's last layer alone, as in the poster. all: the best of the candidate layers, chosen "
        "per ROI and method by cross-validation inside the training pictures; it takes longer.",
    )
    return chosen == "all"


def show_summary(results: Results, vertices: pd.DataFrame) -> None:
    """Draw the figures that answer the page's question, over all vertices shown."""
    once = one_per_vertex(vertices)
    columns = st.columns(5)
    for column, method in zip(columns, ("untuned", "contrastive"), strict=False):
        known = once[method].notna().any()
        column.metric(f"Mean r, {method}", f"{once[method].mean():.3f}" if known else "not run yet")
    both = bool(once["difference"].notna().any())
    columns[2].metric("Difference", f"{once['difference'].mean():+.3f}" if both else "–")
    columns[3].metric(
        "Vertices improved",
        f"{share_improved(once['contrastive'], once['untuned']):.0%}" if both else "–",
        help="Share of the vertices whose r is higher after tuning.",
    )
    columns[4].metric("Vertices", f"{len(once):,}", help="Each counted once, also where ROIs overlap.")
    undefined = sum(result.scalars["nan_vertices"] for result in results.values())
    if undefined:
        st.caption(
            f"{undefined:,} values of r are undefined, as the response or its prediction is constant on test pictures; "
            "they are left out of all means."
        )


def pick_quantity() -> str:
    """Draw the choice of map."""
    chosen = st.segmented_control("Map of", QUANTITIES, default="difference", required=True, **bound("map"))
    return chosen or "difference"


def available(quantity: str, vertices: pd.DataFrame) -> str:
    """Return the quantity if its runs are there; otherwise one whose runs are, with a word."""
    if vertices[quantity].notna().any():
        return quantity
    instead = next(name for name in QUANTITIES if vertices[name].notna().any() or name == QUANTITIES[-1])
    needed = "both methods" if quantity == "difference" else f"the {quantity} runs"
    st.info(f"This map needs {needed}. Until they are there, you see: {QUANTITY_WORDS[instead]}.")
    return instead


def show_map(
    vertices: pd.DataFrame, source: Source, specs: Sequence[Spec], runs: Sequence[Run], provenance: Provenance
) -> None:
    """Draw the map on both hemispheres, with its controls and downloads."""
    mesh = source.dataset.mesh
    quantity = available(pick_quantity(), vertices)
    view = brain_controls(mesh)
    once = one_per_vertex(vertices)
    values = once.assign(value=once[quantity])[["hemi", "column", "position", "value"]]
    if quantity == "difference":
        scale = difference_scale([values["value"].to_numpy()])
    else:
        # One scale for both methods, so that the two maps can be compared by eye.
        scale = correlation_scale([once["untuned"].to_numpy(), once["contrastive"].to_numpy()])
    methods = ("contrastive", "untuned") if quantity == "difference" else (quantity,)
    provenance = with_runs(provenance, runs, methods, " − ".join(methods))
    figure = show_brain(values, mesh, scale, provenance, view, key="brain")
    map_downloads(
        values,
        vertices,
        figure,
        specs,
        mesh=mesh,
        label=QUANTITY_WORDS[quantity],
        stem=f"{source.key}_{provenance.subject}_{quantity}",
        provenance=provenance,
    )


def show_rois(results: Results, vertices: pd.DataFrame, runs: Sequence[Run], provenance: Provenance) -> None:
    """Draw r per ROI for both methods, the share of vertices improved, and the table of scalars."""
    scores, improved = roi_frame(results), improved_frame(vertices)
    provenance = with_runs(provenance, runs, ("untuned", "contrastive"), "untuned, contrastive")
    left, right = st.columns([3, 2])
    left.plotly_chart(
        correlation_bars(scores, provenance),
        config=PLOTLY_CONFIG,
        theme=None,
        key="roi_bars",
        alt="Mean test r per ROI and method",
    )
    if improved.empty:
        right.info("The share of vertices improved needs both methods.", icon=":material/hourglass_empty:")
    else:
        right.plotly_chart(
            improved_bars(improved, replace(provenance, runs=())),
            config=PLOTLY_CONFIG,
            theme=None,
            key="improved_bars",
            alt="Share of vertices improved per ROI",
        )
    rounded = st.column_config.NumberColumn(format="%.3f")
    columns = dict.fromkeys(("r_mean", "r_median", "cv_r_mean", "cv_r_median"), rounded)
    st.dataframe(scores, hide_index=True, column_config=columns)
    st.caption(
        "r is on test pictures; cv_r is cross-validated inside the training pictures, where layer and penalty "
        "are chosen."
    )
    download("ROIs, CSV", lambda: csv_text(scores, provenance), f"{provenance.subject}_rois.csv", key="csv_rois")


def show_vertices(vertices: pd.DataFrame, runs: Sequence[Run], provenance: Provenance) -> None:
    """Draw one point per vertex."""
    if not vertices["difference"].notna().any():
        st.info("The comparison per vertex needs both methods.", icon=":material/hourglass_empty:")
        return
    provenance = with_runs(provenance, runs, ("untuned", "contrastive"), "untuned, contrastive")
    chart, _ = st.columns([2, 1])
    chart.plotly_chart(
        vertex_scatter(one_per_vertex(vertices), provenance),
        config=PLOTLY_CONFIG,
        theme=None,
        key="scatter",
        alt="Test r after tuning over test r before, per vertex",
    )
    st.caption("Points above the dotted line are vertices that are predicted better after tuning.")


def with_runs(provenance: Provenance, runs: Sequence[Run], methods: Sequence[str], words: str) -> Provenance:
    """Return the provenance with the runs of these methods and the method in words."""
    ids = tuple(run.id for run in runs if getattr(run.spec, "method", None) in methods)
    return replace(provenance, method=words, runs=ids)
