"""Finished lateralization runs as tables, on planted indices: models, what tuning and the hemisphere make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from brainviz.figures.style import Provenance
from brainviz.runs.requests import make_spec
from brainviz.runs.specs import LateralizationSpec
from brainviz.runs.store import Run, Store
from brainviz.ui import tasks
from brainviz.ui.choices import choose
from brainviz.ui.classified import once
from brainviz.ui.comparison import finished
from brainviz.ui.lateralized import ALL_SUBJECTS, Lateralized, index_of, with_all_subjects
from brainviz.ui.sources import Source

SUBJECTS, HEMISPHERES = ("subj01", "subj02"), ("lh", "rh")
ROIS = ("V1v", "V1d", "V2v")
NETWORK = {"network": "alexnet_compact", "weights": "demo", "image_size": 32}
SETTINGS: dict[str, dict[str, Any]] = {
    "untuned": NETWORK,
    "random": {"network": "alexnet_compact", "image_size": 32},
    "contrastive": {**NETWORK, "epochs": 2},
}

#: What the models of one hemisphere say of six pictures.
BEFORE = np.array([0.1, -0.2, 0.3, 0.0, -0.1, 0.05])

#: Indices by subject, hemisphere, ROI and method.
Planted = Mapping[tuple[str, str, str, str], Any]
Show = Callable[..., Lateralized]


@pytest.fixture
def show(source: Source, finish_lateralization_run: Callable[..., Run], provenance: Provenance) -> Show:
    """Return a function that finishes runs by what is planted, and shows them; `rows` are a run's pictures."""

    def finish(planted: Planted, rows: Mapping[Any, Any] | None = None, **settings: Any) -> Lateralized:
        own = {method: values | settings for method, values in SETTINGS.items()}
        choice = choose("lateralization", source, SUBJECTS, HEMISPHERES, ROIS, list(SETTINGS), own)
        for model, index in planted.items():
            subject, hemi, roi, method = model
            place = {"subject": subject, "hemi": hemi, "roi": roi, "method": method}
            spec = make_spec("lateralization", source.dataset, source.index, **place, **own[method])
            assert isinstance(spec, LateralizationSpec)
            assert spec in choice.specs
            finish_lateralization_run(spec, index, rows=(rows or {}).get(model))
        return Lateralized(source, None, choice, once(finished(choice, Store())), provenance)

    return finish


@pytest.fixture
def of_task(serve_task: Callable[..., None], tiny_task_root: Path, source: Source) -> dict[str, Any]:
    """Return the settings of runs about the classes of the tiny task."""
    serve_task("animals", tiny_task_root)
    tasks._task.clear()
    return {"target": "class", "task": "animals"}


def at(table: pd.DataFrame, *model: str) -> Any:
    """Return the row of a model."""
    rows = {tuple(row[name] for name in ("subject", "hemi", "roi", "method")): row for row in table.to_dict("records")}
    assert len(rows) == len(table)
    return rows[model]


LEFT, RIGHT = ("subj01", "lh", "V1v", "contrastive"), ("subj01", "rh", "V1v", "contrastive")
UNTUNED = ("subj01", "lh", "V1v", "untuned")


# --- the index --------------------------------------------------------------------------------------------------------


def test_one_row_per_model(show: Show) -> None:
    shown = show({LEFT: [0.5, 0.1, 0.3], UNTUNED: [-0.2, 0.0, np.nan]})
    table = shown.index
    assert len(table) == 2
    row = at(table, *LEFT)
    np.testing.assert_allclose([row["value"], row["low"], row["high"]], [0.3, 0.25, 0.35])
    assert row["n"] == 3
    assert row["run"] == shown.models[LEFT[0], LEFT[2], LEFT[1], LEFT[3]].id
    # The picture that has nothing on either side does not count.
    row = at(table, *UNTUNED)
    assert (row["value"], row["n"]) == (pytest.approx(-0.1), 2)
    assert (shown.attribution, shown.stem) == ("saliency", "tiny_subj01_V1_saliency")


def test_a_run_without_any_index_has_no_number(show: Show) -> None:
    shown = show({LEFT: [np.nan] * 3, UNTUNED: BEFORE[:3]})
    row = at(shown.index, *LEFT)
    assert row["n"] == 0
    assert np.isnan([row["value"], row["low"], row["high"]]).all()
    row = at(shown.tuning, *LEFT)
    assert row["n"] == 0
    assert np.isnan([row["value"], row["p"], row["q"]]).all()


