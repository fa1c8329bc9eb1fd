"""From flat settings to specs."""

import pytest

from brainviz.datasets import open_dataset
from brainviz.datasets.index import build_index
from brainviz.errors import DatasetError, SpecError
from brainviz.runs import places, requests
from brainviz.runs.fields import default_settings
from brainviz.runs.network_specs import FeaturesSpec, FinetuneSpec
from brainviz.runs.remembered import memo_dir
from brainviz.runs.requests import make_spec

#: A network whose names and sizes are known without torch.
SMALL = {"network": "squeezenet1_1", "weights": "random", "image_size": 32}

#: One with weights that come with brainviz.
COMPACT = {"network": "alexnet_compact", "weights": "demo"}


@pytest.fixture
def ask(tiny_dataset, cache):
    """Return `make_spec` for the tiny data set, with V1v of subj01 unless said otherwise."""
    index = build_index(tiny_dataset, memo_dir())

    def make(kind, **values):
        chosen = {"subject": "subj01", "hemi": "lh", "roi": "V1v", **SMALL, **values}
        return make_spec(kind, tiny_dataset, index, **chosen)

    return make


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
    assert (spec.seed, features.seed, finetune.seed) == (5, 0, 5)
    assert {features.test_share, finetune.test_share} == {0.25}
    assert finetune == ask("finetune", epochs=2, seed=5, test_share=0.25)
    assert spec.method == "contrastive"
    assert ask("encoding", **COMPACT).method == "untuned"


def test_a_seed_makes_other_features_only_where_weights_are_drawn(ask):
    drawn = [ask("encoding", method="random", seed=seed).features for seed in (0, 5)]
    assert [spec.seed for spec in drawn] == [0, 5]
    assert ask("features", **COMPACT, seed=5) == ask("features", **COMPACT, seed=0)


def test_random_weights_are_a_method(ask):
    spec = ask("encoding", network="alexnet_compact", weights="random", method="random")
    assert (spec.method, spec.features.weights, spec.features.finetune) == ("random", "random", None)
    assert spec == ask("encoding", network="alexnet_compact", weights="random", method="untuned")
    with pytest.raises(SpecError, match="no others"):
        ask("encoding", network="alexnet_compact", weights="demo", method="random")


def test_a_method_has_defaults_of_its_own(tiny_dataset, ask, monkeypatch):
    contrastive, regression = ask("finetune"), ask("finetune", method="regression")
    assert (contrastive.learning_rate, contrastive.epochs) == (1e-4, 30)
    assert (regression.learning_rate, regression.epochs) == (2.5e-5, 75)
    suggested = {**tiny_dataset.defaults, "learning_rate": 0.01, "regression": {"learning_rate": 0.02}}
    monkeypatch.setattr(tiny_dataset, "defaults", suggested)
    assert default_settings("finetune", tiny_dataset, method="contrastive")["learning_rate"] == 0.01
    assert default_settings("encoding", tiny_dataset, method="regression")["learning_rate"] == 0.02
    assert default_settings("encoding", tiny_dataset, method="regression")["epochs"] == 75
    monkeypatch.setattr(tiny_dataset, "defaults", {"regression": {"learning_rte": 0.02}})
    with pytest.raises(SpecError, match="learning_rate"):
        default_settings("finetune", tiny_dataset)


def test_what_a_method_does_not_use_cannot_make_another_run(ask):
    with pytest.raises(SpecError, match="temperature"):
        ask("finetune", method="regression", temperature=0.1)
    with pytest.raises(ValueError, match="temperature means nothing"):
        FinetuneSpec.model_validate({**ask("finetune").model_dump(), "method": "regression", "temperature": 0.1})


def test_several_rois_are_one_run_in_any_order(ask):
    spec = ask("encoding", hemi="both", roi="V1v, V1d,V1v")
    assert spec == ask("encoding", hemi="both", roi="V1d,V1v")
    assert spec.areas == (("lh", "V1d"), ("lh", "V1v"), ("rh", "V1d"), ("rh", "V1v"))
    with pytest.raises(DatasetError, match="hV4"):
        ask("encoding", roi="V1v,hV4")
    with pytest.raises(SpecError, match="No ROI"):
        ask("encoding", roi=" , ")


