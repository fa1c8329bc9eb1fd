"""From flat settings to specs, and what is remembered for the workers."""

import json
import shutil

import pytest

from brainviz.datasets import open_dataset
from brainviz.datasets.index import build_index
from brainviz.errors import DatasetError, SpecError, WeightsError
from brainviz.runs import requests
from brainviz.runs.requests import default_settings, field_table, load_dataset, make_spec, memo_dir, weights_path
from brainviz.runs.specs import SPEC_CLASSES, FeaturesSpec, FinetuneSpec

#: A network whose names and sizes are known without torch.
SMALL = {"network": "squeezenet1_1", "weights": "random", "image_size": 32}


@pytest.fixture
def ask(tiny_dataset, cache):
    """Return `make_spec` for the tiny data set, with V1v of subj01 unless said otherwise."""
    index = build_index(tiny_dataset, memo_dir())

    def make(kind, **values):
        chosen = {"subject": "subj01", "hemi": "lh", "roi": "V1v", **SMALL, **values}
        return make_spec(kind, tiny_dataset, index, **chosen)

    return make


@pytest.mark.parametrize("kind", SPEC_CLASSES)
def test_the_table_names_every_setting_once(kind):
    names = [field.name for field in field_table(kind)]
    assert len(set(names)) == len(names)
    nested = {name for cls in requests.LAYERS_OF_KIND[kind] for name in cls.model_fields}
    assert set(names) == (nested - requests.NOT_SETTINGS) | {"method"}
    assert all(field.label and field.description for field in field_table(kind))


def test_the_table_says_types_limits_and_choices():
    fields = {field.name: field for field in field_table("encoding")}
    assert (fields["epochs"].type, fields["epochs"].minimum, fields["epochs"].tuned_only) == ("int", 1, True)
    assert (fields["test_share"].minimum, fields["test_share"].open_minimum, fields["test_share"].maximum) == (
        0,
        True,
        1,
    )
    assert fields["loss"].choices == ("paper", "poster", "symmetric")
    assert fields["method"].choices == ("untuned", "contrastive")
    assert fields["layers"].type == "texts"
    assert not fields["seed"].tuned_only


def test_a_data_sets_suggestions_hold_for_its_own_network(tiny_dataset, monkeypatch):
    suggested = {"network": "squeezenet1_1", "weights": "random", "image_size": 32, "batch_size": 64}
    monkeypatch.setattr(tiny_dataset, "defaults", suggested)
    own, other = default_settings("finetune", tiny_dataset), default_settings("finetune", tiny_dataset, "alexnet")
    assert {name: own[name] for name in suggested} == suggested
    assert (other["network"], other["weights"], other["image_size"], other["batch_size"]) == (
        "alexnet", "imagenet", 224, 64,
    )  # fmt: skip
    assert own["epochs"] == FinetuneSpec.model_fields["epochs"].default
    assert default_settings("encoding", tiny_dataset, "alexnet")["layers"][-1] == "classifier.6"


def test_a_suggestion_that_there_is_not_is_refused(tiny_dataset, monkeypatch):
    monkeypatch.setattr(tiny_dataset, "defaults", {"batchsize": 64})
    with pytest.raises(SpecError, match="batch_size"):
        default_settings("finetune", tiny_dataset)


def test_what_is_given_comes_before_what_is_suggested(ask):
    spec = ask("finetune", epochs=3, hemi="rh")
    assert (spec.epochs, spec.hemi, spec.image_size, spec.weights, spec.weights_digest) == (3, "rh", 32, "random", "")


def test_text_and_values_give_the_same_run(ask):
    text = ask("encoding", layers="features.3, classifier", alphas="1,10", n_folds="3", shuffle_images="true", seed="1")
    values = ask(
        "encoding", layers=("features.3", "classifier"), alphas=(1.0, 10.0), n_folds=3, shuffle_images=True, seed=1
    )
    assert text.run_id == values.run_id


def test_an_encoding_of_a_tuned_network_holds_what_tuned_it(ask):
    spec = ask("encoding", method="contrastive", epochs=2, seed=5, test_share=0.25)
    features, finetune = spec.features, spec.features.finetune
    assert (finetune.epochs, finetune.hemi, finetune.roi, finetune.subject) == (2, "lh", "V1v", "subj01")
    assert {spec.seed, features.seed, finetune.seed} == {5}
    assert {features.test_share, finetune.test_share} == {0.25}
    assert finetune == ask("finetune", epochs=2, seed=5, test_share=0.25)
    assert spec.method == "contrastive"
    assert ask("encoding").method == "untuned"


