"""Parts of the Landscape page: maps of the models, the matrix, the axes, tests of groups, and the table."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from brainviz.encoding.summaries import EARLY
from brainviz.figures.landscape import ROI_ORDER, dissimilarity_heatmap, landscape_scatter, stress_curve
from brainviz.figures.style import PLOTLY_CONFIG
from brainviz.runs.landscape import MIN_MODELS, ORACLE
from brainviz.ui.binding import bound
from brainviz.ui.downloads import csv_text, download, figure_downloads
from brainviz.ui.laid_out import EMBEDDINGS, LaidOut

#: What the points' colours can mean.
COLOURS = ("roi", "group", "hemi", "subject", "method", "accuracy", "r")

#: The order of early areas in which the published landscape leaves the middle (methods, section 6), unions too.
PATH = ("hV4", "V3", "V2", "V1")
PATH_OF_PARTS = tuple(reversed(EARLY))

ALL = "all three"

#: What of a model is listed.
LISTED = ["model", "subject", "hemi", "roi", "method", "accuracy", "r", "map", "settings", "run"]


def show_maps(shown: LaidOut) -> None:
    """Draw the models as points, by one embedding or by all three of the same matrix."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        embedding = st.segmented_control(
            "Embedding",
            [*EMBEDDINGS, ALL],
            default="InPCA",
            required=True,
            **bound("embedding"),
            help="All axes of InPCA together keep the distances, signed. Metric MDS fits them. UMAP keeps neighbours.",
        )
        dimensions = st.segmented_control(
            "Dimensions", ["2", "3"], default="2", required=True, **bound("dimensions"), help="2: draw round models."
        )
        colour = st.selectbox("Colour", COLOURS, **bound("colour"), width=170)
        path = st.toggle("Order of the early areas", **bound("path"), help="From hV4 to V1, each hemisphere by itself.")
    names = list(EMBEDDINGS) if embedding == ALL else [str(embedding or "InPCA")]
    count = int(dimensions or 2)
    picked: list[str] = []
    for name in names:
        picked += _show_map(shown, name, count, str(colour), path=path, single=len(names) == 1)
    table = shown.models
    if picked:
        st.subheader("Selected models")
        table = table[table["model"].isin(picked)]
    else:
        # While dragging draws, a click selects nothing: so Streamlit has it.
        st.caption("Draw round models on a flat map to list these alone; after “Pan” above the map, click one.")
    _show_models(table)
    if table["r"].isna().any():
        st.caption("No mean r: the network has not been encoded yet, or is tuned to no ROI.")
    st.caption(
        f"Explained stress of InPCA's first {count} axes: {_stress(shown, count)}. Stress-1 (Kruskal) of MDS and UMAP: "
        f"{_kruskal(shown, 'mds', count)}, {_kruskal(shown, 'umap', count)}; 0 is a perfect map."
    )


def _show_map(shown: LaidOut, name: str, dimensions: int, colour: str, *, path: bool, single: bool) -> list[str]:
    """Draw one embedding; return the names of the models selected on it."""
    if not shown.has(name, dimensions):
        st.info(f"{name} needs at least {MIN_MODELS} models.", icon=":material/arrow_upward:")
        return []
    coordinates = dict(zip(shown.columns(name, dimensions), "xyz", strict=False))
    table = shown.models.rename(columns=coordinates)
    # hV4 has no parts, and does not tell which of the two is meant.
    whole = bool(set(PATH[1:]) & set(table["roi"]))
    figure = landscape_scatter(
        table,
        shown.provenance,
        colour=colour,
        dimensions=dimensions,
        axes=shown.axes(name, dimensions),
        path=(PATH if whole else PATH_OF_PARTS) if path else None,
        title="" if single else name,
    )
    selected: Any = st.plotly_chart(
        figure,
        config=PLOTLY_CONFIG,
        theme=None,
        key=f"landscape_{name}_{dimensions}",
        on_select="rerun",
        selection_mode=("points", "box", "lasso"),
        alt=f"{name} of {len(table)} models, coloured by {colour}",
    )
    of = "Coordinates" if single else f"Coordinates {name}"
    figure_downloads(of, shown.models, figure, [shown.run.spec], shown.stem, shown.provenance)
    return [point["customdata"][1] for point in selected.selection.points if point.get("customdata")]