def test_a_network_is_tuned_on_one_roi(ask):
    for values in ({"roi": "V1v,V1d"}, {"hemi": "both"}):
        with pytest.raises(SpecError, match="tuning_roi"):
            ask("encoding", method="contrastive", **values)
    with pytest.raises(SpecError, match="one ROI of one hemisphere"):
        ask("finetune", roi="V1v,V1d")
    spec = ask("encoding", method="regression", hemi="both", roi="V1v,V1d", tuning_hemi="rh", tuning_roi="V2v")
    assert (spec.features.finetune.hemi, spec.features.finetune.roi) == ("rh", "V2v")
    assert len(spec.areas) == 4


def test_a_comparison_pairs_the_methods_roi_by_roi(ask):
    values = {**COMPACT, "epochs": 2, "temperature": 0.2}
    spec = ask("comparison", hemi="both", roi="V1v,V1d", n_permutations=99, **values)
    assert [run.areas for run in spec.first] == [run.areas for run in spec.second]
    assert {run.method for run in spec.first} == {"contrastive"}
    assert {run.method for run in spec.second} == {"untuned"}
    assert spec.first[0] == ask("encoding", method="contrastive", hemi="lh", roi="V1d", **values)
    assert spec.second[0] == ask("encoding", hemi="lh", roi="V1d", **COMPACT)
    assert (spec.n_permutations, len(spec.areas)) == (99, 4)
    other = ask("comparison", method="regression", baseline="contrastive", temperature=0.2)
    assert (other.first[0].method, other.second[0].method) == ("regression", "contrastive")
    assert other.second[0].features.finetune.temperature == 0.2


def test_a_lateralization_holds_the_encoding_that_it_attributes(ask):
    spec = ask("lateralization", **COMPACT, readout="classifier.5", n_images="20", n_folds=3, test_share=0.25)
    assert spec.encoding == ask("encoding", **COMPACT, layers="classifier.5", n_folds=3, test_share=0.25)
    assert (spec.classification, spec.readout, spec.n_images) == (None, "classifier.5", 20)
    assert (spec.dataset, spec.subject) == (spec.encoding.dataset, "subj01")
    assert ask("lateralization", **COMPACT).readout == "classifier.6", "the logits, unless another layer is named"
    tuned = ask("lateralization", **COMPACT, method="contrastive", epochs=2)
    assert tuned.encoding == ask("encoding", **COMPACT, method="contrastive", epochs=2, layers="classifier.6")


def test_left_less_right_predicts_both_hemispheres_and_is_tuned_on_the_one_named(ask):
    values = {**COMPACT, "target": "left-right", "hemi": "rh"}
    untuned, tuned = ask("lateralization", **values), ask("lateralization", **values, method="regression")
    assert untuned.encoding == ask("encoding", **COMPACT, hemi="both", layers="classifier.6")
    assert untuned == ask("lateralization", **{**values, "hemi": "lh"})
    finetune = tuned.encoding.features.finetune
    assert (tuned.encoding.hemi, finetune.hemi, finetune.roi, tuned.area) == ("both", "rh", "V1v", ("rh", "V1v"))
    with pytest.raises(DatasetError, match="FFA-1"):
        ask("lateralization", **{**values, "subject": "subj02", "roi": "FFA-1"})


def test_classes_are_attributed_without_a_roi(ask, tiny_task_root):
    values = {**COMPACT, "task": str(tiny_task_root), "allow_files": True}
    spec = ask("lateralization", **values, target="class", readout="classifier.5", hemi=None, roi=None)
    assert spec.classification == ask("classification", **values, readouts="classifier.5")
    assert (spec.encoding, spec.dataset, spec.subject, spec.area) == (None, "", "", ("", ""))
    tuned = ask("lateralization", **values, target="class", method="contrastive", epochs=2)
    assert tuned.classification.finetune == ask("finetune", **COMPACT, epochs=2)
    assert (tuned.subject, tuned.area) == ("subj01", ("lh", "V1v"))


