"""From what is picked on a page to the runs it means, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd
import streamlit as st

from brainviz.config import cache_dir
from brainviz.datasets.base import HEMISPHERE_NAMES, MIN_ROI_VERTICES
from brainviz.runs.requests import make_spec
from brainviz.runs.specs import EncodingSpec, FeaturesSpec, FinetuneSpec, Spec
from brainviz.runs.store import Run, Store
from brainviz.ui.settings import for_method
from brainviz.ui.sources import Source, roi_sizes

ACTIVE = ("queued", "running")


@dataclass(frozen=True)
class Choice:
    """The runs that a page's controls mean.

    Attributes
    ----------
    specs : tuple of Spec
        Subjects, then hemispheres, then ROIs, then methods.
    left_out : tuple of str
        Combinations that the data set does not have, in words.
    """

    specs: tuple[Spec, ...]
    left_out: tuple[str, ...]


def choose(
    kind: str,
    source: Source,
    subjects: Sequence[str],
    hemispheres: Sequence[str],
    rois: Sequence[str],
    methods: Sequence[str],
    settings: Mapping[str, Any],
) -> Choice:
    """Return one spec for every combination that the data set has.

    Raises
    ------
    SpecError
        A setting is out of range.
    """
    picked = (tuple(subjects), tuple(hemispheres), tuple(rois), tuple(methods))
    return _choose(kind, source.index.fingerprint, str(cache_dir()), picked, dict(settings), source)


# A page asks at every click, and a choice may be hundreds of runs. Not for long: the file behind weights may change.
@st.cache_data(show_spinner=False, ttl="1m", max_entries=64)
def _choose(
    kind: str,
    fingerprint: str,
    cache: str,
    picked: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]],
    settings: dict[str, Any],
    _source: Source,
) -> Choice:
    subjects, hemispheres, rois, methods = picked
    sizes = roi_sizes(_source, subjects)
    specs, left_out = [], []
    for subject, hemi, roi in product(subjects, hemispheres, rois):
        if sizes.get((subject, hemi, roi), 0) < MIN_ROI_VERTICES:
            left_out.append(f"{roi} of {subject} in the {HEMISPHERE_NAMES[hemi]}")
            continue
        for method in methods:
            values = for_method(kind, method, {**settings, "method": method})
            specs.append(make_spec(kind, _source.dataset, _source.index, subject=subject, hemi=hemi, roi=roi, **values))
    return Choice(tuple(specs), tuple(left_out))


def states(specs: Iterable[Spec], store: Store) -> list[str | None]:
    """Return the state of every spec's run; None for those that nobody asked for."""
    found = (store.find(spec) for spec in specs)
    return [None if run is None else run.state for run in found]


def network_of(spec: Spec) -> FinetuneSpec | FeaturesSpec:
    """Return the part of a spec that says which network, pictures and split it is about."""
    if isinstance(spec, EncodingSpec):
        return spec.features
    assert isinstance(spec, FinetuneSpec | FeaturesSpec)
    return spec


def split_words(spec: Spec) -> str:
    """Return which pictures the numbers of a run are about."""
    network = network_of(spec)
    return f"{network.test_share:.0%} test pictures, split seed {network.split_seed}"


#: Columns of the table of runs, in order; the scalars are those of `finetune`, empty for other kinds.
RUN_COLUMNS = (
    "run",
    "subject",
    "hemi",
    "roi",
    "network",
    "method",
    "state",
    "reason",
    "epochs",
    "loss",
    "retrieval_top1",
    "seconds",
    "submitted",
)


def runs_frame(runs: Iterable[Run]) -> pd.DataFrame:
    """Return a table of runs, one row each, with the columns `RUN_COLUMNS`."""
    return pd.DataFrame([_run_row(run) for run in runs], columns=list(RUN_COLUMNS))


def _run_row(run: Run) -> dict[str, Any]:
    status, spec = run.status(), run.spec
    result = run.result() if status.state == "done" else {}
    return {
        "run": run.id,
        "subject": spec.subject,
        "hemi": getattr(spec, "hemi", None),
        "roi": getattr(spec, "roi", None),
        "network": network_of(spec).network,
        "method": getattr(spec, "method", None),
        "state": status.state,
        "reason": status.reason or None,
        "epochs": getattr(spec, "epochs", None),
        "loss": result.get("loss"),
        "retrieval_top1": result.get("retrieval_top1"),
        "seconds": result.get("seconds"),
        "submitted": None if status.submitted is None else pd.Timestamp(status.submitted, unit="s"),
    }
