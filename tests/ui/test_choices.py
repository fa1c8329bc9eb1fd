"""From controls to runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from brainviz.errors import SpecError
from brainviz.runs.network_specs import EncodingSpec, FinetuneSpec
from brainviz.runs.store import Run, Store
from brainviz.ui.choices import RUN_COLUMNS, choose, runs_frame, split_words, states
from brainviz.ui.sources import Source

NETWORK = {"network": "alexnet_compact", "weights": "demo", "image_size": 32}
TUNING = {"contrastive": {**NETWORK, "epochs": 2}}
SCALARS = {"epochs": 2, "loss": 1.5, "retrieval_top1": 0.25, "seconds": 3.0, "images_per_second": 20.0}


def test_one_run_per_combination_that_there_is(source: Source) -> None:
    subjects, hemispheres, rois = ["subj01", "subj02"], ["lh", "rh"], ["V1", "FFA-1"]
    choice = choose("finetune", source, subjects, hemispheres, rois, ["contrastive"], TUNING)
    assert [spec.label for spec in choice.specs] == [
        "subj01 lh V1 contrastive",
        "subj01 lh FFA-1 contrastive",
        "subj01 rh V1 contrastive",
        "subj01 rh FFA-1 contrastive",
        "subj02 lh V1 contrastive",
        "subj02 rh V1 contrastive",
        "subj02 rh FFA-1 contrastive",
    ]
    assert choice.left_out == ("FFA-1 of subj02 in the left hemisphere",)
    assert {spec.epochs for spec in choice.specs if isinstance(spec, FinetuneSpec)} == {2}


def test_every_method_gets_its_own_settings(source: Source) -> None:
    plain = {**NETWORK, "layers": ("classifier.6",)}
    settings = {"untuned": plain, "contrastive": {**plain, "epochs": 2}, "regression": {**plain, "epochs": 4}}
    choice = choose("encoding", source, ["subj01"], ["lh"], ["V1v", "V1d"], list(settings), settings)
    assert [method for method, _ in choice.asked] == [*settings, *settings]
    untuned, contrastive, regression = choice.specs[:3]
    assert isinstance(untuned, EncodingSpec)
    assert isinstance(contrastive, EncodingSpec)
    assert isinstance(regression, EncodingSpec)
    assert untuned.features.finetune is None
    assert contrastive.features.finetune is not None
    assert regression.features.finetune is not None
    assert (contrastive.features.finetune.epochs, regression.features.finetune.epochs) == (2, 4)
    assert [spec.label for spec in choice.of("regression", "subj01")] == [
        "subj01 lh V1v regression",
        "subj01 lh V1d regression",
    ]
    assert choice.of("regression", "subj02") == ()


def test_two_methods_that_mean_one_run(source: Source) -> None:
    plain = {**NETWORK, "layers": ("classifier.6",)}
    settings = {"untuned": {**plain, "weights": "random"}, "random": {**plain, "weights": "random"}}
    choice = choose("encoding", source, ["subj01"], ["lh"], ["V1v"], list(settings), settings)
    assert len(choice.asked) == 2
    assert len(choice.specs) == 1


def test_settings_out_of_range_are_named(source: Source) -> None:
    settings = {"contrastive": {**NETWORK, "temperature": 0.0}}
    with pytest.raises(SpecError, match="temperature"):
        choose("finetune", source, ["subj01"], ["lh"], ["V1"], ["contrastive"], settings)


def test_table_of_runs(source: Source, finish_run: Callable[..., Run]) -> None:
    specs = choose("finetune", source, ["subj01"], ["lh", "rh"], ["V1"], ["contrastive"], TUNING).specs
    run = finish_run(specs[0], SCALARS)
    assert states(specs, Store()) == ["done", None]
    frame = runs_frame([run])
    assert tuple(frame.columns) == RUN_COLUMNS
    row = frame.iloc[0]
    assert (row["run"], row["state"], row["loss"], row["epochs"]) == (run.id, "done", 1.5, 2)
    assert runs_frame([]).empty
    assert split_words(specs[0]) == "15% test pictures, split seed 0"
