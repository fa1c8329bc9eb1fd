"""Part of the Encoding page that answers its question in numbers: means per method, their difference, the ceiling."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from brainviz.datasets.base import ALL_VERTICES, HEMISPHERE_NAMES
from brainviz.encoding import published
from brainviz.ui.comparison import PROTOCOL, TEST_R, ceiling_frame, over_subjects
from brainviz.ui.errors import plain
from brainviz.ui.shown import Shown
from brainviz.ui.words import count, unit_noun

#: Width of a number, so that rows of them wrap where the page is narrow.
METRIC_PIXELS = 168


def show_summary(shown: Shown) -> None:
    """Draw the numbers that answer the page's question, over the chosen ROIs."""
    unit = unit_noun(shown.source.dataset.unit)
    with st.container(horizontal=True, gap="small"):
        for method in dict.fromkeys(method for method, _ in shown.choice.asked):
            _show_mean(shown, method)
        _show_difference(shown, unit)
        about = "Of the chosen ROIs, each counted once, also where ROIs overlap."
        st.metric(unit.capitalize(), f"{shown.summary.n_vertices:,}", help=about, width=METRIC_PIXELS)
    st.caption(" ".join(_about_the_numbers(shown)))
    if shown.how.score == TEST_R:
        st.caption(ceiling_words(shown))
        if shown.how.published:
            scores = published.published_algonauts()
            named = ", ".join(f"{row.model} {row.score:g}" for row in scores.itertuples())
            st.caption(f":material/menu_book: Published Algonauts scores: {named}. {published.ALGONAUTS_SOURCE}")


def _show_mean(shown: Shown, method: str) -> None:
    overall = shown.summary.overall
    mine = overall[overall["method"] == method]
    if mine.empty:
        _metric(f"Mean r, {method}", "–" if method in shown.methods else "not run yet")
    else:
        _metric(f"Mean r, {method}", f"{mine['r'].mean():.3f}", _over(mine, "r"))


def _show_difference(shown: Shown, unit: str) -> None:
    if not shown.how.pair:
        return
    found = shown.summary.overall_difference
    first, second = shown.how.pair
    if found.empty:
        _metric("Difference", "–", help="Needs a ROI that all methods have results for.")
        return
    about = f"Mean r of {first} minus mean r of {second}."
    _metric("Difference", f"{found['difference'].mean():+.3f}", _over(found, "difference"), about, "+.3f")
    about = f"Share with a higher r with {first} than with {second}."
    spread = _over(found, "improved") if len(found) > 1 else None
    _metric(f"{unit.capitalize()} improved", f"{found['improved'].mean():.0%}", spread, about, ".0%")


def _over(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return the interval of a value: of the one subject, or over several."""
    return frame if len(frame) == 1 else over_subjects(frame.assign(all=""), ["all"], value)


def _metric(
    label: str, value: str, interval: pd.DataFrame | None = None, help: str | None = None, number: str = ".3f"
) -> None:
    """Draw a number with its interval, the first row's ``low`` and ``high``, if they are known."""
    between = None
    if interval is not None and interval[["low", "high"]].iloc[0].notna().all():
        between = " to ".join(f"{interval[end].iloc[0]:{number}}" for end in ("low", "high"))
    st.metric(label, value, between, "off", help=help, width=METRIC_PIXELS, delta_arrow="off")


def _about_the_numbers(shown: Shown) -> list[str]:
    """Return what the summary's numbers mean, in sentences."""
    overall = shown.summary.overall
    n_subjects = overall["subject"].nunique()
    sentences = []
    if overall.empty:
        sentences.append("No ROI has results of all these methods yet, so that there are no means to compare.")
    else:
        areas = sorted(set(overall["n_rois"]))
        fewer = f"{areas[0]} to " if len(areas) > 1 else ""
        sentences.append(
            f"Means are over {fewer}{count(areas[-1], 'ROI')} (hemispheres counted) that all methods shown have, each "
            "counting once."
        )
        if shown.how.score == PROTOCOL:
            sentences.append(
                "r is the authors' protocol: cross-validated inside the held-out pictures, at what the same "
                "cross-validation chose, and so optimistic; it has no interval over pictures."
            )
        elif n_subjects == 1:
            whose = overall["subject"].iloc[0]
            n_test = next(run.result()["n_test"] for _, run in shown.runs if run.spec.subject == whose)
            sentences.append(f"Intervals: 95 %, bootstrap over the {n_test} test pictures.")
        if n_subjects > 1:
            sentences.append(f"Intervals: 95 % of the mean over {n_subjects} subjects (t).")
        elif shown.pair:
            sentences.append(
                "The share improved has no interval, as a bootstrap draws it towards one half: its uncertainty is the "
                "spread over subjects."
            )
        behind = [subject for subject in shown.subjects if subject not in set(overall["subject"])]
        if behind:
            sentences.append(f"Left out until all its methods are done: {', '.join(map(plain, behind))}.")
    if shown.summary.undefined:
        sentences.append(
            f"{count(shown.summary.undefined, 'value')} of r undefined, as the response or its prediction is constant "
            "on test pictures; left out of all means."
        )
    return sentences


def ceiling_words(shown: Shown) -> str:
    """Say how near to the noise ceiling the methods come, or what would give a ceiling."""
    found = ceiling_frame(shown.rows)
    words = []
    if not found.empty:
        everything = (shown.rows["roi"] == ALL_VERTICES).any()
        score = "Algonauts score" if everything else "mean Algonauts score of the ROIs"
        of = "; ".join(
            f"{row.method} **{row.r_over_ceiling:.2f}** of its ceiling, {score} **{row.algonauts_score:.1f}**"
            for row in found.itertuples()
        )
        words.append(f"Against the noise ceiling ({count(int(found['n_subjects'].max()), 'subject')}): {of}.")
        if left_out := int(found["no_ceiling"].max()):
            unit = unit_noun(shown.source.dataset.unit, left_out)
            words.append(f"{left_out:,} {unit} without a ceiling left out.")
    if (shown.rows["algonauts_score"].isna() & shown.rows["ceiling"].notna()).any():
        words.append("Where the noise ceiling is 0 for all of a ROI, or no r is defined, there is no score.")
    rows = shown.rows[shown.rows["ceiling"].isna()]
    dataset = shown.source.dataset
    lacking = dict.fromkeys(zip(rows["subject"], rows["hemi"], strict=True))
    hints = [hint for hint in (dataset.noise_ceiling_hint(*each) for each in lacking) if hint]
    if hints:
        where = ", ".join(f"{plain(subject)} {HEMISPHERE_NAMES[hemi]}" for subject, hemi in lacking)
        words.append(f"No noise ceiling: {where}. {plain(hints[0])}")
    return " ".join(words)