def test_the_index_of_a_picture_is_the_mean_with_its_mirror_image(show: Show) -> None:
    shown = show({LEFT: [[0.4, 0.0], [-0.6, 0.2], [1.0, 0.8]]})
    (run,) = (run for _, run in shown.runs)
    index, rows, groups = index_of(run.id, run)
    np.testing.assert_allclose(index, [0.2, -0.2, 0.9])
    assert len(set(rows)) == len(set(groups)) == 3
    assert at(shown.index, *LEFT)["value"] == pytest.approx(0.3)


# --- differences ------------------------------------------------------------------------------------------------------


def test_tuned_less_untuned_picture_by_picture(show: Show) -> None:
    shown = show({LEFT: BEFORE + 0.2, UNTUNED: BEFORE, RIGHT: BEFORE - 0.1})
    table = shown.tuning
    assert len(table) == 1  # the right hemisphere's untuned run is missing
    row = at(table, *LEFT)
    # Every picture's difference is the same, so that no resample of them has another: unpaired ones would.
    np.testing.assert_allclose([row["value"], row["low"], row["high"]], 0.2, atol=1e-9)
    # Of the 64 ways to swap labels, two are as far from 0.
    assert row["p"] == pytest.approx(2 / 64, abs=0.006)
    assert row["n"] == 6
    runs = {key: run.id for key, run in shown.models.items()}
    assert row["run"] == runs["subj01", "V1v", "lh", "contrastive"]
    assert row["against"] == runs["subj01", "V1v", "lh", "untuned"]


def test_left_less_right_picture_by_picture(show: Show) -> None:
    difference = np.array([0.3, 0.1, 0.2, -0.1, 0.4, 0.3])
    shown = show({LEFT: BEFORE + difference, RIGHT: BEFORE, UNTUNED: BEFORE})
    (row,) = shown.contrast.to_dict("records")
    assert (row["subject"], row["roi"], row["hemi"], row["method"]) == ("subj01", "V1v", "", "contrastive")
    assert row["value"] == pytest.approx(0.2)
    assert row["low"] < 0.2 < row["high"]
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1)
    exact = np.mean(np.abs(difference @ signs) >= difference.sum() - 1e-9)
    assert row["p"] == pytest.approx(exact, abs=0.01)


def test_a_picture_without_an_index_in_either_is_left_out(show: Show) -> None:
    other = BEFORE + 0.2
    other[1] = np.nan
    before = BEFORE.copy()
    before[4] = np.nan
    row = at(show({LEFT: other, UNTUNED: before}).tuning, *LEFT)
    assert row["n"] == 4
    assert row["value"] == pytest.approx(0.2)


def test_runs_about_other_pictures_are_not_paired(show: Show) -> None:
    shown = show(
        {LEFT: BEFORE, RIGHT: BEFORE, UNTUNED: BEFORE},
        rows={RIGHT: range(6), UNTUNED: range(10, 16)},
    )
    assert len(shown.index) == 3
    assert shown.tuning.empty
    assert shown.contrast.empty


def test_q_is_over_the_rois_of_a_subject_hemisphere_and_method(show: Show) -> None:
    rng = np.random.default_rng(5)
    planted: dict[tuple[str, str, str, str], Any] = {}
    for subject in SUBJECTS:
        for hemi in HEMISPHERES:
            for number, roi in enumerate(ROIS):
                before = rng.uniform(-0.3, 0.3, 6)
                planted[subject, hemi, roi, "untuned"] = before
                planted[subject, hemi, roi, "contrastive"] = before + rng.normal(0.15 * number, 0.15, 6)
    shown = show(planted)
    for table in (shown.tuning, shown.contrast):
        tested = table[table["subject"] != ALL_SUBJECTS]
        families = tested.groupby(["subject", "hemi", "method"])
        # Left less right is also known of untuned: its models of the hemispheres predict other responses.
        assert len(families) == 4
        for _, family in families:
            assert list(family["roi"]) == list(ROIS)
            np.testing.assert_allclose(family["q"], stats.false_discovery_control(family["p"]))
        assert (tested["q"] != tested["p"]).any()
        # Nothing is tested over all subjects.
        assert table.loc[table["subject"] == ALL_SUBJECTS, ["p", "q"]].isna().all(axis=None)


# --- several subjects -------------------------------------------------------------------------------------------------


def test_the_mean_over_subjects(show: Show) -> None:
    other = ("subj02", *LEFT[1:])
    shown = show({LEFT: [0.5, 0.1, 0.3], other: [0.1, 0.0, 0.2], UNTUNED: BEFORE})
    row = at(shown.index, ALL_SUBJECTS, *LEFT[1:])
    # Intervals of one length: both count alike. Two subjects have one degree of freedom.
    assert (row["value"], row["n"], row["run"]) == (pytest.approx(0.2), 2, "")
    half = stats.t.ppf(0.975, 1) * 0.2 / 2
    assert half > 1
    # That would reach beyond what an index can be.
    assert (row["low"], row["high"]) == (-1, 1)
    # Untuned is done for one subject alone.
    assert list(shown.index["subject"]) == ["subj01", "subj01", "subj02", ALL_SUBJECTS]


