"""Finished classification runs as tables: accuracy per model, what it lost against what its r gained, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.figures.style import Provenance
from brainviz.runs.classify import LABELS, ROWS, read_probabilities
from brainviz.runs.landscape import describe
from brainviz.runs.network_specs import UNTUNED
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import ClassificationSpec
from brainviz.runs.store import Run, Store
from brainviz.ui.choices import Choice
from brainviz.ui.comparison import TEST_R, Finished, How, finished, run_ids, summary
from brainviz.ui.sources import Source
from brainviz.ui.tasks import TaskSource


@dataclass(frozen=True)
class Classified:
    """The results on the Classification page.

    Attributes
    ----------
    source : Source
    task : TaskSource
    choice : Choice
        What is asked for, done or not.
    runs : tuple of (str, Run)
        What is done, each run once.
    readout : str
        The layer that is classified from.
    encodings : Choice
        The encoding runs of the same networks and ROIs, for what r has gained.
    provenance : Provenance
    """

    source: Source
    task: TaskSource
    choice: Choice
    runs: tuple[Finished, ...]
    readout: str
    encodings: Choice
    provenance: Provenance

    @cached_property
    def accuracies(self) -> pd.DataFrame:
        """One row per model: ``model subject hemi roi group method run finetune accuracy low high n_test``."""
        return _accuracies(run_ids(self.runs), self.readout, self.runs)

    @cached_property
    def untuned(self) -> Run | None:
        """The run of the untuned network, if it is done."""
        return next((run for method, run in self.runs if method == UNTUNED), None)

    @cached_property
    def chance(self) -> float:
        """Share of the largest class among the test pictures."""
        labels = np.load(self.runs[0][1].file(LABELS))
        return float(np.bincount(labels).max() / len(labels))

    @cached_property
    def trade(self) -> pd.DataFrame:
        """One row per tuned model that is encoded too, as `brainviz.figures.accuracy.trade_off` takes it."""
        return trade_off_table(self)

    @property
    def stem(self) -> str:
        """Of file names."""
        return f"{self.source.key}_{self.task.task.name}"

    def specs(self) -> tuple[Spec, ...]:
        """Return what was asked for."""
        return self.choice.specs


def once(runs: Sequence[Finished]) -> tuple[Finished, ...]:
    """Return every run once, where it comes first: the untuned network is asked for with every ROI."""
    found: dict[str, Finished] = {}
    for method, run in runs:
        found.setdefault(run.id, (method, run))
    return tuple(found.values())


@st.cache_data(show_spinner="Reading the results", max_entries=32)
def _accuracies(ids: tuple[tuple[str, str], ...], readout: str, _runs: tuple[Finished, ...]) -> pd.DataFrame:
    rows = []
    for method, run in _runs:
        spec, result = run.spec, run.result()
        assert isinstance(spec, ClassificationSpec)
        of_layer = result["by_readout"][readout]
        rows.append(
            {
                **describe(spec, readout, result),
                "method": method,
                "low": of_layer["accuracy_low"],
                "high": of_layer["accuracy_high"],
                "n_test": result["n_test"],
                "converged": of_layer["converged"],
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Answers:
    """What a model says of the test pictures.

    Attributes
    ----------
    rows : (n,) int array
        The test pictures' rows in the task.
    labels, predicted : (n,) int arrays
        Classes: the true one, the most probable one.
    certainty : (n,) float array
        Probability of the predicted class.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    certainty: NDArray[np.float32]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which pictures it gets."""
        return np.asarray(self.predicted == self.labels)


def answers_of(run: Run, readout: str) -> Answers:
    """Return what a finished run says of its test pictures."""
    return _answers(run.id, readout, run)


@st.cache_data(show_spinner=False, max_entries=64)
def _answers(run_id: str, readout: str, _run: Run) -> Answers:
    probabilities = read_probabilities(_run, readout)
    predicted = probabilities.argmax(axis=1)
    certainty = np.asarray(probabilities[np.arange(len(predicted)), predicted])
    return Answers(np.load(_run.file(ROWS)), np.load(_run.file(LABELS)), predicted, certainty)


def trade_off_table(shown: Classified) -> pd.DataFrame:
    """Return what every tuned model gained in r over untuned, and lost in accuracy, both with intervals.

    Empty where the untuned network or all encoding runs are missing.
    """
    columns = ["subject", "hemi", "roi", "method", "gain", "gain_low", "gain_high"]
    columns += ["drop", "drop_low", "drop_high", "p", "run"]
    encoded = once(finished(shown.encodings, Store()))
    if shown.untuned is None or not encoded:
        return pd.DataFrame(columns=columns)
    from brainviz.analyses.classification import accuracy_difference

    control = answers_of(shown.untuned, shown.readout).correct
    runs = {run.id: run for _, run in shown.runs}
    rows = []
    for method in dict.fromkeys(shown.accuracies["method"]):
        how = How(score=TEST_R, pair=(method, UNTUNED))
        gains = summary(finished(shown.encodings, Store()), how, shown.source.dataset).differences
        if method == UNTUNED or gains.empty:
            continue
        gained = {(row["subject"], row["hemi"], row["roi"]): row for row in gains.to_dict("records")}
        models = shown.accuracies[(shown.accuracies["method"] == method) & (shown.accuracies["roi"] != "")]
        for model in models.itertuples():
            key = (model.subject, model.hemi, model.roi)
            if (gain := gained.get(key)) is None:
                continue
            lost = accuracy_difference(control, answers_of(runs[str(model.run)], shown.readout).correct)
            rows.append(
                {
                    **dict(zip(columns[:3], key, strict=True)),
                    "method": method,
                    "gain": gain["difference"],
                    "gain_low": gain["low"],
                    "gain_high": gain["high"],
                    "drop": lost.difference,
                    "drop_low": lost.low,
                    "drop_high": lost.high,
                    "p": lost.p,
                    "run": model.run,
                }
            )
    return pd.DataFrame(rows, columns=columns)
