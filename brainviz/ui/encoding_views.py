"""Parts of the Encoding page that show methods per ROI, per group of ROIs and per layer, and everything as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from brainviz.encoding import published
from brainviz.figures.bars import correlation_bars, difference_bars, group_bars, improved_bars
from brainviz.figures.layers import layer_heatmap
from brainviz.figures.style import PLOTLY_CONFIG
from brainviz.ui.binding import bound, say_unknown
from brainviz.ui.comparison import TEST_R, ceiling_band, over_subjects
from brainviz.ui.downloads import csv_text, download, figure_downloads, json_text
from brainviz.ui.shown import Shown
from brainviz.ui.words import unit_noun

if TYPE_CHECKING:
    import plotly.graph_objects as go


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


def pick_view(views: Sequence[str]) -> str:
    """Draw the switch between the views; a page draws only the one that is chosen."""
    say_unknown("show", views, "view")
    chosen = st.segmented_control(
        "View of the results", views, default=views[0], required=True, **bound("show"), label_visibility="collapsed"
    )
    return chosen or views[0]


# --- per ROI ----------------------------------------------------------------------------------------------------------


def show_rois(shown: Shown) -> None:
    """Draw r per ROI and method, and the difference of the pair with the share of vertices improved."""
    scores = shown.rows[["subject", "hemi", "roi", "method", "r", "low", "high", "layer", "n_vertices", "part_of"]]
    several = len(shown.subjects) > 1
    beside = _published_rois(shown)
    by = ["hemi", "roi", "method"]
    provenance = shown.about(shown.methods)
    figure = correlation_bars(
        scores,
        provenance,
        ceiling=ceiling_band(shown.rows),
        published=beside,
        spread=over_subjects(scores, by, "r") if several else None,
        label=f"mean {shown.how.score_words}",
    )
    _chart(figure, "roi_bars", "Mean r per ROI and method")
    if (scores["part_of"] != "").any():
        st.caption(
            "ROIs that were not chosen by themselves are parts of “all”: their tuned networks are those tuned on all "
            f"{unit_noun(shown.source.dataset.unit)} of the hemisphere."
        )
    table = scores if beside is None else scores.merge(beside.rename(columns={"r": "r_published"}), on=by, how="left")
    figure_downloads("ROIs", table, figure, shown.specs(), shown.stem, provenance)
    if not _has_differences(shown):
        return
    assert shown.pair
    first, second = shown.pair
    st.subheader(f"{first.capitalize()} against {second}")
    differences = shown.differences
    provenance = shown.about(shown.pair, f"{first} − {second}")
    keys = ["hemi", "roi"]
    figure = difference_bars(
        differences,
        provenance,
        first=first,
        second=second,
        spread=over_subjects(differences, keys, "difference") if several else None,
    )
    _chart(figure, "difference_bars", f"{first} minus {second} per ROI")
    if differences["significant"].isna().any() and shown.how.score == TEST_R:
        st.caption("What is not tested yet can be tested: view “Tests”.")
    figure_downloads("Differences", differences, figure, [*shown.specs(), *shown.tests], shown.stem, provenance)
    figure = improved_bars(
        differences,
        provenance,
        first=first,
        second=second,
        spread=over_subjects(differences, keys, "improved") if several else None,
    )
    _chart(figure, "improved_bars", "Share improved per ROI")
    st.caption(
        "The share improved carries no bootstrap interval: resampling pictures adds noise to every vertex's "
        "difference, which draws the share towards one half. "
        + ("The bars' intervals are over subjects." if several else "Choose several subjects to see its spread.")
    )
    shares = differences[["subject", "hemi", "roi", "n_vertices", "improved"]]
    figure_downloads("Improved", shares, figure, shown.specs(), shown.stem, provenance)


def _has_differences(shown: Shown) -> bool:
    """Return whether there is a difference to show; if not, say what it needs."""
    if shown.pair and not shown.summary.differences.empty:
        return True
    if shown.how.pair:
        missing = [method for method in shown.how.pair if method not in shown.methods]
        needs = f"the {' and '.join(missing)} runs" if missing else "a ROI that both methods have"
        st.info(
            f"The difference of {' and '.join(shown.how.pair)} needs {needs}: “Start encoding” above computes them.",
            icon=":material/hourglass_empty:",
        )
    else:
        st.info("Choose two methods to see their difference.", icon=":material/arrow_upward:")
    return False


def _published_rois(shown: Shown) -> pd.DataFrame | None:
    """Return the published values per ROI if they are wanted, with a word on them."""
    if not shown.how.published:
        return None
    values = published.published_rois()
    here = values["roi"].isin(set(shown.rows["roi"])) & values["method"].isin(shown.methods)
    if not here.any():
        named = ", ".join(dict.fromkeys(values["roi"]))
        st.info(
            f"Nothing is published for these ROIs and methods. Published are: {named}.", icon=":material/menu_book:"
        )
        return None
    _cite_published()
    return values


def _cite_published() -> None:
    st.caption(
        ":material/menu_book: Published values are of other data and another protocol, which the figure's note tells. "
        f"Source: {published.SOURCE}."
    )


# --- per group --------------------------------------------------------------------------------------------------------


def show_groups(shown: Shown) -> None:
    """Draw r per group of ROIs, per subject and over subjects, with the differences of the pair."""
    groups = shown.summary.groups
    if groups.empty:
        st.info(
            "None of the chosen ROIs that all methods have belongs to a group. Groups are made of single ROIs, such as "
            "V1v, V1d, hV4, EBA or PPA, and of streams; choose these, or “all”.",
            icon=":material/arrow_upward:",
        )
        return
    several = len(set(groups["subject"])) > 1
    beside = published.published_groups() if shown.how.published else None
    if beside is not None:
        _cite_published()
    provenance = shown.about(shown.methods)
    over = over_subjects(groups, ["group", "method"], "r")
    figure = group_bars(
        groups,
        provenance,
        published=beside,
        spread=over if several else None,
        label=f"mean {shown.how.score_words}",
    )
    _chart(figure, "group_bars", "Mean r per group of ROIs and method")
    st.caption(
        "A group's r is the mean over its ROIs and hemispheres, each counting once, of those chosen that every method "
        "has in the subject. Unions such as V1 are in no group, since their parts are. Shown here: "
        + ", ".join(f"{group} of {n:g}" for group, n in groups.groupby("group", sort=False)["n_rois"].mean().items())
        + "."
    )
    figure_downloads("Groups", groups, figure, shown.specs(), shown.stem, provenance)
    if several:
        st.markdown("**Over subjects**")
        _numbers(over)
    st.markdown("**Per subject**")
    _numbers(groups)
    if not _has_differences(shown):
        return
    assert shown.pair
    first, second = shown.pair
    found = shown.summary.group_differences
    st.markdown(f"**{first.capitalize()} minus {second}**")
    if several:
        both = [over_subjects(found, ["group"], value).assign(of=value) for value in ("difference", "improved")]
        _numbers(pd.concat(both)[["group", "of", "n_subjects", "mean", "sd", "low", "high"]])
    if beside is not None and (first, second) == ("contrastive", "untuned"):
        improved = published.published_improved().rename(columns={"improved": "improved, published"})
        _numbers(found.merge(improved, on="group", how="left"))
        st.caption(f":material/menu_book: improved, published: {published.IMPROVED_PROTOCOL}")
    else:
        _numbers(found)
    download(
        "Group differences, CSV",
        lambda: csv_text(found, shown.about((first, second), f"{first} − {second}")),
        f"{shown.stem}_group_differences.csv",
        key="csv_group_differences",
    )


# --- layers -----------------------------------------------------------------------------------------------------------


def show_layers(shown: Shown) -> None:
    """Draw which layer won where."""
    if len(shown.layers) == 1:
        st.info(
            f"Only {shown.layers[0]} was fitted. Choose Layers: all above, to see which layer predicts a ROI best.",
            icon=":material/arrow_upward:",
        )
        return
    rows = shown.table.assign(cv_r=shown.table["cv_r_mean"])
    rows = rows[["subject", "hemi", "roi", "method", "layer", "cv_r", "own"]]
    provenance = shown.about(shown.methods, how="cross-validated r inside the training pictures, every layer")
    figure = layer_heatmap(rows, provenance)
    _chart(figure, "layer_heatmap", "Cross-validated r per ROI and layer")
    st.caption(
        "The best layer is chosen by cross-validated r inside the training pictures, so that the test r of that layer "
        "is not chosen on. Tuned networks have seen the responses there: compare their layers, not their "
        "cross-validated r with that of other methods."
    )
    figure_downloads("Layers", rows, figure, shown.specs(), shown.stem, provenance)


# --- everything -------------------------------------------------------------------------------------------------------

#: Columns of the table that the page shows, and of them those that are rounded.
TABLE_COLUMNS = (
    *("subject", "hemi", "roi", "method", "layer", "own", "n_vertices", "nan_vertices", "r_mean", "r_low", "r_high"),
    *(
        "r_median",
        "cv_r_mean",
        "cv_r_median",
        "protocol_r_mean",
        "protocol_own",
        "ceiling",
        "ceiling_r",
        "r_over_ceiling",
        "no_ceiling",
    ),
    *("algonauts_score", "part_of", "run"),
)


def show_table(shown: Shown) -> None:
    """Draw everything per subject, hemisphere, ROI, method and layer."""
    table = shown.table[list(TABLE_COLUMNS)]
    drawn = table.assign(run=table["run"].str[:8], part_of=table["part_of"].replace("", None))
    _numbers(drawn.dropna(axis="columns", how="all"))
    st.caption(
        "One row per layer; “own” marks a method's own best layer. r is on test pictures, with its 95 % bootstrap "
        "interval over them; cv_r is cross-validated inside the training pictures, where layer and penalty are chosen, "
        "and too high for tuned networks, which have seen the responses there; protocol_r, the authors' protocol, is "
        "cross-validated inside the test pictures."
    )
    provenance = shown.about(shown.methods)
    with st.container(horizontal=True):
        download("Table, CSV", lambda: csv_text(table, provenance), f"{shown.stem}_encoding.csv", key="csv_table")
        download(
            "Requests, JSON",
            lambda: json_text(shown.specs(), provenance),
            f"{shown.stem}_encoding.json",
            key="json_table",
        )


# --- shared -----------------------------------------------------------------------------------------------------------


def _chart(figure: go.Figure, key: str, alt: str) -> None:
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key=key, alt=alt)


def _numbers(frame: pd.DataFrame) -> None:
    """Draw a table with its fractions rounded."""
    rounded = st.column_config.NumberColumn(format="%.3f")
    fractions = [name for name in frame.columns if pd.api.types.is_float_dtype(frame[name])]
    st.dataframe(frame, hide_index=True, column_config=dict.fromkeys(fractions, rounded))
