"""Pickers that pages share: subjects, hemispheres, ROIs; bound to the URL, offering only what the data set has."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from brainviz.datasets.base import ALL_VERTICES, HEMISPHERES, MIN_ROI_VERTICES
from brainviz.runs.bottleneck_specs import BOTTLENECK
from brainviz.runs.fields import TUNED
from brainviz.runs.network_specs import RANDOM, UNTUNED
from brainviz.ui.binding import bound, follow, say_unknown
from brainviz.ui.sources import Source, roi_counts

#: ROIs to begin with: the first that the data set has.
FIRST_ROIS = ("V1", "V1v", "V1d", "V4", "hV4")

#: Widths of the pickers for subjects and ROIs, so that rows of controls wrap where the page is narrow.
SUBJECTS_PIXELS, ROIS_PIXELS = 290, 400

#: Network states in the order in which they are offered, controls first.
METHODS = (UNTUNED, RANDOM, *reversed(TUNED))

#: What is said of the bottleneck network where it is offered.
BOTTLENECK_HELP = (
    " bottleneck: no state of this network but one of its own, from an image-text network's features to all vertices "
    "of both hemispheres, with the usual settings; its page has the variants."
)

#: Where a session remembers which methods were picked to tune, when their control is on another page.
_TUNED = "_tuned methods"


def pick_subject(source: Source) -> str:
    """Draw the picker for one subject."""
    follow("subject", source.key, source.dataset.subjects[0])
    say_unknown("subject", source.dataset.subjects, "subject")
    return st.selectbox("Subject", source.dataset.subjects, **bound("subject"), help="Whose responses are shown.")


def pick_subjects(source: Source) -> list[str]:
    """Draw the picker for several subjects."""
    default = list(source.dataset.subjects[:1])
    follow("subjects", source.key, default)
    say_unknown("subjects", source.dataset.subjects, "subject")
    return st.multiselect(
        "Subjects",
        source.dataset.subjects,
        default=default,
        **bound("subjects"),
        help="One network is tuned per subject, hemisphere and ROI.",
        width=SUBJECTS_PIXELS,
    )


def pick_tuning() -> list[str]:
    """Draw the picker for how networks are tuned."""
    say_unknown("tuning", TUNED, "method")
    chosen = st.pills(
        "Methods",
        TUNED,
        selection_mode="multi",
        default=list(TUNED[:1]),
        **bound("tuning"),
        help="How networks are tuned. Each method has settings of its own.",
    )
    if chosen:
        st.session_state[_TUNED] = tuple(method for method in TUNED if method in chosen)
    return [method for method in TUNED if method in chosen]


def pick_methods(*others: str) -> list[str]:
    """Draw the picker for network states and what else is offered; it begins with untuned, and what was picked to tune.

    Parameters
    ----------
    *others : str
        Methods that are no network states, as the bottleneck network.
    """
    offered = (*METHODS, *others)
    tuned = st.session_state.get(_TUNED, TUNED[:1])
    default = [UNTUNED, *tuned]
    follow("methods", tuned, default)
    say_unknown("methods", offered, "method")
    chosen = st.pills(
        "Methods",
        offered,
        selection_mode="multi",
        default=default,
        **bound("methods"),
        help="What a network is when encoding models are fitted on it: pretrained (untuned), of random weights, or "
        "tuned on the responses, by regression or contrastively." + (BOTTLENECK_HELP if BOTTLENECK in others else ""),
    )
    return [method for method in offered if method in chosen]


def pick_hemispheres(source: Source) -> list[str]:
    """Draw the picker for hemispheres."""
    here = [hemi for hemi in HEMISPHERES if any(hemi in source.dataset.hemispheres(s) for s in source.dataset.subjects)]
    follow("hemi", source.key, here)
    chosen = st.pills(
        "Hemispheres",
        here,
        selection_mode="multi",
        default=here,
        **bound("hemi"),
        help="lh is the left, rh the right hemisphere.",
    )
    return [hemi for hemi in here if hemi in chosen]


def pick_rois(source: Source, subjects: Sequence[str]) -> list[str]:
    """Draw the picker for ROIs: those that one of the subjects has, and all vertices."""
    # With no subject chosen yet, the ROIs of the first keep the choice of ROIs as it is.
    counts = roi_counts(source, subjects or source.dataset.subjects[:1])
    counts = counts[counts["vertices"] >= MIN_ROI_VERTICES]
    options = [*counts["roi"].drop_duplicates(), ALL_VERTICES]
    default = [next((roi for roi in FIRST_ROIS if roi in options), options[0])]
    follow("roi", source.key, default)
    say_unknown("roi", options, "ROI")
    return st.multiselect(
        "ROIs",
        options,
        default=default,
        **bound("roi"),
        help=f"Regions of interest with at least {MIN_ROI_VERTICES} vertices. V1 is V1v and V1d together; "
        f"“{ALL_VERTICES}” is every vertex.",
        width=ROIS_PIXELS,
    )
