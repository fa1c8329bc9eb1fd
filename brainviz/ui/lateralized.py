"""Finished lateralization runs as tables: indices, differences that tuning and hemisphere make, subjects together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.figures.style import Provenance
from brainviz.runs.lateralize import GROUPS, ROWS, read_index
from brainviz.runs.network_specs import RANDOM, UNTUNED
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import LateralizationSpec
from brainviz.runs.store import Run
from brainviz.ui.choices import Choice
from brainviz.ui.comparison import Finished, run_ids
from brainviz.ui.sources import Source
from brainviz.ui.tasks import TaskSource

#: The states that nothing has tuned, with which tuned ones are compared.
CONTROLS = (UNTUNED, RANDOM)

#: In place of a subject: the mean over all.
ALL_SUBJECTS = "all"

#: What a row of a table is about.
MODEL = ["subject", "roi", "hemi", "method"]


#: So many ROIs are named in names of files.
NAMED_ROIS = 3


@dataclass(frozen=True)
class Lateralized:
    """The results on the page.

    Attributes
    ----------
    source : Source
    task : TaskSource or None
        Whose pictures are attributed; None for the data set's own.
    choice : Choice
        What is asked for, done or not.
    runs : tuple of (str, Run)
        What is done, each run once.
    provenance : Provenance
    """

    source: Source
    task: TaskSource | None
    choice: Choice
    runs: tuple[Finished, ...]
    provenance: Provenance

    @cached_property
    def index(self) -> pd.DataFrame:
        """One row per model: columns `MODEL`, ``value low high n run``; with several subjects also their mean."""
        return self._in_order(_index_table(run_ids(self.runs), self.runs))

    @cached_property
    def tuning(self) -> pd.DataFrame:
        """Tuned minus untuned, paired over pictures: columns `MODEL`, ``value low high p q n run``."""
        return self._in_order(_tuning_table(run_ids(self.runs), self.runs))

    @cached_property
    def contrast(self) -> pd.DataFrame:
        """Left hemisphere's model minus the right's, paired over pictures; columns as `tuning`, ``hemi`` is empty."""
        return self._in_order(_contrast_table(run_ids(self.runs), self.runs))

    def _in_order(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table with its ROIs in the order in which they were chosen, whichever runs are done."""
        ranks = {roi: rank for rank, roi in enumerate(self.provenance.rois)}
        return table.sort_values("roi", key=lambda roi: roi.map(ranks), kind="stable", ignore_index=True)

    @property
    def models(self) -> dict[tuple[str, str, str, str], Run]:
        """Subject, ROI, hemisphere and method -> run; a control that belongs to no ROI stands at every one."""
        return models_of(self.runs)

    @property
    def stem(self) -> str:
        """Of file names."""
        subjects = self.provenance.subject.split(", ")
        whose = subjects[0] if len(subjects) == 1 else f"{len(subjects)}subjects"
        rois = self.provenance.rois
        where = "-".join(rois) if len(rois) <= NAMED_ROIS else f"{len(rois)}rois"
        return "_".join(filter(None, [self.source.key, whose, where, self.attribution]))

    @property
    def attribution(self) -> str:
        return spec_of(self.runs[0][1]).attribution

    def specs(self) -> tuple[Spec, ...]:
        """Return what was asked for."""
        return self.choice.specs

    def about(self, runs: Iterable[Run]) -> Provenance:
        """Return the provenance of a figure about some of the runs."""
        return replace(self.provenance, runs=tuple(run.id for run in runs))


def spec_of(run: Run) -> LateralizationSpec:
    """Return a run's spec as what it is."""
    spec = run.spec
    assert isinstance(spec, LateralizationSpec)
    return spec


def models_of(runs: Sequence[Finished]) -> dict[tuple[str, str, str, str], Run]:
    """Return runs by subject, ROI, hemisphere and method; a control that belongs to no ROI stands at every one."""
    found: dict[tuple[str, str, str, str], Run] = {}
    everywhere = []
    for method, run in runs:
        hemi, roi = spec_of(run).area
        if roi and hemi != "both":
            found[spec_of(run).subject, roi, hemi, method] = run
        else:
            everywhere.append((method, run))
    places = list(dict.fromkeys(key[:3] for key in found))
    for method, run in everywhere:
        # Both hemispheres' responses from an untuned network: of one subject and ROI, for either hemisphere.
        subject, roi = spec_of(run).subject, spec_of(run).area[1]
        own = [place for place in places if subject in ("", place[0]) and roi in ("", place[1])]
        for place in own or [(subject, roi, "")]:
            found.setdefault((*place, method), run)
    return found


