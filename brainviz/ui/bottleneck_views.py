"""Parts of the Bottleneck page: the outcome in numbers, the race of the hemispheres, ablations, ROIs, the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from brainviz.datasets.base import ALL_VERTICES, HEMISPHERE_NAMES
from brainviz.figures.ablations import ablation_chart, variant_bars
from brainviz.figures.racing import race_chart
from brainviz.figures.style import PLOTLY_CONFIG
from brainviz.runs.bottleneck_specs import FULL
from brainviz.ui.binding import bound, keep_among, keep_those_among, say_unknown
from brainviz.ui.bottleneck_encoders import DIGITS
from brainviz.ui.bottleneck_results import KEYS, BottleneckResults, band
from brainviz.ui.comparison import over_subjects
from brainviz.ui.downloads import csv_text, download, figure_downloads, json_text
from brainviz.ui.errors import plain
from brainviz.ui.regions import OVERLAPPING, in_sets
from brainviz.ui.words import count

#: The ROI that is every vertex, among the sets of ROIs.
EVERYTHING = "All vertices"

#: How columns of the ablations are headed.
HEADINGS = {
    "n_seeds": "seeds",
    "n_subjects": "subjects",
    "r": "mean r",
    "sd": "SD over seeds",
    "difference": "less full",
    "difference_low": "its low",
    "difference_high": "its high",
    "plain_r": "r without noise",
    "reconstruction_r": "reconstruction ceiling",
    "algonauts_score": "Algonauts score",
    "epochs": "epoch kept",
    "epoch": "epoch kept, mean",
}


def show_overview(shown: BottleneckResults) -> None:
    """Draw the numbers of the first variant that is done, over its subjects, and say what is missing."""
    variant = shown.variants[0]
    scores = shown.scores[shown.scores["variant"] == variant]
    several = len(scores) > 1
    over = over_subjects(scores, ["variant"], "r") if several else scores
    low, high = over[["low", "high"]].iloc[0]
    mean = scores[["r", "plain_r", "reconstruction_r", "algonauts_score"]].mean()
    numbers = {
        f"Mean r, {variant}": (f"{mean['r']:.3f}", f"{low:.3f} to {high:.3f}" if low == low else None),
        "Reconstruction ceiling": (f"{mean['reconstruction_r']:.3f}", None),
        "r without noise": (f"{mean['plain_r']:.3f}", None),
        "Epoch kept": (_span(" ".join(scores["epochs"])), None),
    }
    if mean["algonauts_score"] == mean["algonauts_score"]:
        numbers["Algonauts score"] = (f"{mean['algonauts_score']:.1f}", None)
    with st.container(horizontal=True, gap="small"):
        for label, (value, between) in numbers.items():
            st.metric(label, value, between, "off", help=HELP.get(label), width="content", delta_arrow="off")
    n_seeds = int(scores["n_seeds"].max())
    of = (
        f"{count(len(scores), 'subject')}, {count(n_seeds, 'seed')} each"
        if n_seeds > 1
        else count(len(scores), "subject")
    )
    how = f"95 % of the mean over {len(scores)} subjects (t)" if several else "95 %, bootstrap over test pictures"
    st.caption(f"Mean over all vertices of both hemispheres, on test pictures; of {of}. Interval: {how}.")
    _say_ceiling(shown, scores["subject"].tolist())
    if shown.missing:
        st.caption(f":material/hourglass_empty: Not done yet: {plain(', '.join(shown.missing))}.")


HELP = {
    "Reconstruction ceiling": "Mean r of the test responses with what their own principal components give back. No "
    "prediction of these components can be expected to do better.",
    "r without noise": "The leaking network predicts with noise, always the same. This is its mean r without; a "
    "network without a leak has no noise.",
    "Epoch kept": "Of the own training: the one with the highest r on validation pictures, of all subjects and seeds.",
    "Algonauts score": "Mean share of the noise ceiling, r² / NC, in percent.",
}


def _say_ceiling(shown: BottleneckResults, subjects: Sequence[str]) -> None:
    """Say what would give a noise ceiling, where a subject has none."""
    dataset = shown.source.dataset
    for subject in subjects:
        for hemi in dataset.hemispheres(subject):
            if hint := dataset.noise_ceiling_hint(subject, hemi):
                st.caption(f"No Algonauts score of {plain(subject)} without a noise ceiling. {plain(hint)}")
                return


# --- the race ---------------------------------------------------------------------------------------------------------


def show_race(shown: BottleneckResults) -> None:
    """Draw the curves of both hemispheres for a subject and variant, and say which lagged, for all."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        subject, variant = pick_subject_shown(shown), pick_variant(shown)
    if not (runs := shown.of(subject, variant)):
        say_not_done(subject, variant)
        return
    race = shown.race(subject, variant)
    provenance = shown.about(f"{variant}, training", runs, subject)
    figure = race_chart(race, provenance)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="race", alt=f"Training of {subject}, {variant}")
    lags = shown.lags
    for row in lags[(lags["subject"] == subject) & (lags["variant"] == variant)].itertuples():
        st.markdown(f"**{str(row.stage).capitalize()}:** {lag_words(row)}")
    if variant in ("plain cosine", "MSE"):
        st.caption("Nothing in this variant's loss pushes the hemisphere that lags.")
    figure_downloads("Race", race, figure, shown.specs(subject, variant), f"{shown.stem}_{variant}", provenance)
    if len(lags) > 2:
        st.markdown("**Which hemisphere lagged**")
        st.dataframe(lags.rename(columns=LAG_HEADINGS), hide_index=True, column_config=rounded(["S left − right"]))
        download("Lags, CSV", lambda: csv_text(lags, provenance), f"{shown.stem}_lags.csv", key="csv_lags")