def test_features_of_an_untuned_network_need_no_roi(ask):
    spec = ask("features", hemi=None, roi=None)
    assert isinstance(spec, FeaturesSpec)
    assert spec == ask("encoding").features
    with pytest.raises(SpecError, match="must be named"):
        ask("features", hemi=None, roi=None, method="contrastive")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epohcs": 3}, "did you mean 'epochs'"),
        ({"epochs": 0}, "epochs: Input should be greater than or equal to 1"),
        ({"epochs": "many"}, "epochs: Input should be a valid integer"),
        ({"method": "contrastiv"}, "did you mean 'contrastive'"),
        ({"network": "alexnit"}, "alexnet"),
        ({"loss": "papier"}, "'paper', 'poster' or 'symmetric'"),
    ],
)
def test_a_wrong_setting_is_named(ask, values, words):
    with pytest.raises(SpecError) as caught:
        ask("finetune", **values)
    assert words in str(caught.value)


def test_a_setting_of_the_tuning_means_nothing_for_an_untuned_network(ask):
    with pytest.raises(SpecError, match="untuned one"):
        ask("encoding", epochs=3)


def test_an_unknown_kind_is_refused(ask):
    with pytest.raises(SpecError, match="did you mean 'encoding'"):
        ask("encodin")


@pytest.mark.parametrize(
    ("where", "words"),
    [({"subject": "subj09"}, "subj09"), ({"hemi": "left"}, "left"), ({"roi": "V9"}, "no ROI 'V9'")],
)
def test_data_that_there_are_not_are_refused(ask, where, words):
    with pytest.raises(DatasetError, match=words):
        ask("finetune", **where)


def test_a_small_roi_is_refused(ask, monkeypatch):
    monkeypatch.setattr(requests, "MIN_ROI_VERTICES", 29)
    assert ask("finetune", roi="V1v").roi == "V1v"
    with pytest.raises(DatasetError, match="28 vertices"):
        ask("finetune", roi="V1d")


def test_a_picture_that_cannot_be_decoded_is_told_before_anything_runs(tiny_copy, cache):
    picture = sorted((tiny_copy / "subj01/training_split/training_images").iterdir())[3]
    picture.write_bytes(b"no picture")
    dataset = open_dataset(tiny_copy)
    index = build_index(dataset, memo_dir())
    with pytest.raises(DatasetError, match="1 of subj01's pictures"):
        make_spec("finetune", dataset, index, subject="subj01", hemi="lh", roi="V1v", **SMALL)


def test_the_data_set_is_remembered_and_known_again(ask, tiny_dataset, cache):
    spec = ask("finetune")
    known = json.loads((cache / "datasets" / f"{spec.dataset}.json").read_text())
    assert known == {"root": str(tiny_dataset.root), "name": "Tiny", "n_images": {"subj01": 40, "subj02": 40}}
    dataset, index = load_dataset(spec.dataset)
    assert dataset.root == tiny_dataset.root
    assert index.fingerprint == spec.dataset


def test_data_that_changed_are_not_taken_for_those_asked_for(tiny_copy, cache):
    dataset = open_dataset(tiny_copy)
    spec = make_spec(
        "finetune", dataset, build_index(dataset, memo_dir()), subject="subj01", hemi="lh", roi="V1v", **SMALL
    )
    first, second = sorted((tiny_copy / "subj02/training_split/training_images").iterdir())[:2]
    shutil.copy(first, second)
    with pytest.raises(DatasetError, match="have changed"):
        load_dataset(spec.dataset)


def test_a_data_set_that_nobody_remembers_is_named(cache):
    with pytest.raises(DatasetError, match="Nothing is known"):
        load_dataset("0" * 64)


def test_a_weights_file_is_remembered_by_its_digest(ask, tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"one")
    first = ask("finetune", weights=str(file), allow_files=True)
    assert first.weights == "file"
    assert weights_path(first.weights_digest) == file
    file.write_bytes(b"another")
    assert ask("finetune", weights=str(file), allow_files=True).weights_digest != first.weights_digest
    file.unlink()
    with pytest.raises(WeightsError, match="no weights file"):
        ask("finetune", weights=str(file), allow_files=True)


def test_a_form_cannot_name_a_path(ask, tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"one")
    with pytest.raises(SpecError, match="no weights"):
        ask("finetune", weights=str(file))
