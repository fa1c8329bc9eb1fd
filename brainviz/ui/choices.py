"""From what is picked on a page to the runs it means, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.config import cache_dir
from brainviz.datasets.base import HEMISPHERE_NAMES, MIN_ROI_VERTICES
from brainviz.runs.bottleneck_specs import BOTTLENECK
from brainviz.runs.requests import make_spec
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import ClassificationSpec, network_of
from brainviz.runs.store import Run, Store
from brainviz.ui.sources import Source, roi_sizes

ACTIVE = ("queued", "running")


@dataclass(frozen=True)
class Choice:
    """The runs that a page's controls mean.

    Attributes
    ----------
    asked : tuple of (str, Spec)
        The method as it was picked, and what it means: subjects, then hemispheres, then ROIs, then methods. Two methods
        may mean the same run, as untuned and random do where the weights are random.
    left_out : tuple of str
        Combinations that the data set does not have, in words.
    areas : mapping of str to mapping of (str, str) to (v,) int array
        Per subject, the columns of every hemisphere and ROI; only where a run of all vertices is among those asked for.
    """

    asked: tuple[tuple[str, Spec], ...]
    left_out: tuple[str, ...]
    areas: Mapping[str, Mapping[tuple[str, str], NDArray[np.int64]]] = field(default_factory=dict, compare=False)

    @cached_property
    def specs(self) -> tuple[Spec, ...]:
        """Every run once, in order."""
        return tuple(dict.fromkeys(spec for _, spec in self.asked))

    def of(self, method: str, subject: str) -> tuple[Spec, ...]:
        """Return the runs of a method and subject, in order."""
        return tuple(spec for asked, spec in self.asked if (asked, spec.subject) == (method, subject))


def choose(
    kind: str,
    source: Source,
    subjects: Sequence[str],
    hemispheres: Sequence[str],
    rois: Sequence[str],
    methods: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
    about: str = "",
) -> Choice:
    """Return one spec for every combination that the data set has.

    Parameters
    ----------
    kind : str
    source : Source
    subjects, hemispheres, rois, methods : sequence of str
    settings : mapping
        Method -> its settings by name.
    about : str
        Fingerprint of what else the runs are about, such as a task that the settings name.

    Raises
    ------
    SpecError
        A setting is out of range.
    """
    picked = (tuple(subjects), tuple(hemispheres), tuple(rois), tuple(methods))
    own = {method: dict(settings[method]) for method in methods}
    return _choose(kind, (source.index.fingerprint, about), str(cache_dir()), picked, own, source)


# A page asks at every click, and a choice may be hundreds of runs. Not for long: the file behind weights may change.
@st.cache_data(show_spinner=False, ttl="1m", max_entries=64)
def _choose(
    kind: str,
    fingerprints: tuple[str, str],
    cache: str,
    picked: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]],
    settings: dict[str, dict[str, Any]],
    _source: Source,
) -> Choice:
    subjects, hemispheres, rois, methods = picked
    sizes = roi_sizes(_source, subjects)
    asked: list[tuple[str, Spec]] = []
    left_out = []
    areas: dict[str, dict[tuple[str, str], NDArray[np.int64]]] = {}
    make = partial(make_spec, kind, _source.dataset, _source.index)
    for subject, hemi, roi in product(subjects, hemispheres, rois):
        if sizes.get((subject, hemi, roi), 0) < MIN_ROI_VERTICES:
            left_out.append(f"{roi} of {subject} in the {HEMISPHERE_NAMES[hemi]}")
            continue
        for method in methods:
            if method != BOTTLENECK:
                asked.append((method, make(subject=subject, hemi=hemi, roi=roi, method=method, **settings[method])))
                continue
            if subject not in areas:  # one network of all vertices
                areas[subject] = {}
                whole = make_spec(BOTTLENECK, _source.dataset, _source.index, subject=subject, **settings[method])
                asked.append((method, whole))
            areas[subject][hemi, roi] = _source.dataset.columns(subject, hemi, roi)
    return Choice(tuple(asked), tuple(left_out), areas)


def states(specs: Iterable[Spec], store: Store) -> list[str | None]:
    """Return the state of every spec's run; None for those that nobody asked for."""
    found = (store.find(spec) for spec in specs)
    return [None if run is None else run.state for run in found]


def split_words(spec: Spec) -> str:
    """Return which pictures the numbers of a run are about."""
    network = network_of(spec)
    if isinstance(network, ClassificationSpec):
        return f"{network.task}: {network.task_test_share:.0%} test pictures, split seed {network.task_seed}"
    return f"{network.test_share:.0%} test pictures, split seed {network.split_seed}"


#: Scalars of `finetune` in the table of runs; only contrastive runs have those of the information.
SCALAR_COLUMNS = (
    "loss",
    "retrieval_top1",
    "information_nats",
    "information_low",
    "information_high",
    "information_limit",
    "seconds",
)

#: Columns of the table of runs, in order.
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
    *SCALAR_COLUMNS,
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
        **{name: result.get(name) for name in SCALAR_COLUMNS},
        "submitted": None if status.submitted is None else pd.Timestamp(status.submitted, unit="s"),
    }
