"""The table of runs: which are shown, and how."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from brainviz.runs.specs import Spec
from brainviz.runs.store import Run, Store
from brainviz.ui.binding import bound


def pick_runs_shown(specs: Sequence[Spec], kind: str, fingerprint: str, store: Store) -> list[Run]:
    """Draw the switch between the chosen runs and all of the data set, and return those that are shown."""
    which = st.segmented_control(
        "Runs shown",
        ["chosen", "all of this data set"],
        default="chosen",
        required=True,
        **bound("runs"),
        label_visibility="collapsed",
    )
    if which == "chosen":
        return [run for run in map(store.find, specs) if run is not None]
    return [run for run in store.runs(kind) if run.spec.dataset == fingerprint]


def show_runs(frame: pd.DataFrame) -> None:
    """Draw the table of runs (`brainviz.ui.choices.runs_frame`), or say that there are none."""
    if frame.empty:
        st.caption("No runs yet.")
        return
    column = st.column_config
    st.dataframe(
        frame.assign(run=frame["run"].str[:8]).dropna(axis="columns", how="all"),
        hide_index=True,
        column_config={
            "run": column.TextColumn(help="First digits of the run's id."),
            "reason": column.TextColumn(help="Why it failed or was cancelled.", width="medium"),
            "loss": column.NumberColumn(format="%.3f"),
            "retrieval_top1": column.NumberColumn(
                "retrieval", format="percent", help="Validation pictures found by their responses, top-1."
            ),
            "seconds": column.NumberColumn(format="%.0f"),
            "submitted": column.DatetimeColumn(format="YYYY-MM-DD HH:mm", help="Universal time."),
        },
    )