LAG_HEADINGS = {
    "lh": "left lagged",
    "rh": "right lagged",
    "last": "lags at the end",
    "gap": "S left − right",
    "kept": "epoch kept",
}


def lag_words(row: Any) -> str:
    """Return in a sentence or two which hemisphere lagged in a stage, and which epoch was kept.

    Parameters
    ----------
    row : named tuple
        What `brainviz.ui.bottleneck_results.lag_row` says.
    """
    lagged = {"lh": row.lh, "rh": row.rh}
    most, other = sorted(lagged, key=lambda hemi: -lagged[hemi])
    words = "neither hemisphere lagged"
    if lagged[most]:
        words = f"the {HEMISPHERE_NAMES[most]} lagged in {lagged[most]} of {count(row.epochs, 'epoch')}"
        words += f", the {HEMISPHERE_NAMES[other]} in {lagged[other]}" if lagged[other] else ""
    if row.last:
        words += f". At the end the {HEMISPHERE_NAMES[row.last]} is behind by {abs(row.gap):.3f}"
    return f"{words}. Kept: epoch {_span(row.kept)}."


def _span(words: str) -> str:
    """Return epochs, in words as the tables have them, from the first to the last."""
    epochs = sorted(map(int, words.split()))
    return f"{epochs[0]}" if epochs[0] == epochs[-1] else f"{epochs[0]} to {epochs[-1]}"


# --- ablations --------------------------------------------------------------------------------------------------------


def show_ablations(shown: BottleneckResults) -> None:
    """Draw the mean r of every variant with its difference to the full network, over subjects and per subject."""
    scores, over = shown.scores, shown.over
    several = len(shown.subjects) > 1
    provenance = shown.about("ablations")
    figure = ablation_chart(scores, provenance, seeds=shown.seeds, over=over)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="ablations", alt="Mean r per variant")
    if FULL not in shown.variants:
        st.info("Differences are to the full network: choose it, too, and start it.", icon=":material/arrow_upward:")
    elif len(shown.variants) == 1:
        st.info("Choose further variants above, to see what each part adds.", icon=":material/arrow_upward:")
    if several:
        st.markdown("**Over subjects**")
        _scores_table(over)
    st.markdown("**Per subject**" if several else f"**{plain(shown.subjects[0])}**")
    _scores_table(scores.drop(columns="epoch" if several else ["epoch", "subject"]))
    st.caption(
        "Per subject: the mean over seeds, with its 95 % bootstrap interval over test pictures; the difference is "
        "paired, picture by picture, and of the seeds that both have. Such an interval says nothing about other seeds: "
        "their spread is the SD. "
        + ("Over subjects: 95 % interval of the mean (t). " if several else "")
        + "Networks without a leak have no noise: their r without noise is their r."
    )
    figure_downloads("Ablations", scores, figure, shown.specs(), shown.stem, provenance)
    with st.container(horizontal=True):
        download("Seeds, CSV", lambda: csv_text(shown.seeds, provenance), f"{shown.stem}_seeds.csv", key="csv_seeds")
        if several:
            download("Over subjects, CSV", lambda: csv_text(over, provenance), f"{shown.stem}_over.csv", key="csv_over")


def _scores_table(scores: pd.DataFrame) -> None:
    drawn = scores.dropna(axis="columns", how="all").rename(columns=HEADINGS)
    fractions = [name for name in drawn.columns if pd.api.types.is_float_dtype(drawn[name])]
    st.dataframe(drawn, hide_index=True, column_config=rounded(fractions))


