"""Part of the Bottleneck page that shows the cortex: r, its difference to any other encoder, the ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from brainviz.figures.style import signed
from brainviz.figures.surface import correlation_scale, difference_scale
from brainviz.runs.bottleneck_specs import FULL
from brainviz.runs.store import Run
from brainviz.ui.binding import bound, keep_among, say_unknown
from brainviz.ui.bottleneck_encoders import (
    RECONSTRUCTION,
    Difference,
    R,
    averaged,
    difference,
    differences,
    encoders_of,
    label_of,
    spec_of,
    vertices_of,
)
from brainviz.ui.bottleneck_results import BottleneckResults
from brainviz.ui.bottleneck_views import pick_subject_shown, pick_variant, rounded, say_not_done
from brainviz.ui.brain import has_place, picked, show_brain, vertex_input
from brainviz.ui.downloads import csv_text, download, map_downloads
from brainviz.ui.look import Look
from brainviz.ui.map_picture import MapPicture
from brainviz.ui.regions import ceiling_of, regions_of, usual_borders
from brainviz.ui.viewer_plan import BrainMap
from brainviz.ui.words import count, unit_noun

#: What maps can be of.
TEST_R, DIFFERENCE, CEILING = "r", "difference", "reconstruction ceiling"

VERTEX = ["hemi", "column"]


@dataclass(frozen=True)
class Compared:
    """What a network is compared with.

    Attributes
    ----------
    name : str
    mine, runs : tuple of Run
        The network's own runs, and those of the other, of one subject; each stands for the mean over its seeds.
    what : str
        What of the other's vertices: its r, or the reconstruction ceiling.
    """

    name: str
    mine: tuple[Run, ...]
    runs: tuple[Run, ...]
    what: str = R


def show_map(shown: BottleneckResults) -> None:
    """Draw r of a subject's network on the cortex, or by how much it exceeds another encoder, or the ceiling."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        subject, variant = pick_subject_shown(shown), pick_variant(shown)
        options = [TEST_R, DIFFERENCE, CEILING]
        say_unknown("map_of", options, "map")
        chosen = st.segmented_control("Map of", options, default=TEST_R, required=True, **bound("map_of"))
    runs = shown.of(subject, variant)
    if not runs:
        say_not_done(subject, variant)
        return
    other = _pick_other(shown, subject, variant) if chosen == DIFFERENCE else None
    vertices = vertices_of(runs, RECONSTRUCTION if chosen == CEILING else R)
    name = f"{variant}, {CEILING}" if chosen == CEILING else variant
    if other is not None:
        vertices, name = less(other), f"{variant} − {other.name}"
        _show_difference(shown, subject, variant, other, vertices)
    _draw(shown, subject, vertices, name, (*runs, *(other.runs if other else ())), is_difference=other is not None)


def less(other: Compared) -> pd.DataFrame:
    """Return one value per vertex that both have: the network's r less the other's value.

    Returns
    -------
    frame
        ``hemi roi column position r other value``.
    """
    mine = vertices_of(other.mine).rename(columns={"value": "r"})
    theirs = vertices_of(other.runs, other.what).rename(columns={"value": "other"})
    both = mine.merge(theirs[[*VERTEX, "other"]], on=VERTEX)
    return both.assign(value=both["r"] - both["other"])


def _pick_other(shown: BottleneckResults, subject: str, variant: str) -> Compared:
    """Draw the choice of what is subtracted."""
    mine = tuple(shown.of(subject, variant))
    offered: dict[str, Compared] = {}
    for name in shown.variants:
        if name != variant and shown.of(subject, name):
            pairs = shown.paired(subject, variant, name)
            own, theirs = pairs or (mine, shown.of(subject, name))
            offered[name] = Compared(name, tuple(own), tuple(theirs))
    offered[CEILING] = Compared(CEILING, mine, mine, RECONSTRUCTION)
    for run in other_encoders(shown, subject):
        offered[label_of(run)] = Compared(label_of(run), mine, (run,))
    default = FULL if FULL in offered else next(iter(offered))
    keep_among("against", list(offered), default)
    say_unknown("against", list(offered), "encoder")
    chosen = st.selectbox(
        "Minus",
        list(offered),
        index=list(offered).index(default),
        **bound("against"),
        help="Another variant, the ceiling, or any finished encoder of this subject that was tested on the same "
        "pictures. More of them come from the page Encoding.",
        width=560,
    )
    return offered[chosen]