def test_one_subject_alone_is_no_mean(show: Show) -> None:
    assert ALL_SUBJECTS not in set(show({LEFT: BEFORE, RIGHT: BEFORE}).index["subject"])
    empty = pd.DataFrame(columns=["subject", "hemi", "roi", "method", "value", "low", "high", "n", "run"])
    assert with_all_subjects(empty, 1.0).empty


def test_one_network_of_all_subjects_is_no_mean_over_subjects(show: Show, of_task: dict[str, Any]) -> None:
    """Classes from the untuned network: its one index stands at both subjects, and says nothing of how they differ."""
    other = ("subj02", *LEFT[1:])
    shown = show({LEFT: BEFORE + 0.3, other: BEFORE + 0.1, UNTUNED: BEFORE}, **of_task)
    table = shown.index
    assert list(table.loc[table["method"] == "untuned", "subject"]) == ["subj01", "subj02"]
    assert list(table.loc[table["subject"] == ALL_SUBJECTS, "method"]) == ["contrastive"]
    assert at(shown.tuning, ALL_SUBJECTS, *LEFT[1:])["value"] == pytest.approx(0.2)


# --- controls ---------------------------------------------------------------------------------------------------------


def test_a_control_that_belongs_to_no_roi_stands_at_every_one(show: Show, of_task: dict[str, Any]) -> None:
    elsewhere = ("subj02", "rh", "V2v", "contrastive")
    planted = {LEFT: BEFORE + 0.1, elsewhere: BEFORE - 0.3, UNTUNED: BEFORE, (*UNTUNED[:3], "random"): BEFORE}
    shown = show(planted, **of_task)
    assert len(shown.runs) == 4
    places = [("subj01", "V1v", "lh"), ("subj02", "V2v", "rh")]
    methods = ("contrastive", "untuned", "random")
    assert set(shown.models) == {(*place, method) for place in places for method in methods}
    assert len({run.id for key, run in shown.models.items() if key[3] == "untuned"}) == 1
    tuning = shown.tuning
    assert at(tuning, *LEFT)["value"] == pytest.approx(0.1)
    assert at(tuning, *elsewhere)["value"] == pytest.approx(-0.3)


def test_controls_alone_stand_at_no_place(show: Show, of_task: dict[str, Any]) -> None:
    shown = show({UNTUNED: BEFORE, (*UNTUNED[:3], "random"): BEFORE + 0.1}, **of_task)
    assert set(shown.models) == {("", "", "", "untuned"), ("", "", "", "random")}
    np.testing.assert_allclose(sorted(shown.index["value"]), [BEFORE.mean(), BEFORE.mean() + 0.1])
    assert shown.tuning.empty
    assert shown.contrast.empty


def test_left_less_right_responses_of_the_untuned_network(show: Show) -> None:
    """One run predicts both hemispheres: it is the control of either's tuned network, of its own subject and ROI."""
    other_roi = ("subj01", "lh", "V1d", "contrastive")
    planted = {LEFT: BEFORE + 0.1, RIGHT: BEFORE - 0.1, other_roi: BEFORE, UNTUNED: BEFORE}
    shown = show(planted, target="left-right")
    untuned = {key: run for key, run in shown.models.items() if key[3] == "untuned"}
    assert set(untuned) == {("subj01", "V1v", hemi, "untuned") for hemi in HEMISPHERES}
    assert len({run.id for run in untuned.values()}) == 1
    assert [at(shown.tuning, *model)["value"] for model in (LEFT, RIGHT)] == pytest.approx([0.1, -0.1])
    # No contrast of the untuned network with itself.
    assert list(shown.contrast["method"]) == ["contrastive"]
    assert shown.contrast["value"].item() == pytest.approx(0.2)


def test_left_less_right_responses_of_the_untuned_network_alone(show: Show) -> None:
    shown = show({UNTUNED: BEFORE, ("subj02", "lh", "V1d", "untuned"): BEFORE + 0.2}, target="left-right")
    assert set(shown.models) == {("subj01", "V1v", "", "untuned"), ("subj02", "V1d", "", "untuned")}
    assert at(shown.index, "subj01", "", "V1v", "untuned")["value"] == pytest.approx(BEFORE.mean())
    assert at(shown.index, "subj02", "", "V1d", "untuned")["value"] == pytest.approx(BEFORE.mean() + 0.2)