@st.cache_data(show_spinner=False, max_entries=512)
def index_of(run_id: str, _run: Run) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return indices, rows and groups of a finished run's pictures, (n,) each."""
    return read_index(_run), np.load(_run.file(ROWS)), np.load(_run.file(GROUPS))


def _weights(run: Run) -> NDArray[np.float32]:
    """Return the resamples of a run's pictures: the same ones for all runs about the same pictures."""
    from brainviz.encoding.statistics import bootstrap_weights

    spec, (index, _, groups) = spec_of(run), index_of(run.id, run)
    return bootstrap_weights(len(index), spec.index_resamples, spec.picture_seed, groups)


@st.cache_data(show_spinner="Reading the results", max_entries=32)
def _index_table(ids: tuple[tuple[str, str], ...], _runs: tuple[Finished, ...]) -> pd.DataFrame:
    rows = []
    for model, run in models_of(_runs).items():
        result = run.result()
        values = {"value": result["index"], "low": result["index_low"], "high": result["index_high"]}
        known = {name: np.nan if value is None else value for name, value in values.items()}
        rows.append({**dict(zip(MODEL, model, strict=True)), **known, "n": result["n_images"], "run": run.id})
    return with_all_subjects(pd.DataFrame(rows, columns=[*MODEL, "value", "low", "high", "n", "run"]), 1.0)


@st.cache_data(show_spinner="Comparing models", max_entries=32)
def _tuning_table(ids: tuple[tuple[str, str], ...], _runs: tuple[Finished, ...]) -> pd.DataFrame:
    models = models_of(_runs)
    pairs = {
        model: (run, control)
        for model, run in models.items()
        if model[3] not in CONTROLS and (control := models.get((*model[:3], UNTUNED))) is not None
    }
    return _paired(pairs)


@st.cache_data(show_spinner="Comparing models", max_entries=32)
def _contrast_table(ids: tuple[tuple[str, str], ...], _runs: tuple[Finished, ...]) -> pd.DataFrame:
    models = models_of(_runs)
    pairs = {
        (subject, roi, "", method): (run, other)
        for (subject, roi, hemi, method), run in models.items()
        if hemi == "lh" and (other := models.get((subject, roi, "rh", method))) is not None and other.id != run.id
    }
    return _paired(pairs)


def _paired(pairs: Mapping[tuple[str, str, str, str], tuple[Run, Run]]) -> pd.DataFrame:
    """Return the paired differences of runs on the same pictures, with false-discovery control over ROIs."""
    from brainviz.analyses.lateralization import paired_estimate
    from brainviz.encoding.statistics import false_discovery

    rows = []
    for model, (one, other) in pairs.items():
        mine, theirs = index_of(one.id, one), index_of(other.id, other)
        if not np.array_equal(mine[1], theirs[1]):
            continue
        found = paired_estimate(mine[0], theirs[0], _weights(one), groups=mine[2], seed=spec_of(one).picture_seed)
        rows.append({**dict(zip(MODEL, model, strict=True)), **vars(found), "run": one.id, "against": other.id})
    table = pd.DataFrame(rows, columns=[*MODEL, "value", "low", "high", "p", "n", "run", "against"])
    table["q"] = np.nan
    for _, family in table.groupby(["subject", "hemi", "method"], sort=False):
        table.loc[family.index, "q"] = false_discovery(family["p"].to_numpy())
    return with_all_subjects(table, 2.0)


def with_all_subjects(table: pd.DataFrame, most: float) -> pd.DataFrame:
    """Add the mean over subjects, by a random-effects model, below a table that has several."""
    from brainviz.analyses.lateralization import Estimate, over_subjects

    if table["subject"].nunique() < 2:
        return table
    rows = []
    for (roi, hemi, method), own in table.groupby(["roi", "hemi", "method"], sort=False):
        if own["run"].nunique() < 2:
            continue  # One network that knows no subject stands at each of them: it varies over none.
        each = [Estimate(row["value"], row["low"], row["high"], np.nan, row["n"]) for row in own.to_dict("records")]
        found = over_subjects(each)
        if found.n >= 2:
            about = {"subject": ALL_SUBJECTS, "roi": roi, "hemi": hemi, "method": method, "run": ""}
            # No index is beyond 1, and no difference beyond 2, on either side.
            low, high = max(found.low, -most), min(found.high, most)
            rows.append({**about, "value": found.value, "low": low, "high": high, "n": found.n})
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True) if rows else table
