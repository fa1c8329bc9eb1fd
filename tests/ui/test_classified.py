"""Finished classification runs as tables, on planted answers: accuracies, answers, and the trade-off with r."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from brainviz.figures.style import Provenance
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.requests import make_spec
from brainviz.runs.store import Run, Store
from brainviz.ui import tasks
from brainviz.ui.choices import Choice, choose
from brainviz.ui.classified import Classified, answers_of, once
from brainviz.ui.comparison import finished
from brainviz.ui.settings import encoding_settings
from brainviz.ui.sources import Source

SUBJECTS, HEMISPHERES = ("subj01", "subj02"), ("lh", "rh")
NETWORK = {"network": "alexnet_compact", "weights": "demo", "image_size": 32}
SETTINGS = {"untuned": NETWORK, "regression": {**NETWORK, "epochs": 3}, "contrastive": {**NETWORK, "epochs": 2}}
OF_TASK = {"task": "animals", "readouts": ("classifier.6", "classifier.5")}

Show = Callable[..., Classified]


@pytest.fixture
def show(
    source: Source,
    serve_task: Callable[..., None],
    tiny_task_root: Path,
    finish_classification_run: Callable[..., Run],
    provenance: Provenance,
) -> Show:
    """Return a function that finishes runs of V1 by what they get right, as (subject, hemi, method), and shows them."""
    serve_task("animals", tiny_task_root)
    tasks._task.clear()

    def finish(right: Mapping[tuple[str, str, str], Any], readout: str = "classifier.6") -> Classified:
        settings = {method: values | OF_TASK for method, values in SETTINGS.items()}
        choice = choose("classification", source, SUBJECTS, HEMISPHERES, ("V1",), list(SETTINGS), settings)
        for (subject, hemi, method), gets in right.items():
            place = {"subject": subject, "hemi": hemi, "roi": "V1"}
            spec = make_spec("classification", source.dataset, source.index, **place, method=method, **settings[method])
            assert spec in choice.specs
            finish_classification_run(spec, *(gets if isinstance(gets, tuple) else (gets,)))
        task = tasks._task("animals", str(tiny_task_root), "")
        assert task is not None
        return Classified(
            source, task, choice, once(finished(choice, Store())), readout, encodings_of(source), provenance
        )

    return finish


def encodings_of(source: Source) -> Choice:
    own = encoding_settings(source, {method: dict(values) for method, values in SETTINGS.items()}, list(SETTINGS))
    return choose("encoding", source, SUBJECTS, HEMISPHERES, ("V1",), list(SETTINGS), own)


@pytest.fixture
def encode(source: Source, finish_encoding_run: Callable[..., Run]) -> Callable[..., None]:
    """Return a function that finishes encoding runs of V1 with one r everywhere, by (subject, hemi, method)."""

    def finish(r: Mapping[tuple[str, str, str], float]) -> None:
        for method, spec in encodings_of(source).asked:
            assert isinstance(spec, EncodingSpec)
            ((hemi, roi),) = spec.areas
            if (value := r.get((spec.subject, hemi, method))) is not None:
                n_vertices = len(source.dataset.columns(spec.subject, hemi, roi))
                finish_encoding_run(spec, source.dataset, np.full((1, n_vertices), value))

    return finish


UNTUNED = ("subj01", "lh", "untuned")


# --- models -----------------------------------------------------------------------------------------------------------


def test_every_run_is_there_once_and_where_it_comes_first(show: Show) -> None:
    shown = show({UNTUNED: 9, ("subj01", "lh", "contrastive"): 8, ("subj02", "rh", "contrastive"): 3})
    # Untuned is asked for with every hemisphere of every subject.
    assert [method for method, _ in finished(shown.choice, Store())].count("untuned") == 4
    assert [method for method, _ in shown.runs] == ["untuned", "contrastive", "contrastive"]
    assert once(()) == ()


def test_one_row_per_model(show: Show) -> None:
    shown = show({UNTUNED: (9, 4), ("subj02", "rh", "contrastive"): (3, 7)}, readout="classifier.5")
    table = shown.accuracies.set_index("model")
    assert list(table.index) == ["untuned", "subj02 rh V1 contrastive"]
    np.testing.assert_allclose(table["accuracy"], [4 / 12, 7 / 12])
    np.testing.assert_allclose(table["low"], table["accuracy"] - 0.05)
    np.testing.assert_allclose(table["high"], table["accuracy"] + 0.05)
    tuned = table.loc["subj02 rh V1 contrastive"]
    assert list(tuned[["subject", "hemi", "roi", "group", "method"]]) == ["subj02", "rh", "V1", "early", "contrastive"]
    assert set(table.loc["untuned", ["subject", "hemi", "roi", "group", "finetune"]]) == {""}
    assert list(table["n_test"]) == [12, 12]


def test_chance_is_the_commonest_class(show: Show) -> None:
    shown = show({UNTUNED: 9})
    labels = shown.task.task.labels[np.load(shown.runs[0][1].file("rows.npy"))]
    assert shown.chance == max(np.mean(labels == label) for label in range(4))
    assert shown.untuned is not None
    assert shown.untuned.id == shown.runs[0][1].id
    assert shown.stem == "tiny_animals"


def test_without_untuned(show: Show) -> None:
    shown = show({("subj01", "lh", "contrastive"): 8})
    assert shown.untuned is None
    assert shown.trade.empty


def test_answers(show: Show) -> None:
    shown = show({UNTUNED: ([0, 3, 11], range(5))})
    answers = answers_of(shown.runs[0][1], "classifier.6")
    np.testing.assert_array_equal(answers.labels, shown.task.task.labels[answers.rows])
    np.testing.assert_array_equal(np.flatnonzero(answers.correct), [0, 3, 11])
    np.testing.assert_array_equal(answers.predicted, (answers.labels + ~answers.correct) % 4)
    np.testing.assert_allclose(answers.certainty, np.linspace(0.5, 0.9, 12), rtol=1e-6)
    assert answers_of(shown.runs[0][1], "classifier.5").correct.sum() == 5


# --- encoding runs beside ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["untuned", "contrastive", "random"])
def test_encodings_are_those_of_the_encoding_page(source: Source, method: str) -> None:
    """At the logits and with the defaults of encoding: only what makes the network comes from the other form."""
    form = {"network": "alexnet_compact", "image_size": 32, "seed": 5, "regularisation": 0.5, "task_seed": 3}
    form |= {"weights": "demo"} if method != "random" else {}
    form |= {"epochs": 2} if method == "contrastive" else {}
    kept = encoding_settings(source, {method: form}, [method])[method]
    shared = {"network": "alexnet_compact", "image_size": 32, "layers": ("classifier.6",)}
    own = {
        "untuned": {"weights": "demo"},
        "contrastive": {"weights": "demo", "epochs": 2},
        "random": {"seed": 5},
    }
    assert kept == shared | own[method]
    place = {"subject": "subj01", "hemi": "lh", "roi": "V1", "method": method}
    spec = make_spec("encoding", source.dataset, source.index, **place, **kept)
    assert isinstance(spec, EncodingSpec)
    assert spec.features.layers == ("classifier.6",)


# --- the trade-off ----------------------------------------------------------------------------------------------------


def test_trade_off(show: Show, encode: Callable[..., None]) -> None:
    encode({UNTUNED: 0.3, ("subj01", "lh", "contrastive"): 0.45, ("subj01", "lh", "regression"): 0.25})
    right = {UNTUNED: range(9), ("subj01", "lh", "contrastive"): range(4, 11), ("subj01", "lh", "regression"): 12}
    # Not encoded: no gain is known.
    shown = show(right | {("subj01", "rh", "contrastive"): 5})
    table = shown.trade.set_index("method")
    assert set(table.index) == {"contrastive", "regression"}
    np.testing.assert_allclose(table.loc[["contrastive", "regression"], "gain"], [0.15, -0.05], rtol=1e-5)
    np.testing.assert_allclose(table.loc[["contrastive", "regression"], "drop"], [2 / 12, -3 / 12])
    # Untuned alone gets pictures 0 to 3, contrastive alone 9 and 10; regression gets all.
    p = [stats.binomtest(2, 6).pvalue, stats.binomtest(0, 3).pvalue]
    np.testing.assert_allclose(table.loc[["contrastive", "regression"], "p"], p)
    # Replicates of both methods move together, so that their difference does not vary.
    np.testing.assert_allclose(table["gain_low"], table["gain"], atol=1e-6)
    runs = dict(zip(shown.accuracies["model"], shown.accuracies["run"], strict=True))
    assert table.loc["contrastive", "run"] == runs["subj01 lh V1 contrastive"]


def test_every_model_has_its_own_gain(show: Show, encode: Callable[..., None]) -> None:
    places = [(subject, hemi) for subject in SUBJECTS for hemi in HEMISPHERES]
    encode({(*place, "untuned"): 0.2 + 0.02 * number for number, place in enumerate(places)})
    encode({(*place, "contrastive"): 0.3 + 0.05 * number for number, place in enumerate(places)})
    shown = show({UNTUNED: 9} | {(*place, "contrastive"): number for number, place in enumerate(places)})
    table = shown.trade.set_index(["subject", "hemi"])
    for number, place in enumerate(places):
        np.testing.assert_allclose(
            table.loc[place, ["gain", "drop"]].astype(float), [0.1 + 0.03 * number, (9 - number) / 12], rtol=1e-5
        )


def test_no_trade_off_without_encodings_of_both(show: Show, encode: Callable[..., None]) -> None:
    right = {UNTUNED: 9, ("subj01", "lh", "contrastive"): 8}
    assert show(right).trade.empty
    encode({("subj01", "lh", "contrastive"): 0.4})
    assert show({}).trade.empty
    encode({UNTUNED: 0.3})
    assert len(show({}).trade) == 1