def _show_models(table: pd.DataFrame) -> None:
    # Untuned first, then by area, as figures have them; what is no network last.
    ranks = {name: rank for rank, name in enumerate(("", *ROI_ORDER))}
    known = table["roi"].fillna("").map(lambda roi: ranks.get(roi, len(ranks)))
    ordered = table.assign(rank=known.where(table["method"] != ORACLE, len(ranks) + 1))
    st.dataframe(
        ordered.sort_values(["rank", "roi", "hemi", "subject", "method"])[LISTED],
        hide_index=True,
        column_config={
            "map": st.column_config.LinkColumn(display_text="see its map"),
            "settings": st.column_config.LinkColumn(display_text="see its run"),
            "accuracy": st.column_config.NumberColumn(format="percent"),
            "r": st.column_config.NumberColumn("mean r", format="%.3f"),
        },
    )


def _stress(shown: LaidOut, count: int) -> str:
    value = shown.run.result()["stress"][count - 1]
    return "–" if value is None else f"{value:.0%}"


def _kruskal(shown: LaidOut, name: str, count: int) -> str:
    value = shown.run.result().get(f"{name}_stress_{count}d")
    return "–" if value is None else f"{value:.2f}"


def show_matrix(shown: LaidOut) -> None:
    """Draw all dissimilarities, alike models beside each other."""
    models = shown.models
    groups = st.selectbox("Strips", ["group", "hemi", "subject", "method", "roi"], **bound("strips"), width=170)
    figure = dissimilarity_heatmap(
        shown.dissimilarity,
        models["model"].tolist(),
        shown.order.tolist(),
        shown.provenance,
        groups=models[groups].tolist(),
        highest=shown.highest,
    )
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="matrix", alt="Dissimilarities of all models")
    st.caption("Bhattacharyya dissimilarity, nats, ordered by average linkage.")
    table = pd.DataFrame(shown.dissimilarity, columns=models["model"])
    table.insert(0, "model", models["model"])
    figure_downloads("Matrix", table, figure, [shown.run.spec], shown.stem, shown.provenance)


def show_axes(shown: LaidOut) -> None:
    """Draw how much of the matrix the first InPCA axes explain."""
    result = shown.run.result()
    figure = stress_curve(result["stress"], result["signs"], shown.provenance)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="stress", alt="Explained stress of InPCA's axes")
    table = pd.DataFrame({name: result[name] for name in ("eigenvalues", "signs", "stress")})
    table.insert(0, "axis", range(1, len(table) + 1))
    figure_downloads("Axes", table, figure, [shown.run.spec], shown.stem, shown.provenance)


def show_groups(shown: LaidOut) -> None:
    """Draw the tests of whether groups of models lie apart."""
    tests = pd.DataFrame(shown.run.result()["tests"])
    if tests.empty:
        st.info("Tests need tuned models of two groups or more.", icon=":material/arrow_upward:")
        return
    st.dataframe(
        tests,
        hide_index=True,
        column_config={
            "among": st.column_config.TextColumn(help="all: all tuned models. early: those of early areas."),
            "statistic": st.column_config.NumberColumn("pseudo-F", format="%.2f"),
            "p": st.column_config.NumberColumn(format="%.4f"),
            "silhouette": st.column_config.NumberColumn(format="%.2f"),
        },
    )
    st.caption(
        "Permutation test of group differences (PERMANOVA, Anderson 2001) on the roots of the dissimilarities, whose "
        "squares InPCA's geometry is about. It takes models for exchangeable; networks of one subject are alike in "
        "more than their group, so that p is rough. Silhouette: 1, groups far apart; 0, one heap; below, mixed."
    )
    content = partial(csv_text, tests, shown.provenance)
    download("Tests, CSV", content, f"{shown.stem}_tests.csv", key="csv_tests")
