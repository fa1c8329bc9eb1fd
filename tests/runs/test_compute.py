"""Computing: the same run gives the same bits, results agree with independent re-statements, bad data are named."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from brainviz.datasets import open_dataset
from brainviz.datasets.index import build_index
from brainviz.datasets.splits import Split, split_pictures
from brainviz.errors import DatasetError, RunError, SpecError, WeightsError
from brainviz.runs import compute as compute_module
from brainviz.runs.compute import Context, best_layer, compute, finite_mean, finite_median, standardised
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.requests import make_spec, memo_dir
from brainviz.runs.store import RESULT, Store, change_state, enqueue, locked, write_json, write_manifest

SMALL = {"network": "squeezenet1_1", "weights": "random", "image_size": 32}
LAYERS = ("features.3", "classifier")


@pytest.fixture
def ask(cache):
    """Return `make_spec`, V1v of subj01 with a small network unless said otherwise."""

    def make(kind, dataset, **values):
        index = build_index(dataset, memo_dir())
        return make_spec(kind, dataset, index, **{"subject": "subj01", "hemi": "lh", "roi": "V1v", **SMALL, **values})

    return make


def computed(spec, store=None, events=None):
    """Compute a run and what it builds on, here and now; return it done."""
    store = store or Store()
    for needed in spec.dependencies():
        computed(needed, store, events)
    run = store.run_of(spec)
    if store.find(spec) and run.state == "done":
        return run
    with locked(run):
        enqueue(run, spec, "cpu")
    change_state(run, {"queued"}, "running", process=ProcessIdentity.current())
    context = Context(store, run.path, "cpu", event=(events if events is not None else []).append)
    write_json(run.path / RESULT, compute(spec, context))
    write_manifest(run, {"seconds": 1.0}, ProcessIdentity.current())
    return run


def test_a_fit_is_repeated_bit_for_bit(ask, tiny_dataset, tmp_path, monkeypatch):
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


def test_a_fit_tells_its_epochs_and_its_scalars(ask, tiny_dataset):
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


def test_scores_are_those_of_a_pca_of_the_training_pictures(ask, tiny_dataset):
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


def test_layers_that_do_not_fit_together_pass_one_by_one(ask, tiny_dataset, monkeypatch, tmp_path):
    spec = ask("features", tiny_dataset, layers=LAYERS, n_components=5)
    together = computed(spec)
    monkeypatch.setattr(compute_module, "PASS_BYTES", 1)
    events = []
    monkeypatch.setenv("BRAINVIZ_CACHE", str(tmp_path / "other"))
    apart = computed(ask("features", tiny_dataset, layers=LAYERS, n_components=5), events=events)
    assert {event["text"] for event in events} >= {"features of features.3", "features of classifier"}
    for layer in LAYERS:
        np.testing.assert_array_equal(together.array(f"scores_{layer}"), apart.array(f"scores_{layer}"))


def test_an_encoding_agrees_with_ridge_restated(ask, tiny_dataset):
    spec = ask("encoding", tiny_dataset, layers=LAYERS)
    run = computed(spec)
    result, r = run.result(), run.array("r")
    split = split_pictures(build_index(tiny_dataset, memo_dir()))["subj01"]
    scores = Store().run_of(spec.features).array(f"scores_{result['layer']}").astype(np.float64)
    responses = tiny_dataset.responses("subj01", "lh", "V1v").astype(np.float64)
    for vertex in range(0, 30, 7):
        model = Ridge(alpha=run.array("alpha")[vertex]).fit(scores[split.train], responses[split.train, vertex])
        expected = np.corrcoef(model.predict(scores[split.test]), responses[split.test, vertex])[0, 1]
        assert r[vertex] == pytest.approx(expected, abs=1e-3)
    assert (result["n_train"], result["n_test"], result["n_vertices"]) == (len(split.train), len(split.test), 30)
    assert result["r_mean"] == pytest.approx(r.mean())
    assert result["r_median"] == pytest.approx(np.median(r))
    cv_r = run.array("cv_r")
    assert cv_r.shape == (2, 30)
    assert result["layer"] == LAYERS[int(cv_r.mean(axis=1).argmax())]
    assert result["cv_r_mean"] == pytest.approx(cv_r.mean(axis=1).max())
    np.testing.assert_array_equal(run.array("columns"), tiny_dataset.columns("subj01", "lh", "V1v"))
    np.testing.assert_array_equal(run.array("positions"), tiny_dataset.positions("subj01", "lh")[run.array("columns")])


def test_wrong_pictures_predict_nothing(ask, tiny_dataset):
    right = computed(ask("encoding", tiny_dataset, layers="features.3", roi="all")).result()
    wrong = computed(ask("encoding", tiny_dataset, layers="features.3", roi="all", shuffle_images=True)).result()
    assert right["cv_r_mean"] > 0.3
    assert wrong["cv_r_mean"] < 0.15
    assert abs(wrong["r_mean"]) < 0.35  # six test pictures


def test_a_tuned_network_is_used_where_one_was_asked_for(ask, tiny_dataset):
    values = {"layers": "features.3", "method": "contrastive", "epochs": 1, "learning_rate": 1e-2}
    tuned = computed(ask("encoding", tiny_dataset, **values))
    untuned = computed(ask("encoding", tiny_dataset, layers="features.3"))
    assert tuned.spec.method == "contrastive"
    assert not np.array_equal(tuned.array("r"), untuned.array("r"))


def test_shuffling_stays_inside_each_part(ask, tiny_dataset):
    spec = ask("encoding", tiny_dataset, layers="features.3", shuffle_images=True)
    split = Split(np.arange(0, 30), np.arange(30, 40))
    order = compute_module._pairing(split, 40, spec)
    for rows in (split.train, split.test):
        np.testing.assert_array_equal(np.sort(order[rows]), rows)
    assert (order != np.arange(40)).mean() > 0.8


def test_equal_pictures_are_in_one_group():
    class Index:
        subjects = {"s": type("Known", (), {"image_digests": ("a", "b", "a", "c", "b")})}  # noqa: RUF012

    pictures = compute_module.Pictures(None, Index, "s", None)
    groups = pictures.groups(np.array([0, 1, 2, 4]))
    assert groups[0] == groups[2]
    assert groups[1] == groups[3]
    assert groups[0] != groups[1]


@pytest.mark.parametrize("kind", ["finetune", "encoding"])
def test_responses_that_are_no_numbers_are_named(ask, tiny_copy, kind):
    file = tiny_copy / "subj01/training_split/training_fmri/lh_training_fmri.npy"
    responses = np.load(file)
    column = open_dataset(tiny_copy).columns("subj01", "lh", "V1v")[3]
    responses[7, column] = np.nan
    np.save(file, responses)
    layers = {"layers": "features.3"} if kind == "encoding" else {}
    with pytest.raises(DatasetError, match="1 of 30 vertices"):
        computed(ask(kind, open_dataset(tiny_copy), **layers))


def test_a_weights_file_that_changed_is_not_used(ask, tiny_dataset, tmp_path):
    from torchvision.models import squeezenet1_1

    file = tmp_path / "mine.pth"
    torch.save(squeezenet1_1().state_dict(), file)
    values = {"layers": "classifier", "weights": str(file), "allow_files": True}
    spec, other = (ask("features", tiny_dataset, **values, seed=seed) for seed in (0, 1))
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


def test_the_best_layer_is_found_among_undefined_vertices():
    nan = np.nan
    assert best_layer(np.array([[0.1, 0.2], [nan, 0.3], [0.2, 0.2]])) == 1
    assert best_layer(np.array([[0.2, nan], [0.2, nan]])) == 0
    with pytest.raises(DatasetError, match="No vertex"):
        best_layer(np.full((2, 2), nan))


def test_means_leave_out_what_is_undefined():
    values = np.array([np.nan, 1.0, 2.0, 6.0])
    assert (finite_mean(values), finite_median(values)) == (3.0, 2.0)
    assert finite_mean(np.array([np.nan])) is None
    assert finite_median(np.array([np.nan])) is None
