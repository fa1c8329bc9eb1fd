"""The finished bottleneck networks of a choice as tables: the race, the ablations, r per ROI; means over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.figures.ablations import VARIANT_COLOURS
from brainviz.figures.panels import in_order
from brainviz.figures.style import Provenance
from brainviz.runs.bottleneck_specs import FULL, BottleneckSpec
from brainviz.runs.spec_base import Spec, SplitFields
from brainviz.runs.store import Run, Store
from brainviz.ui.bottleneck_encoders import Averaged, averaged, difference, spec_of
from brainviz.ui.choices import Choice
from brainviz.ui.comparison import Finished, over_subjects
from brainviz.ui.sources import Source

#: The stages of a training, as figures name them.
PRETRAINING, OWN = "pre-training on {} subjects", "own training"

#: Columns of a stage's curves.
LISTS = ("s_left", "s_right", "loss", "validation_r")

KEYS = ["subject", "variant"]


@dataclass(frozen=True)
class BottleneckResults:
    """What there is to show.

    Attributes
    ----------
    source : Source
    choice : Choice
        What is asked for, done or not.
    runs : tuple of (str, Run)
        What is done, by variant.
    provenance : Provenance
    """

    source: Source
    choice: Choice
    runs: tuple[Finished, ...]
    provenance: Provenance

    @cached_property
    def variants(self) -> list[str]:
        """Variants that have results, in the order in which figures show them."""
        return in_order((variant for variant, _ in self.runs), VARIANT_COLOURS)

    @cached_property
    def subjects(self) -> list[str]:
        """Subjects that have results."""
        return list(dict.fromkeys(spec_of(run).subject for _, run in self.runs))

    def of(self, subject: str, variant: str) -> list[Run]:
        """Return the finished runs of a subject and variant, by seed."""
        own = [run for name, run in self.runs if (name, spec_of(run).subject) == (variant, subject)]
        return sorted(own, key=seed_of)

    @cached_property
    def missing(self) -> list[str]:
        """Subjects and variants that are not done, or not of all seeds, in words."""
        words = []
        pairs = dict.fromkeys((spec.subject, variant) for variant, spec in self.choice.asked)
        for subject, variant in pairs:
            asked, done = len(self.choice.of(variant, subject)), len(self.of(subject, variant))
            if done < asked:
                words.append(f"{subject} {variant}" + (f" ({done} of {asked} seeds)" if done else ""))
        return words

    # --- ablations ---

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per subject and variant, the mean over its seeds.

        ``subject variant n_seeds r low high sd`` (over seeds), ``difference difference_low difference_high`` (less the
        full network, of seeds that both have), ``plain_r reconstruction_r algonauts_score epoch epochs`` (the last in
        words).
        """
        return pd.DataFrame(
            [self._score(*pair) for pair in product(self.subjects, self.variants) if self.of(*pair)],
            columns=[*KEYS, *SCORES],
        )

    def _score(self, subject: str, variant: str) -> dict[str, object]:
        from brainviz.encoding.statistics import interval  # scipy's statistics take a moment to load

        runs = self.of(subject, variant)
        results = [run.result() for run in runs]
        together = averaged(runs)
        mean = together.over(together.areas)
        r, low, high = np.nan, np.nan, np.nan
        if mean is not None:
            r, (low, high) = mean[0], (float(end) for end in interval(mean[1], estimate=mean[0]))
        each = np.array([np.nan if found["r_mean"] is None else found["r_mean"] for found in results], np.float64)
        plain = [found.get("plain_r_mean", found["r_mean"]) for found in results]
        scored = [found["algonauts_score"] for found in results if found.get("algonauts_score") is not None]
        epochs = [int(found["epoch"]) for found in results]
        row: dict[str, object] = {"subject": subject, "variant": variant, "n_seeds": len(runs)}
        row |= {"r": r, "low": low, "high": high, "sd": float(each.std(ddof=1)) if len(each) > 1 else np.nan}
        row |= dict(zip(DIFFERENCES, self._difference(subject, variant), strict=True))
        row |= {"plain_r": _mean(plain), "reconstruction_r": _mean([found["ceiling_r_mean"] for found in results])}
        row |= {"algonauts_score": _mean(scored), "epoch": float(np.mean(epochs))}
        return row | {"epochs": " ".join(map(str, epochs))}

    def _difference(self, subject: str, variant: str) -> tuple[float, float, float]:
        """Return the difference to the full network with its interval."""
        pair = self.paired(subject, variant, FULL) if variant != FULL else None
        if pair is None:
            return np.nan, np.nan, np.nan
        one, other = (averaged(runs) for runs in pair)
        found = difference(one, other, one.areas)
        return (np.nan, np.nan, np.nan) if found is None else (found.difference, found.low, found.high)

    def paired(self, subject: str, first: str, second: str) -> tuple[list[Run], list[Run]] | None:
        """Return the runs of two variants, of the seeds that both have; None where there is none."""
        ones, others = ({seed_of(run): run for run in self.of(subject, variant)} for variant in (first, second))
        seeds = sorted(set(ones) & set(others))
        return ([ones[seed] for seed in seeds], [others[seed] for seed in seeds]) if seeds else None

    @cached_property
    def over(self) -> pd.DataFrame:
        """One row per variant: means over subjects with t intervals, in the columns of `scores`; empty for one."""
        if len(self.subjects) < 2:
            return pd.DataFrame(columns=["variant", "n_subjects", *SCORES])
        found = []
        for variant, rows in self.scores.groupby("variant", sort=False):
            named: dict[str, object] = {"variant": variant, "n_subjects": len(rows)}
            named["n_seeds"] = int(rows["n_seeds"].sum())
            for value, (mean, low, high) in {"r": ("r", "low", "high"), "difference": DIFFERENCES}.items():
                of = over_subjects(rows, ["variant"], value).iloc[0]
                named |= {mean: of["mean"], low: of["low"], high: of["high"]}
            for name in ("sd", "plain_r", "reconstruction_r", "algonauts_score", "epoch"):
                named[name] = _mean(rows[name].tolist())
            found.append(named)
        return pd.DataFrame(found, columns=["variant", "n_subjects", *(name for name in SCORES if name != "epochs")])

    @cached_property
    def seeds(self) -> pd.DataFrame:
        """One row per run: ``subject variant seed r epoch run``."""
        rows = []
        for variant, run in self.runs:
            found = run.result()
            about = {"subject": spec_of(run).subject, "variant": variant, "seed": seed_of(run)}
            rows.append(about | {"r": found["r_mean"], "epoch": found["epoch"], "run": run.id})
        return pd.DataFrame(rows, columns=[*KEYS, "seed", "r", "epoch", "run"]).astype({"r": float})

    # --- the race ---

    def race(self, subject: str, variant: str) -> pd.DataFrame:
        """Return how the training of a subject's networks went, stage after stage, as `race_chart` takes it."""
        store, before, own = Store(), [], []
        for run in self.of(subject, variant):
            spec, seed = spec_of(run), seed_of(run)
            assert isinstance(spec, BottleneckSpec)
            begun = store.find(spec.pretraining) if spec.pretraining is not None else None
            if begun is not None and begun.state == "done":
                stage = PRETRAINING.format(len(spec.features.subjects))
                before.append(_curves(begun.id, begun).assign(stage=stage, seed=seed))
            own.append(_curves(run.id, run).assign(stage=OWN, seed=seed))
        return pd.concat([*before, *own], ignore_index=True)

    @cached_property
    def lags(self) -> pd.DataFrame:
        """Which hemisphere lagged, one row per subject, variant and stage: see `lag_row`."""
        rows = []
        for subject, variant in product(self.subjects, self.variants):
            if self.of(subject, variant):
                race = self.race(subject, variant)
                for stage in dict.fromkeys(race["stage"]):
                    rows.append({"subject": subject, "variant": variant, **lag_row(race[race["stage"] == stage])})
        return pd.DataFrame(rows)

    # --- per ROI ---

    @cached_property
    def rois(self) -> pd.DataFrame:
        """One row per subject, variant, hemisphere and ROI, the mean over seeds: ``r low high`` and the ceilings."""
        from brainviz.encoding.statistics import interval

        frames = []
        for subject, variant in product(self.subjects, self.variants):
            if runs := self.of(subject, variant):
                together = averaged(runs)
                low, high = interval(together.replicates, estimate=together.rows["r"].to_numpy(np.float64))
                frames.append(together.rows.assign(subject=subject, variant=variant, low=low, high=high))
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Everything that the runs say of ROIs, one row per run, hemisphere and ROI."""
        frames = []
        for variant, run in self.runs:
            frame = _table(run.id, run)
            frames.append(frame.assign(subject=spec_of(run).subject, variant=variant, seed=seed_of(run), run=run.id))
        table = pd.concat(frames, ignore_index=True)
        first = [*KEYS, "seed", "hemi", "roi"]
        return table[[*first, *(name for name in table.columns if name not in first)]]

    @cached_property
    def reconstruction(self) -> pd.DataFrame:
        """The reconstruction ceiling per hemisphere and ROI: ``low high``, of all runs."""
        return band(self.table, "reconstruction_r_mean")

    # --- words ---

    @property
    def tested_on(self) -> dict[str, Any]:
        """What decides which test pictures there are."""
        spec = self.choice.specs[0]
        assert isinstance(spec, BottleneckSpec)
        return {name: getattr(spec.features, name) for name in SplitFields.model_fields}

    @property
    def stem(self) -> str:
        """Of file names."""
        whose = self.subjects[0] if len(self.subjects) == 1 else f"{len(self.subjects)}subjects"
        return f"{self.source.key}_{whose}_bottleneck"

    def about(self, words: str, runs: Sequence[Run] = (), subject: str = "") -> Provenance:
        """Return the provenance of a figure: what it shows, of which runs (all unless named), of which subject."""
        ids = tuple(run.id for run in runs or [run for _, run in self.runs])
        whose = subject or ", ".join(self.subjects)
        return replace(self.provenance, subject=whose, method=f"{self.provenance.method}: {words}", runs=ids)

    def specs(self, subject: str = "", variant: str = "") -> tuple[Spec, ...]:
        """Return what was asked for: of all, or of one subject or variant."""
        return tuple(
            dict.fromkeys(
                spec for name, spec in self.choice.asked if subject in ("", spec.subject) and variant in ("", name)
            )
        )

    def averaged(self, subject: str, variant: str) -> Averaged:
        """Return the mean over the seeds of a subject and variant."""
        return averaged(self.of(subject, variant))


#: Columns of the difference to the full network, and of all scores.
DIFFERENCES = ("difference", "difference_low", "difference_high")
SCORES = (
    *("n_seeds", "r", "low", "high", "sd", *DIFFERENCES),
    *("plain_r", "reconstruction_r", "algonauts_score", "epoch", "epochs"),
)


def seed_of(run: Run) -> int:
    """Return the seed that a network was trained with."""
    spec = spec_of(run)
    assert isinstance(spec, BottleneckSpec)
    return spec.bottleneck_seed


def lag_row(race: pd.DataFrame) -> dict[str, object]:
    """Say which hemisphere lagged in one stage of a training, by the mean over its seeds.

    Parameters
    ----------
    race : frame
        Of `BottleneckResults.race`, one stage.

    Returns
    -------
    dict
        ``stage``, ``epochs``, ``lh`` and ``rh`` (epochs in which it lagged), ``last`` (the one that lags in the last
        epoch, empty where none does), ``gap`` (left S less right S, in the last epoch) and ``kept`` (epochs, in words).
    """
    mean = race.groupby("epoch")[["s_left", "s_right"]].mean()
    ahead = (mean["s_left"] - mean["s_right"]).to_numpy(np.float64)
    kept = race.loc[race["kept"], "epoch"].tolist()
    return {
        "stage": race["stage"].iloc[0],
        "epochs": len(ahead),
        "lh": int((ahead < 0).sum()),
        "rh": int((ahead > 0).sum()),
        "last": "lh" if ahead[-1] < 0 else "rh" if ahead[-1] > 0 else "",
        "gap": float(ahead[-1]),
        "kept": " ".join(map(str, kept)),
    }


def band(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return the lowest and highest of a value per hemisphere and ROI, where it is known: ``hemi roi low high``."""
    known = table.dropna(subset=[value])
    return known.groupby(["hemi", "roi"], sort=False)[value].agg(low="min", high="max").reset_index()


def _mean(values: Sequence[float | None]) -> float:
    """Return the mean of what is known; NaN where nothing is."""
    known: NDArray[np.float64] = np.array([np.nan if value is None else value for value in values], np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else float("nan")


@st.cache_data(show_spinner=False, max_entries=1024)
def _curves(run_id: str, _run: Run) -> pd.DataFrame:
    """Return one row per epoch of a stage's training: ``epoch`` (from 1), its curves, and whether it was ``kept``."""
    found = _run.json("curves")
    frame = pd.DataFrame({name: found[name] for name in LISTS})
    frame.insert(0, "epoch", np.arange(1, len(frame) + 1))
    return frame.assign(kept=frame["epoch"] == found["best"] + 1)


@st.cache_data(show_spinner=False, max_entries=512)
def _table(run_id: str, _run: Run) -> pd.DataFrame:
    return _run.table("rois")
