"""Part of the Encoding page that shows permutation tests of one method against another, and starts them."""

from __future__ import annotations

import streamlit as st

from brainviz.runs.compare import FALSE_DISCOVERY_RATE
from brainviz.ui.comparison import TEST_R
from brainviz.ui.downloads import csv_text, download, json_text
from brainviz.ui.run_controls import start_button, to_start
from brainviz.ui.shown import Shown
from brainviz.ui.words import count

COLUMNS = (
    *("subject", "hemi", "roi", "r_first", "r_second", "difference", "low", "high", "p", "q", "improved"),
    *("layer_first", "layer_second", "n_vertices"),
)


def show_tests(shown: Shown) -> None:
    """Draw what the tests found, and a button for those that are not there."""
    if not shown.tests:
        st.info("Choose two different methods to test one against the other.", icon=":material/arrow_upward:")
        return
    assert shown.how.pair
    first, second = shown.how.pair
    st.write(
        f"Does {first} predict better than {second}, or could that be chance? For random sets of test pictures, the "
        "two methods' predictions are exchanged; p is how often the mean difference of r then comes out as far from 0. "
        "Pictures are exchanged, not vertices, as those of a ROI share the picture and much of the noise."
    )
    if shown.how.score != TEST_R:
        st.caption("Tests are of the test r; the authors' protocol has none.")
    left = to_start(shown.tests)
    if left:
        st.caption(
            f"One test per subject: {len(shown.tests) - len(left)} of {len(shown.tests)} there or on their way. "
            "Encoding runs that a test needs are computed first."
        )
        start_button(shown.tests, "tests", key="start_tests")
    found = shown.tested
    if found.empty:
        return
    table = found[list(COLUMNS)]
    sure = table[table["q"] < FALSE_DISCOVERY_RATE]["difference"]
    st.markdown(
        f"**Of {count(len(table), 'ROI')}, {first} is better in {(sure > 0).sum()} and {second} in "
        f"{(sure < 0).sum()}** (hemispheres and subjects counted; false discovery rate {FALSE_DISCOVERY_RATE:.0%})."
    )
    column = st.column_config
    rounded = column.NumberColumn(format="%.3f")
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "layer_first": column.TextColumn(f"layer, {first}"),
            "layer_second": column.TextColumn(f"layer, {second}"),
            "r_first": column.NumberColumn(f"r, {first}", format="%.3f"),
            "r_second": column.NumberColumn(f"r, {second}", format="%.3f"),
            "difference": rounded,
            "low": rounded,
            "high": rounded,
            "improved": column.NumberColumn(format="percent"),
            "p": column.NumberColumn(format="%.4f"),
            "q": column.NumberColumn(format="%.4f"),
        },
    )
    st.caption(
        "low and high: 95 % bootstrap interval of the difference over test pictures. q: the smallest false discovery "
        "rate at which the ROI would be called different, over the ROIs of one subject's test (Benjamini and Hochberg)."
    )
    provenance = shown.about((first, second), f"{first} against {second}, permutation test")
    with st.container(horizontal=True):
        download("Tests, CSV", lambda: csv_text(table, provenance), f"{shown.stem}_tests.csv", key="csv_tests")
        download(
            "Requests, JSON", lambda: json_text(shown.tests, provenance), f"{shown.stem}_tests.json", key="json_tests"
        )
