"""The table of runs: which are shown, and how."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from brainviz.encoding import published
from brainviz.runs.spec_base import Spec
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


#: What the information is.
INFORMATION_WORDS = (
    "Information, in nats: a lower bound of the mutual information between test pictures and responses, from how well "
    "the tuned network matches them (InfoNCE); it cannot exceed the log of the number of test pictures, its limit. "
    "Its scale is chosen on the validation pictures; a run without any chooses it on fitted ones, and comes out lower. "
    "The interval (95 %) is a bootstrap over test pictures. Networks tuned by regression have none."
)


def show_runs(frame: pd.DataFrame) -> None:
    """Draw the table of runs (`brainviz.ui.choices.runs_frame`), or say that there are none."""
    if frame.empty:
        st.caption("No runs yet.")
        return
    column = st.column_config
    drawn = frame.assign(run=frame["run"].str[:8], information_interval=_intervals(frame))
    known = published.published_information().rename(columns={"nats": "information_published"})
    drawn = drawn.merge(known, on=["hemi", "roi"], how="left")
    drawn["information_published"] = drawn["information_published"].where(drawn["information_nats"].notna())
    order = [name for name in frame.columns if name not in ("information_low", "information_high")]
    place = order.index("information_nats") + 1
    order[place:place] = ["information_interval", "information_published"]
    st.dataframe(
        drawn[order].dropna(axis="columns", how="all"),
        hide_index=True,
        column_config={
            "run": column.TextColumn(help="First digits of the run's id."),
            "reason": column.TextColumn(help="Why it failed or was cancelled.", width="medium"),
            "loss": column.NumberColumn(format="%.3f"),
            "retrieval_top1": column.NumberColumn(
                "retrieval", format="percent", help="Validation pictures found by their responses, top-1."
            ),
            "information_nats": column.NumberColumn("information", format="%.2f", help=INFORMATION_WORDS),
            "information_interval": column.TextColumn("95 % interval", help="Of the information, nats."),
            "information_published": column.NumberColumn(
                "published", format="%.2f", help=f"{published.INFORMATION_PROTOCOL} {published.SOURCE}."
            ),
            "information_limit": column.NumberColumn("limit", format="%.2f", help="The most the bound can be, nats."),
            "seconds": column.NumberColumn(format="%.0f"),
            "submitted": column.DatetimeColumn(format="YYYY-MM-DD HH:mm", help="Universal time."),
        },
    )
    if drawn["information_nats"].notna().any():
        st.caption(INFORMATION_WORDS)


def _intervals(frame: pd.DataFrame) -> pd.Series:
    words = [
        f"{low:.2f} to {high:.2f}" if pd.notna(low) and pd.notna(high) else None
        for low, high in zip(frame["information_low"], frame["information_high"], strict=True)
    ]
    return pd.Series(words, index=frame.index)