def rounded(columns: Sequence[str]) -> dict[str, Any]:
    """Return how numbers of these columns are written in a table."""
    return {name: st.column_config.NumberColumn(format="%.1f" if "score" in name else "%.3f") for name in columns}


# --- per ROI ----------------------------------------------------------------------------------------------------------


def show_rois(shown: BottleneckResults) -> None:
    """Draw r per ROI and variant, hemispheres side by side, with the ceilings."""
    sets = {EVERYTHING: (ALL_VERTICES,)} | in_sets(name for name in shown.rois["roi"] if name != ALL_VERTICES)
    usual = [name for name in sets if name not in OVERLAPPING]
    say_unknown("areas", list(sets), "set of ROIs")
    keep_those_among("areas", list(sets))
    chosen = st.pills("ROIs", list(sets), selection_mode="multi", default=usual, **bound("areas"))
    names = [name for title in sets if title in chosen for name in sets[title]]
    if not names:
        st.info("Choose a set of ROIs.", icon=":material/arrow_upward:")
        return
    rows = shown.rois[shown.rois["roi"].isin(names)]
    rows = rows.assign(roi=pd.Categorical(rows["roi"], names)).sort_values("roi", kind="stable").astype({"roi": str})
    scores = rows[[*KEYS, "hemi", "roi", "r", "low", "high", "n_vertices"]]
    keys = ["hemi", "roi", "variant"]
    ceiling = band(rows, "ceiling_r")
    provenance = shown.about("mean test r per ROI")
    figure = variant_bars(
        scores,
        provenance,
        reconstruction=shown.reconstruction,
        ceiling=None if ceiling.empty else ceiling,
        spread=over_subjects(scores, keys, "r") if len(shown.subjects) > 1 else None,
    )
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="roi_bars", alt="Mean r per ROI and variant")
    st.caption(
        "A ROI's components are those of its whole hemisphere. The reconstruction ceiling can lie above the noise "
        "ceiling: what the components give back of the test responses holds their noise, too."
    )
    table = rows[[*KEYS, "hemi", "roi", "n_vertices", "r", "low", "high", "reconstruction_r_mean", "ceiling_r"]]
    figure_downloads("ROIs", table, figure, shown.specs(), shown.stem, provenance)


# --- everything -------------------------------------------------------------------------------------------------------

#: What the runs' tables have for encoding models only.
NOT_SHOWN = ("layer", "own", "cv_r_mean", "cv_r_median", "protocol_r_mean", "protocol_own")


def show_table(shown: BottleneckResults) -> None:
    """Draw everything per run, hemisphere and ROI."""
    table = shown.table.drop(columns=[name for name in NOT_SHOWN if name in shown.table])
    drawn = table.assign(run=table["run"].str[:DIGITS]).dropna(axis="columns", how="all")
    fractions = [name for name in drawn.columns if pd.api.types.is_float_dtype(drawn[name])]
    st.dataframe(drawn, hide_index=True, column_config=rounded(fractions))
    st.caption(
        "One row per run and ROI. r is on test pictures, with its 95 % bootstrap interval over them; plain_r, without "
        "noise at inference; reconstruction_r, of the test responses with what their components give back."
    )
    provenance = shown.about("everything per ROI")
    with st.container(horizontal=True):
        download("Table, CSV", lambda: csv_text(table, provenance), f"{shown.stem}.csv", key="csv_table")
        download("Requests, JSON", lambda: json_text(shown.specs(), provenance), f"{shown.stem}.json", key="json_table")


# --- what is looked at ------------------------------------------------------------------------------------------------


def pick_subject_shown(shown: BottleneckResults) -> str:
    """Draw the choice of one subject that has results."""
    return _pick_one("Subject shown", "who", shown.subjects, "subject")


def pick_variant(shown: BottleneckResults) -> str:
    """Draw the choice of one variant that has results."""
    return _pick_one("Variant", "variant", shown.variants, "variant")


def _pick_one(label: str, key: str, options: Sequence[str], kind: str) -> str:
    keep_among(key, options, options[0])
    say_unknown(key, options, kind)
    return st.selectbox(label, options, **bound(key), width=200)


def say_not_done(subject: str, variant: str) -> None:
    """Say that there is nothing to see of a subject and variant yet."""
    st.info(
        f"There is no finished network of {subject}, {variant}. “Start training” above trains it.",
        icon=":material/hourglass_empty:",
    )
