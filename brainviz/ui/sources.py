"""The data set a page is about: which one, whether it has been read, and a button with progress when it has not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from brainviz.config import cache_dir, load_config
from brainviz.datasets import DEMO, dataset_names, open_dataset
from brainviz.datasets.base import ALL_VERTICES, Dataset
from brainviz.runs import preparation
from brainviz.ui.binding import bound, say_unknown
from brainviz.ui.errors import end_page, errors_shown, plain
from brainviz.ui.words import count

if TYPE_CHECKING:
    from brainviz.datasets.check import Report
    from brainviz.datasets.index import DatasetIndex

#: How often the page looks whether a data set has been read.
POLL_SECONDS = 1.0

#: Problems shown in full, errors first.
MOST_PROBLEMS = 40


@dataclass(frozen=True)
class Source:
    """A data set that has been read. What the errors in its report concern cannot be used until they are mended.

    Attributes
    ----------
    key : str
        ``"demo"``, or its name in ``[datasets]`` of brainviz.toml.
    dataset : Dataset
    index : DatasetIndex
        The digests of its contents.
    report : Report
        What the check found.
    """

    key: str
    dataset: Dataset
    index: DatasetIndex
    report: Report


def pick_dataset() -> str:
    """Draw the data set picker in the sidebar: the demo, and what brainviz.toml names; nothing else is served."""
    names = dataset_names()
    say_unknown("dataset", names, "data set", st.sidebar)
    return st.sidebar.selectbox(
        "Data set",
        names,
        **bound("dataset"),
        help="The demo comes with brainviz. Name your own data sets in brainviz.toml: a table [datasets] with "
        'name = "folder".',
    )


def require_source() -> Source:
    """Draw the picker and return the data set; while it cannot be used, say why, offer to read it, and end the page."""
    name = pick_dataset()
    folder = cache_dir() / DEMO if name == DEMO else load_config().datasets[name]
    key = (name, str(folder), str(cache_dir()))
    source = _source(*key)
    if source is None:
        _source.clear(*key)
        _offer_to_read(name)
        end_page()
    return source


# A page is drawn anew at every click, and looking at 80,000 files takes a moment. That the files still are what the
# index says is made sure of by the worker before it computes.
@st.cache_resource(ttl="30s", max_entries=16, show_spinner=False)
def _source(name: str, folder: str, cache: str) -> Source | None:
    """Open a data set that has been read; None for any other. The last two arguments tell caches apart."""
    if preparation.status(name).state != "ready":
        return None
    report = preparation.report(name)
    if report is None or report.index is None:
        return None
    return Source(name, open_dataset(name), report.index, report)


def read(name: str) -> None:
    """Start reading a data set, in a process of its own."""
    _source.clear()
    preparation.start(name)


def _offer_to_read(name: str) -> None:
    status = preparation.status(name)
    if still_reading(name, status):
        return
    if status.state == "failed":
        st.error(plain(status.message or "The data set could not be read."), icon=":material/error:")
    elif (report := preparation.report(name)) is not None:
        st.error("This data set cannot be used. Mend what is named here, then read it again.", icon=":material/error:")
        show_problems(report)
    elif name == DEMO:
        st.info(
            "**Start here.** The demo is a simulated data set: four subjects look at pictures of simple scenes, and it "
            "is known what every vertex responds to. It is made on this computer in under a minute; nothing is "
            "downloaded.",
            icon=":material/rocket_launch:",
        )
    else:
        st.info(
            "This data set has not been read yet, or its files have changed since. brainviz looks at every file once, "
            "to check it and to know its contents; later visits are instant.",
            icon=":material/rocket_launch:",
        )
    label = "Make and read the demo" if name == DEMO and status.state == "absent" else "Read the data set"
    st.button(label, type="primary", icon=":material/play_arrow:", key="read", on_click=read, args=(name,))


def still_reading(name: str, status: preparation.Preparation) -> bool:
    """Show how far the reading of a data set or task is, if it goes on; return whether it does."""
    if status.state == "running":
        st.fragment(_reading, run_every=POLL_SECONDS)(name)
    return status.state == "running"


def _reading(name: str) -> None:
    """Show how far the reading is; redraw the whole page when it has ended."""
    with errors_shown():
        status = preparation.status(name)
        if status.state != "running":
            st.rerun()
        share = min(status.done / status.total, 1.0) if status.total else 0.0
        counted = f" ({status.done:,} of {status.total:,})" if status.total else ""
        st.progress(share, text=f"{plain(status.message).capitalize()}{counted} …")
        st.caption("You may leave this page: reading goes on.")


def show_problems(report: Report) -> None:
    """Show what the check found, errors first."""
    problems = sorted(report.problems, key=lambda problem: problem.level)
    if not problems:
        st.success("No problems found.", icon=":material/check_circle:")
        return
    errors = sum(problem.level == "error" for problem in problems)
    st.write(f"{count(errors, 'error')} and {count(len(problems) - errors, 'warning')}. Warnings are for you to judge.")
    # As text, since a table would cut off how to mend them.
    for problem in problems[:MOST_PROBLEMS]:
        where = " · ".join(plain(part) for part in (problem.subject, problem.file) if part)
        show = st.error if problem.level == "error" else st.warning
        show(f"**{where or 'The data set'}**\n{plain(problem.message)}".replace("\n", "  \n"))
    if len(problems) > MOST_PROBLEMS:
        st.caption(f"And {len(problems) - MOST_PROBLEMS} more: `python -m brainviz check` names them all.")


@st.cache_data(show_spinner=False, max_entries=256)
def _roi_counts(fingerprint: str, subject: str, _dataset: Dataset) -> pd.DataFrame:
    rows = [
        {"subject": subject, "hemi": hemi, "roi": roi, "vertices": int(mask.sum())}
        for hemi in _dataset.hemispheres(subject)
        for roi, mask in _dataset.rois(subject, hemi).items()
    ]
    return pd.DataFrame(rows, columns=["subject", "hemi", "roi", "vertices"])


def roi_counts(source: Source, subjects: Sequence[str]) -> pd.DataFrame:
    """Return how many vertices every ROI of these subjects has: ``subject``, ``hemi``, ``roi``, ``vertices``."""
    return pd.concat([_roi_counts(source.index.fingerprint, subject, source.dataset) for subject in subjects])


def roi_sizes(source: Source, subjects: Sequence[str]) -> dict[tuple[str, str, str], int]:
    """Return the number of vertices by subject, hemisphere and ROI, all vertices included as a ROI of their own."""
    counts = roi_counts(source, subjects)
    sizes = dict(
        zip(zip(counts["subject"], counts["hemi"], counts["roi"], strict=True), counts["vertices"], strict=True)
    )
    whole = {
        (subject, hemi, ALL_VERTICES): source.dataset.n_vertices(subject, hemi)
        for subject in subjects
        for hemi in source.dataset.hemispheres(subject)
    }
    return sizes | whole
