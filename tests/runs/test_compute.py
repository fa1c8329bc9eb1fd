"""Computing: the same run gives the same bits, results agree with independent re-statements, bad data are named."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.decomposition import PCA

from brainviz.datasets import open_dataset
from brainviz.datasets.index import build_index
from brainviz.datasets.splits import hold_out, split_pictures
from brainviz.errors import DatasetError, RunError, SpecError, WeightsError
from brainviz.runs import compute as compute_module
from brainviz.runs import networks
from brainviz.runs.compute import compute, standardised
from brainviz.runs.context import Context, Pictures
from brainviz.runs.remembered import memo_dir
from brainviz.runs.store import Store

LAYERS = ("features.3", "classifier")


def test_a_fit_is_repeated_bit_for_bit(ask, tiny_dataset, tmp_path, monkeypatch, computed):
    runs, events = [], []
    for number in range(2):
        monkeypatch.setenv("BRAINVIZ_CACHE", str(tmp_path / f"cache{number}"))
        spec = ask("finetune", tiny_dataset, epochs=2, batch_size=16, learning_rate=1e-3)
        runs.append(computed(spec, events=events))
    first, second = (run.file("weights.safetensors").read_bytes() for run in runs)
    assert runs[0].path != runs[1].path
    assert runs[0].id == runs[1].id
    assert first == second
    untimed = [{**run.result(), "seconds": 0, "images_per_second": 0} for run in runs]
    assert untimed[0] == untimed[1]
    state = load_file(runs[0].file("weights.safetensors"))
    assert {name.split(".")[0] for name in state} == {"backbone", "g_A", "g_Y", "g_H"}
    assert state["g_Y.weight"].shape == (24, 30)  # h = int(0.8 * 30)


def test_a_fit_tells_its_epochs_and_its_scalars(ask, tiny_dataset, computed):
    events = []
    result = computed(ask("finetune", tiny_dataset, epochs=2), events=events).result()
    assert {"epochs", "loss", "retrieval_top1", "seconds", "images_per_second"} <= set(result)
    train = split_pictures(build_index(tiny_dataset, memo_dir()))["subj01"].train
    assert result["n_fit"] + result["n_validation"] == len(train)
    assert result["n_test"] == 40 - len(train)
    assert result["retrieval_chance"] == 1 / result["n_validation"]
    assert result["batch_size"] == result["n_fit"]  # 1024 falls to what there is, with a word
    assert any("batch size falls" in event.get("text", "") for event in events)
    epochs = [event for event in events if event["event"] == "epoch"]
    assert [event["epoch"] for event in epochs] == [1, 2]
    assert epochs[-1]["loss"] == result["loss"]
    assert epochs[-1]["retrieval_top1"] == result["retrieval_top1"]


def test_scores_are_those_of_a_pca_of_the_training_pictures(ask, tiny_dataset, computed):
    from brainviz.encoding.features import layer_features
    from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD, load_backbone

    run = computed(ask("features", tiny_dataset, layers=LAYERS, n_components=5))
    images = np.stack([np.asarray(image) for image in tiny_dataset.images("subj01")])  # they have the size already
    backbone = load_backbone("squeezenet1_1", "random", "")
    train = split_pictures(build_index(tiny_dataset, memo_dir()))["subj01"].train
    for layer, found in layer_features(backbone, LAYERS, images, IMAGENET_MEAN, IMAGENET_STD).items():
        oracle = PCA(5, svd_solver="full").fit(found[train].astype(np.float64))
        expected, scores = oracle.transform(found.astype(np.float64)), run.array(f"scores_{layer}")
        expected *= np.sign((expected * scores).sum(axis=0))
        np.testing.assert_allclose(scores, expected, atol=1e-3 * np.abs(expected).max())
        np.testing.assert_allclose(run.array(f"explained_{layer}"), oracle.explained_variance_ratio_, rtol=1e-3)
    assert run.result()["n_components"] == dict.fromkeys(LAYERS, 5)
    assert not (run.path / "scratch").exists()


def test_layers_that_another_run_has_are_taken_over(ask, tiny_dataset, computed, monkeypatch):
    first = computed(ask("features", tiny_dataset, layers=LAYERS, n_components=5))
    forward = []
    original = compute_module.passes
    monkeypatch.setattr(compute_module, "passes", lambda *args: forward.append(args[1]) or original(*args))
    again = computed(ask("features", tiny_dataset, layers="classifier", n_components=5))
    assert (again.result()["layers_taken_over"], forward) == (1, [])
    assert again.result()["n_components"] == {"classifier": 5}
    np.testing.assert_array_equal(again.array("scores_classifier"), first.array("scores_classifier"))
    more = computed(ask("features", tiny_dataset, layers=("classifier", "features.4"), n_components=5))
    assert (more.result()["layers_taken_over"], forward) == (1, [("features.4",)])
    for values in ({"n_components": 6}, {"n_components": 5, "split_seed": 1}, {"n_components": 5, "seed": 1}):
        assert computed(ask("features", tiny_dataset, layers="classifier", **values)).result()["layers_taken_over"] == 0


def test_a_damaged_layer_is_not_taken_over(ask, tiny_dataset, computed):
    first = computed(ask("features", tiny_dataset, layers=LAYERS, n_components=5))
    (first.path / "scores_classifier.npy").write_bytes(b"")
    again = computed(ask("features", tiny_dataset, layers="classifier", n_components=5))
    assert again.result()["layers_taken_over"] == 0
    assert again.array("scores_classifier").shape == (40, 5)


def test_a_regression_is_a_way_to_tune(ask, tiny_dataset, computed):
    events = []
    values = {"method": "regression", "epochs": 3, "learning_rate": 1e-3, "batch_size": 16}
    run = computed(ask("finetune", tiny_dataset, **values), events=events)
    state, result = load_file(run.file("weights.safetensors")), run.result()
    assert {name.split(".")[0] for name in state} == {"backbone", "head"}
    assert state["head.weight"].shape == (30, 1000)
    losses = [event["loss"] for event in events if event["event"] == "epoch"]
    assert losses[-1] < losses[0]
    assert {"epochs", "loss", "retrieval_top1", "r_mean", "seconds", "images_per_second"} <= set(result)
    assert "information_nats" not in result


def test_the_information_bound_is_that_of_the_test_pictures(ask, tiny_dataset, computed):
    from brainviz.encoding.information import choose_beta
    from brainviz.models.backbones import load_backbone
    from brainviz.models.contrastive import ContrastiveNetwork
    from brainviz.training.fit import embeddings

    run = computed(ask("finetune", tiny_dataset, epochs=2, learning_rate=1e-3))
    result, split = run.result(), split_pictures(build_index(tiny_dataset, memo_dir()))["subj01"]
    network = ContrastiveNetwork(load_backbone("squeezenet1_1", "random", ""), 1000, 30, 24, 6)
    network.load_state_dict(load_file(run.file("weights.safetensors")))
    images = np.stack([np.asarray(image) for image in tiny_dataset.images("subj01")])
    pair = embeddings(network, images, tiny_dataset.responses("subj01", "lh", "V1v"), split.test)
    brain, image = (z.double() / z.double().norm(dim=1, keepdim=True) for z in pair)
    c = (image @ brain.T / (0.3 * result["information_beta"])).exp()  # images in rows, responses in columns
    bound = np.mean([float(torch.log(c[i, i] / c[i].mean())) for i in range(len(c))])
    assert result["information_nats"] == pytest.approx(bound, abs=1e-4)
    assert result["information_limit"] == pytest.approx(np.log(len(split.test)))
    assert result["information_low"] <= result["information_nats"] <= result["information_high"]
    assert result["information_nats"] <= result["information_limit"]
    _, held_out = hold_out(split.train, build_index(tiny_dataset, memo_dir()).subjects["subj01"].image_digests, 0.1, 0)
    assert result["information_beta_chosen_on"] == "validation"
    chosen = choose_beta(*embeddings(network, images, tiny_dataset.responses("subj01", "lh", "V1v"), held_out), 0.3)
    assert result["information_beta"] == pytest.approx(chosen, rel=1e-3)


def test_without_validation_pictures_the_scale_of_the_information_is_from_fitted_ones(ask, tiny_dataset, computed):
    result = computed(ask("finetune", tiny_dataset, epochs=1, validation_share=0.0)).result()
    assert result["information_beta_chosen_on"] == "fitted"


def test_layers_that_do_not_fit_together_pass_one_by_one(ask, tiny_dataset, monkeypatch, tmp_path, computed):
    spec = ask("features", tiny_dataset, layers=LAYERS, n_components=5)
    together = computed(spec)
    monkeypatch.setattr(networks, "PASS_BYTES", 1)
    events = []
    monkeypatch.setenv("BRAINVIZ_CACHE", str(tmp_path / "other"))
    apart = computed(ask("features", tiny_dataset, layers=LAYERS, n_components=5), events=events)
    assert {event["text"] for event in events} >= {"features of features.3", "features of classifier"}
    for layer in LAYERS:
        np.testing.assert_array_equal(together.array(f"scores_{layer}"), apart.array(f"scores_{layer}"))


def test_equal_pictures_are_in_one_group():
    class Index:
        subjects = {"s": type("Known", (), {"image_digests": ("a", "b", "a", "c", "b")})}  # noqa: RUF012

    pictures = Pictures(None, Index, "s", None)
    groups = pictures.groups(np.array([0, 1, 2, 4]))
    assert groups[0] == groups[2]
    assert groups[1] == groups[3]
    assert groups[0] != groups[1]


@pytest.mark.parametrize("kind", ["finetune", "encoding"])
def test_responses_that_are_no_numbers_are_named(ask, tiny_copy, kind, computed):
    file = tiny_copy / "subj01/training_split/training_fmri/lh_training_fmri.npy"
    responses = np.load(file)
    column = open_dataset(tiny_copy).columns("subj01", "lh", "V1v")[3]
    responses[7, column] = np.nan
    np.save(file, responses)
    layers = {"layers": "features.3"} if kind == "encoding" else {}
    with pytest.raises(DatasetError, match="1 of 30 vertices"):
        computed(ask(kind, open_dataset(tiny_copy), **layers))


def test_a_weights_file_that_changed_is_not_used(ask, tiny_dataset, tmp_path, computed):
    from torchvision.models import squeezenet1_1

    file = tmp_path / "mine.pth"
    torch.save(squeezenet1_1().state_dict(), file)
    values = {"layers": "classifier", "weights": str(file), "allow_files": True}
    spec, other = (ask("features", tiny_dataset, **values, n_components=n) for n in (6, 7))
    assert computed(spec).result()["n_images"] == 40
    torch.save(squeezenet1_1().state_dict(), file)
    with pytest.raises(WeightsError, match="not the one"):
        computed(other)
    (Store().cache / "weights" / f"{spec.weights_digest}.json").unlink()
    with pytest.raises(WeightsError, match="Nobody remembers"):
        computed(other)


def test_what_a_run_builds_on_must_be_done(ask, tiny_dataset, cache, tmp_path):
    spec = ask("encoding", tiny_dataset, layers="features.3")
    with pytest.raises(RunError, match=r"no run in|no result"):
        compute(spec, Context(Store(), tmp_path, "cpu", event=lambda event: None))


def test_cuda_is_not_pretended(cache, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    context = Context(Store(), tmp_path, "cuda", event=lambda event: None)
    with pytest.raises(SpecError, match="no CUDA device"):
        _ = context.device
    assert Context(Store(), tmp_path, "auto", event=lambda event: None).device == "cpu"


def test_progress_is_sparse(cache, tmp_path):
    events = []
    tell = Context(Store(), tmp_path, "cpu", event=events.append).progress("step")
    for done in range(1, 1001):
        tell(done, 1000)
    assert [event["done"] for event in events][-1] == 1000
    assert len(events) < 10
    json.dumps(events)


def test_standardising_uses_the_fitted_rows_only():
    rng = np.random.default_rng(0)
    responses = rng.normal(3, 2, (20, 4)).astype(np.float32)
    responses[:10, 2] = 5
    rows = np.arange(10)
    result = standardised(responses, rows)
    others = [0, 1, 3]
    np.testing.assert_allclose(result[rows][:, others].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(result[rows][:, others].std(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(result[:, 2], 0)
    expected = (responses - responses[:10].mean(axis=0))[:, others] / responses[:10, others].std(axis=0)
    np.testing.assert_allclose(result[:, others], expected, rtol=1e-4)