def other_encoders(shown: BottleneckResults, subject: str) -> list[Run]:
    """Return the finished encoders of a subject that are not on the page, and were tested on the same pictures."""
    mine = {run.id for _, run in shown.runs}
    split = shown.tested_on
    return [
        run
        for run in encoders_of(shown.source.index.fingerprint, subject)
        if run.id not in mine and split.items() <= spec_of(run).tested_on.items()
    ]


def _show_difference(
    shown: BottleneckResults, subject: str, variant: str, other: Compared, vertices: pd.DataFrame
) -> None:
    """Draw the mean difference with its interval, and the difference per ROI."""
    n, mean = int(vertices["value"].notna().sum()), vertices[["r", "other", "value"]].mean()
    of = f"{n:,} {unit_noun(shown.source.dataset.unit, n)}"
    between = interval_of(other)
    ends = f"{signed(between.low)} to {signed(between.high)}" if between and between.low == between.low else None
    with st.container(horizontal=True, gap="medium"):
        st.metric(f"Mean r, {variant}", signed(mean["r"]), help=f"Over {of} that both have.", width="content")
        short = other.name if other.name in (*shown.variants, CEILING) else "other"
        st.metric(f"Mean r, {short}", signed(mean["other"]), help=other.name, width="content")
        st.metric("Difference", signed(mean["value"]), ends, "off", width="content", delta_arrow="off")
    why = "95 %, paired bootstrap over test pictures"
    if other.what != R:
        why = "none, as the ceiling has no resamples"
    elif ends is None:
        why = "none over all, as the two share no resamples of the test pictures, or the other's ROIs overlap"
    seeds = f"; means over {count(len(other.mine), 'seed')}" if len(other.mine) > 1 else ""
    st.caption(f"Over {of} that both have{seeds}. Interval: {why}.")
    if other.what == R:
        table = differences(averaged(other.mine), averaged(other.runs))
        with st.expander("The difference per ROI", icon=":material/table_rows:"):
            st.dataframe(table, hide_index=True, column_config=rounded(["r", "other", "difference", "low", "high"]))
            provenance = shown.about(f"{variant} − {other.name}", (*other.mine, *other.runs), subject)
            download(
                "Differences, CSV",
                lambda: csv_text(table, provenance),
                f"{shown.stem}_{variant}_differences.csv",
                key="csv_differences",
            )


def interval_of(other: Compared) -> Difference | None:
    """Return the difference over all vertices of the other encoder, paired; None where its areas overlap."""
    if other.what != R or len(vertices_of(other.runs)) < len(other.runs[0].array("columns")):
        return None
    theirs = averaged(other.runs)
    return difference(averaged(other.mine), theirs, theirs.areas)


@st.fragment
def _draw(
    shown: BottleneckResults,
    subject: str,
    vertices: pd.DataFrame,
    name: str,
    runs: Sequence[Run],
    *,
    is_difference: bool,
) -> None:
    """Draw the map with the picked vertex's value; a click runs this part of the page alone."""
    mesh, values = shown.source.dataset.mesh, vertices["value"].to_numpy(np.float64)
    scale = difference_scale([values], f"Δr, {name}") if is_difference else correlation_scale([values])
    provenance = shown.about(name, runs, subject)
    regions, ceiling = regions_of(shown.source, subject), ceiling_of(shown.source, subject)
    one = BrainMap(name, vertices[["hemi", "column", "position", "value"]])
    if has_place(mesh):
        vertex_input()
        _say_picked(vertices, name)
    look = show_brain(
        [one],
        mesh,
        scale,
        provenance,
        Look(borders=usual_borders(regions, ())),
        key="bottleneck_brain",
        regions=regions,
        ceiling=ceiling,
    )
    map_downloads(
        one.values,
        vertices,
        MapPicture((one,), scale, provenance, look, regions, mesh, ceiling),
        [spec_of(run) for run in runs],
        label=scale.label,
        stem=f"{shown.source.key}_{subject}_bottleneck_map",
    )


def _say_picked(vertices: pd.DataFrame, name: str) -> None:
    """Say the mean value of the picked vertices."""
    if (chosen := picked()) is None:
        return
    hemi, positions = chosen
    held = vertices[(vertices["hemi"] == hemi) & vertices["position"].isin(positions)]["value"].dropna()
    where = f"{hemi} {positions[0]}" if len(positions) == 1 else f"the patch of {len(held)} vertices"
    st.caption(f"No value at {where}." if held.empty else f"{name} at {where}: {held.mean():.3f}")