def test_grad_cam_looks_at_the_last_map_unless_told_otherwise(ask):
    assert ask("lateralization", **COMPACT, attribution="grad-cam").cam_layer == "features.12"
    told = ask("lateralization", **COMPACT, attribution="grad-cam", cam_layer="features.5")
    assert told.cam_layer == "features.5"
    assert ask("lateralization", **COMPACT).cam_layer == ""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"roi": "V1v,V1d"}, "about one network"),
        ({"hemi": "both"}, "one by one"),
        ({"hemi": "both", "target": "left-right"}, "name the hemisphere that the network is tuned on"),
        ({"roi": "V1v,V1d", "target": "left-right"}, "about one network"),
        ({"hemi": None, "roi": None}, "must be named"),
        ({"readout": "classifier.9"}, "no layer 'classifier.9'"),
        ({"shuffle_images": True}, "no setting 'shuffle_images'"),
        ({"layers": "classifier.5"}, "no setting 'layers'"),
        ({"vertex": 3}, "vertex means nothing for saliency of the target roi"),
        ({"n_steps": 9}, "n_steps means nothing"),
        ({"window_share": 0.2}, "window_share means nothing"),
        ({"noise_sd": 0.2}, "noise_sd means nothing"),
        ({"cam_layer": "features.2"}, "cam_layer means nothing"),
        ({"epochs": 2}, "'epochs' means nothing for the method untuned"),
        ({"attribution": "occlusion", "window_share": 0}, "window_share: Input should be greater than 0"),
        ({"attribution": "salience"}, "'saliency'"),
        ({"n_images": 1}, "n_images"),
        ({"target": "class"}, "No classification task is named"),
        ({"target": "class", "task": "demo-nothing"}, "no such classification task"),
    ],
)
def test_a_lateralization_that_cannot_be_is_refused(ask, values, words):
    with pytest.raises(SpecError) as caught:
        ask("lateralization", **{**COMPACT, **values})
    assert words in str(caught.value)


def test_an_unknown_baseline_is_refused(ask):
    with pytest.raises(SpecError, match="did you mean 'regression'"):
        ask("comparison", baseline="regresion")


def test_the_same_request_in_other_words_is_the_same_run(ask):
    assert ask("encoding", alphas="10,1,10") == ask("encoding", alphas="1,10")
    assert ask("encoding", layers="features.3,features.3") == ask("encoding", layers="features.3")
    one, other = ask("encoding", roi="V1v"), ask("encoding", roi="V1d")
    assert requests.compare([one, other], [one, other]) == requests.compare([other, one], [other, one])
    moved = ask("comparison", exchange_seed=3)
    assert (moved.exchange_seed, moved.first, moved.second) == (3, ask("comparison").first, ask("comparison").second)


def test_both_hemispheres_need_both(ask, tiny_dataset, monkeypatch):
    monkeypatch.setattr(type(tiny_dataset), "hemispheres", lambda self, subject: ("lh",))
    with pytest.raises(SpecError, match="one hemisphere only"):
        ask("encoding", hemi="both")


def test_a_suggestion_for_one_method_leaves_the_other_alone(tiny_dataset, ask, monkeypatch):
    monkeypatch.setattr(tiny_dataset, "defaults", {**tiny_dataset.defaults, "temperature": 0.2})
    assert ask("finetune").temperature == 0.2
    assert ask("finetune", method="regression").method == "regression"


def test_what_cannot_be_compared_is_refused(ask):
    one = ask("encoding")
    for other, words in (
        (ask("encoding", roi="V1d"), "other ROIs"),
        (ask("encoding", test_share=0.3), "test_share 0.3 against 0.15"),
        (ask("encoding", seed=4), "seed 4 against 0"),
        (ask("encoding", subject="subj02"), "another data set or subject"),
    ):
        with pytest.raises(SpecError, match=words):
            requests.compare([one], [other])
    with pytest.raises(SpecError, match="has no layer"):
        requests.compare([one], [one], layer="nowhere")
    with pytest.raises(SpecError, match="as many"):
        requests.compare([one, one], [one])
    with pytest.raises(SpecError):
        requests.compare([], [])


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
    with pytest.raises(SpecError, match="means nothing for the method untuned"):
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
    monkeypatch.setattr(places, "MIN_ROI_VERTICES", 29)
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


def test_a_form_cannot_name_a_path(ask, tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"one")
    with pytest.raises(SpecError, match="no weights"):
        ask("finetune", weights=str(file))
