"""From controls to runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from brainviz.errors import SpecError
from brainviz.runs.specs import EncodingSpec, FinetuneSpec
from brainviz.runs.store import Run, Store
from brainviz.ui.choices import RUN_COLUMNS, choose, runs_frame, split_words, states
from brainviz.ui.sources import Source

NETWORK = {"network": "alexnet_compact", "weights": "random", "image_size": 32}
SCALARS = {"epochs": 2, "loss": 1.5, "retrieval_top1": 0.25, "seconds": 3.0, "images_per_second": 20.0}


def test_one_run_per_combination_that_there_is(source: Source) -> None:
    subjects, hemispheres, rois = ["subj01", "subj02"], ["lh", "rh"], ["V1", "FFA-1"]
    choice = choose("finetune", source, subjects, hemispheres, rois, ["contrastive"], {**NETWORK, "epochs": 2})
    assert [spec.label for spec in choice.specs] == [
        "subj01 lh V1",
        "subj01 lh FFA-1",
        "subj01 rh V1",
        "subj01 rh FFA-1",
        "subj02 lh V1",
        "subj02 rh V1",
        "subj02 rh FFA-1",
    ]
    assert choice.left_out == ("FFA-1 of subj02 in the left hemisphere",)
    assert {spec.epochs for spec in choice.specs if isinstance(spec, FinetuneSpec)} == {2}


def test_untuned_runs_know_nothing_of_the_tuning(source: Source) -> None:
    settings = {**NETWORK, "epochs": 2, "layers": ("classifier.6",)}
    first, second = choose("encoding", source, ["subj01"], ["lh"], ["V1v"], ["untuned", "contrastive"], settings).specs
    other = choose("encoding", source, ["subj01"], ["lh"], ["V1v"], ["untuned"], {**settings, "epochs": 3}).specs[0]
    assert isinstance(first, EncodingSpec)
    assert isinstance(second, EncodingSpec)
    assert first.features.finetune is None
    assert second.features.finetune is not None
    assert second.features.finetune.epochs == 2
    assert first.run_id == other.run_id


def test_settings_out_of_range_are_named(source: Source) -> None:
    with pytest.raises(SpecError, match="temperature"):
        choose("finetune", source, ["subj01"], ["lh"], ["V1"], ["contrastive"], {**NETWORK, "temperature": 0.0})


def test_table_of_runs(source: Source, finish_run: Callable[..., Run]) -> None:
    specs = choose(
        "finetune", source, ["subj01"], ["lh", "rh"], ["V1"], ["contrastive"], {**NETWORK, "epochs": 2}
    ).specs
    run = finish_run(specs[0], SCALARS)
    assert states(specs, Store()) == ["done", None]
    frame = runs_frame([run])
    assert tuple(frame.columns) == RUN_COLUMNS
    row = frame.iloc[0]
    assert (row["run"], row["state"], row["loss"], row["epochs"]) == (run.id, "done", 1.5, 2)
    assert runs_frame([]).empty
    assert split_words(specs[0]) == "15% test pictures, split seed 0"
