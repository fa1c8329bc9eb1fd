"""Bottleneck runs against scikit-learn and plain re-statements: features, components, networks, what is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from brainviz.datasets import open_dataset
from brainviz.datasets.base import Dataset
from brainviz.datasets.images import image_array
from brainviz.datasets.index import build_index
from brainviz.datasets.splits import hold_out, split_pictures
from brainviz.encoding.features import layer_features
from brainviz.errors import DatasetError, RunError, SpecError
from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD, load_backbone, resolve_weights
from brainviz.models.clip import clip_fit, clip_image_size, load_clip, resolve_clip_weights
from brainviz.runs.bottleneck import FeatureSource, load_network, project, training_of
from brainviz.runs.bottleneck_specs import BottleneckSpec, PretrainingSpec, variant_of
from brainviz.runs.context import Context
from brainviz.runs.part import PartOfRun
from brainviz.runs.remembered import memo_dir
from brainviz.runs.requests import make_spec
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import parse_spec
from brainviz.runs.store import Run, Store
from brainviz.training.bottleneck import SubjectData, fit_bottleneck, predict

Ask = Callable[..., Any]
Computed = Callable[..., Run]

#: The image-text network, and sizes that are quick.
SMALL: dict[str, Any] = {"clip_network": "clip_compact", "clip_weights": "demo", "feature_components": 5}
SMALL |= {"response_components": 3, "bottleneck_width": 16, "bottleneck_epochs": 2, "bottleneck_batch": 8}
SMALL |= {"bottleneck_rate": 1e-2, "bottleneck_validation": 0.2, "n_bootstrap": 100}


@pytest.fixture
def ask_for(cache: Path) -> Ask:
    """Return `make_spec` for a quick bottleneck network of subj01."""

    def make(dataset: Dataset, kind: str = "bottleneck", **values: Any) -> Spec:
        usual = SMALL if values.get("source") != "network" else {k: v for k, v in SMALL.items() if k[:4] != "clip"}
        usual = {name: value for name, value in usual.items() if not (values.get("linear") and name.endswith("width"))}
        if kind == "joint-features":
            usual = {name: value for name, value in usual.items() if not name.startswith(("bott", "resp", "n_boot"))}
        index = build_index(dataset, memo_dir())
        return make_spec(kind, dataset, index, **{"subject": "subj01", **usual, **values})

    return make


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Store(), tmp_path, "cpu", event=lambda event: None)


def digests_of(dataset: Dataset, subject: str) -> tuple[str, ...]:
    return build_index(dataset, memo_dir()).subjects[subject].image_digests


def split_of(dataset: Dataset, subject: str) -> Any:
    return split_pictures(build_index(dataset, memo_dir()), 0.15, 0)[subject]


def responses_of(dataset: Dataset, subject: str, hemi: str) -> np.ndarray:
    return np.asarray(dataset.responses(subject, hemi), np.float64)


def unsigned(scores: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return scores with the signs of others: those of components mean nothing."""
    return scores * np.sign((scores * like).sum(axis=0))


# --- features ---------------------------------------------------------------------------------------------------------


def hidden_states(dataset: Dataset, subject: str, cache: Path) -> np.ndarray:
    digest = resolve_clip_weights("clip_compact", "demo").digest
    network, images = load_clip("clip_compact", "demo", digest), dataset.images(subject)
    size, fit = clip_image_size("clip_compact"), clip_fit("clip_compact")
    pictures = image_array(images, digests_of(dataset, subject), size, cache / "images", fit=fit)
    return network.hidden_states(pictures).astype(np.float64)


def distinct_training_rows(dataset: Dataset) -> list[int]:
    """Return rows, among both subjects' pictures one after the other, of every distinct training picture once."""
    seen, rows = set(), []
    for start, subject in ((0, "subj01"), (40, "subj02")):
        digests = digests_of(dataset, subject)
        for row in split_of(dataset, subject).train:
            if digests[row] not in seen:
                seen.add(digests[row])
                rows.append(start + int(row))
    return rows


def test_features_are_scores_on_components_of_all_training_pictures(
    ask_for: Ask, computed: Computed, tiny_dataset: Dataset, cache: Path, context: Context
) -> None:
    run = computed(ask_for(tiny_dataset, "joint-features", subject="subj01,subj02"))
    states = np.concatenate([hidden_states(tiny_dataset, subject, cache) for subject in ("subj01", "subj02")])
    rows = distinct_training_rows(tiny_dataset)
    assert len(rows) == run.result()["n_fitted"] < 68  # one picture is both subjects'
    reference = PCA(5, svd_solver="full").fit(states[rows])
    expected = reference.transform(states)
    expected /= np.sqrt((expected[rows] ** 2).mean())
    found = np.concatenate([run.array("scores_subj01"), run.array("scores_subj02")])
    np.testing.assert_allclose(unsigned(found, expected), expected, atol=1e-3)
    np.testing.assert_allclose(run.array("explained"), reference.explained_variance_ratio_, rtol=1e-3)
    # What is kept of the components gives the scores of any picture.
    source = FeatureSource(run.spec, context)
    images = source.decoded(tiny_dataset.images("subj02"), digests_of(tiny_dataset, "subj02"))
    np.testing.assert_allclose(project(run, source, images), found[40:], atol=1e-3)


def test_several_layers_weigh_the_same(
    ask_for: Ask, computed: Computed, tiny_dataset: Dataset, cache: Path, context: Context
) -> None:
    layers = ("features.2", "classifier")
    run = computed(ask_for(tiny_dataset, "joint-features", subject="subj01,subj02", source="network", layers=layers))
    assert run.spec.network == "alexnet_compact"
    rows = distinct_training_rows(tiny_dataset)
    images = [
        image_array(tiny_dataset.images(s), digests_of(tiny_dataset, s), 32, cache / "images")
        for s in ("subj01", "subj02")
    ]
    backbone = load_backbone("alexnet_compact", "demo", resolve_weights("alexnet_compact", "demo").digest)
    features = layer_features(backbone, layers, np.concatenate(images), IMAGENET_MEAN, IMAGENET_STD)
    parts = []
    for layer in layers:
        scores = PCA(5, svd_solver="full").fit(features[layer][rows]).transform(features[layer])
        parts.append(scores / np.sqrt((scores[rows] ** 2).mean()))
    stacked = np.concatenate(parts, axis=1)
    expected = PCA(5, svd_solver="full").fit(stacked[rows]).transform(stacked)
    expected /= np.sqrt((expected[rows] ** 2).mean())
    found = np.concatenate([run.array("scores_subj01"), run.array("scores_subj02")])
    np.testing.assert_allclose(unsigned(found, expected), expected, atol=2e-3)
    np.testing.assert_allclose(project(run, FeatureSource(run.spec, context), images[0]), found[:40], atol=2e-3)


def test_a_part_of_many_pictures_is_enough(ask_for: Ask, computed: Computed, tiny_dataset: Dataset) -> None:
    run = computed(ask_for(tiny_dataset, "joint-features", subject="subj01,subj02", pca_pictures=20))
    assert run.result()["n_fitted"] == 20


# --- the network ------------------------------------------------------------------------------------------------------


def components_of(dataset: Dataset, fitted: np.ndarray) -> dict[str, PCA]:
    return {hemi: PCA(3, svd_solver="full").fit(responses_of(dataset, "subj01", hemi)[fitted]) for hemi in ("lh", "rh")}


def test_a_run_is_what_its_parts_give(ask_for: Ask, computed: Computed, tiny_dataset: Dataset) -> None:
    spec: BottleneckSpec = ask_for(tiny_dataset)
    assert spec.pretraining is not None
    run = computed(spec)
    split = split_of(tiny_dataset, "subj01")
    fitted, validation = hold_out(split.train, digests_of(tiny_dataset, "subj01"), 0.2, 0)
    assert (run.result()["n_fit"], run.result()["n_validation"]) == (len(fitted), len(validation))
    scores = np.asarray(Store().run_of(spec.features).array("scores_subj01"))
    pcas = components_of(tiny_dataset, fitted)
    targets = {h: pca.transform(responses_of(tiny_dataset, "subj01", h)) for h, pca in pcas.items()}
    # Signs as the run has them: the network is not the same with others.
    for hemi, pca in pcas.items():
        signs = np.sign((run.array(f"axes_{hemi}") * pca.components_).sum(axis=1))
        np.testing.assert_allclose(run.array(f"axes_{hemi}"), pca.components_ * signs[:, None], atol=1e-4)
        targets[hemi] *= signs
    scale = np.sqrt(np.mean([targets[h][fitted] ** 2 for h in ("lh", "rh")]))
    eigenvalues = np.concatenate([pca.explained_variance_ for pca in pcas.values()]) / scale**2
    rows = np.concatenate([fitted, validation])
    data = SubjectData(
        scores[rows],
        (targets["lh"][rows] / scale).astype(np.float32),
        (targets["rh"][rows] / scale).astype(np.float32),
        eigenvalues,
        np.arange(len(fitted), len(rows)),
    )
    start = load_network(spec, 5, Store().run_of(spec.pretraining))
    plan = training_of(spec, Context(Store(), Path(), "cpu", event=lambda event: None))
    fit = fit_bottleneck([data], initial=start, stage=1, **plan)
    assert json.loads(run.file("curves.json").read_text())["best"] == fit.curves.best
    noisy = predict(fit.network, scores[split.test], eigenvalues, noise_seed=0)
    plain = predict(fit.network, scores[split.test], noise_seed=None)
    once = 0
    for hemi, predicted, without in zip(("lh", "rh"), noisy, plain, strict=True):
        axes, measured = run.array(f"axes_{hemi}"), responses_of(tiny_dataset, "subj01", hemi)[split.test]
        mine = slice(once, once + measured.shape[1])
        once = mine.stop
        expected = scale * predicted @ axes
        np.testing.assert_allclose(run.array("predicted")[mine].T, expected, atol=1e-3)
        np.testing.assert_allclose(run.array("offset")[mine], pcas[hemi].mean_, atol=1e-5)
        for name, values in (
            ("r", expected),
            ("plain_r", without @ axes),
            ("reconstruction_r", targets[hemi][split.test] @ axes),
        ):
            r = [np.corrcoef(values[:, v], measured[:, v])[0, 1] for v in range(measured.shape[1])]
            found = run.array(name)[0] if name == "r" else run.array(name)
            np.testing.assert_allclose(found[mine], r, atol=1e-3)
    result = run.result()
    assert result["r_mean"] == pytest.approx(run.array("r").mean())
    assert result["ceiling_r_mean"] == pytest.approx(run.array("reconstruction_r").mean())
    assert result["r_low"] < result["r_mean"] < result["r_high"]


def test_the_race_is_told_while_it_goes_on(ask_for: Ask, computed: Computed, tiny_dataset: Dataset) -> None:
    events: list[dict[str, Any]] = []
    spec = ask_for(tiny_dataset)
    run = computed(spec, None, events)
    for step, of in (("pre-training", Store().run_of(spec.pretraining)), ("training", run)):
        curves = of.json("curves")
        told = [event["text"] for event in events if event.get("text", "").startswith(f"{step}, epoch")]
        assert told[0] == (
            f"{step}, epoch 1 of 2 done: S left {curves['s_left'][0]:.3f}, right {curves['s_right'][0]:.3f}"
        )


def test_the_table_reports_every_roi(ask_for: Ask, computed: Computed, tiny_dataset: Dataset) -> None:
    run = computed(ask_for(tiny_dataset, pretrain=False))
    table = run.table("rois")
    assert [*table[table["hemi"] == "lh"]["roi"]] == ["all", *tiny_dataset.rois("subj01", "lh")]
    assert table["own"].all()
    assert not table["protocol_own"].any()
    for number, row in enumerate(table.itertuples()):
        columns = tiny_dataset.columns("subj01", row.hemi, row.roi)
        start = next(span["start"] for span in run.json("areas") if span["hemi"] == row.hemi)
        assert row.r_mean == pytest.approx(run.array("r")[0, start + columns].mean())
        assert row.reconstruction_r_mean == pytest.approx(run.array("reconstruction_r")[start + columns].mean())
        assert run.array("replicates")[:, number].mean() == pytest.approx(row.r_mean, abs=0.1)
    assert run.result()["algonauts_score"] >= 0


def test_components_do_not_see_held_out_pictures(
    ask_for: Ask, computed: Computed, tiny_dataset: Dataset, tiny_copy: Path
) -> None:
    """A component of validation and test pictures only, larger than all others, must not be found."""
    before = computed(ask_for(tiny_dataset, pretrain=False))
    split = split_of(tiny_dataset, "subj01")
    fitted, _ = hold_out(split.train, digests_of(tiny_dataset, "subj01"), 0.2, 0)
    held_out = np.setdiff1d(np.arange(40), fitted)
    rng = np.random.default_rng(0)
    for hemi in ("lh", "rh"):
        file = tiny_copy / f"subj01/training_split/training_fmri/{hemi}_training_fmri.npy"
        responses = np.load(file)
        responses[held_out] += 100 * rng.standard_normal((len(held_out), 1)) * rng.standard_normal(responses.shape[1])
        np.save(file, responses)
    after = computed(ask_for(open_dataset(tiny_copy), pretrain=False))
    for hemi in ("lh", "rh"):
        np.testing.assert_allclose(after.array(f"axes_{hemi}"), before.array(f"axes_{hemi}"), atol=1e-5)
        np.testing.assert_allclose(after.array(f"mean_{hemi}"), before.array(f"mean_{hemi}"), atol=1e-5)
    # Seeing them, the first component would be the planted one, and reconstruct them nearly perfectly.
    assert after.array("reconstruction_r").mean() < 0.9


def test_pretraining_is_where_training_begins(ask_for: Ask, computed: Computed, tiny_dataset: Dataset) -> None:
    values = {"bottleneck_epochs": 1, "bottleneck_rate": 1e-9}
    spec = ask_for(tiny_dataset, **values)
    one, other = computed(spec), computed(ask_for(tiny_dataset, pretrain=False, **values))
    started = load_network(spec, 5, Store().run_of(spec.pretraining))
    after = load_network(spec, 5, one)
    without = load_network(spec, 5, other)
    np.testing.assert_allclose(after.left.weight.detach(), started.left.weight.detach(), atol=1e-6)
    assert (without.left.weight - started.left.weight).abs().max() > 0.01


@pytest.mark.parametrize(
    "values",
    [{"leak": False}, {"linear": True}, {"bottleneck_loss": "mse"}, {"inference_noise": False}, {"roi": "V1v,FFA-1"}],
)
def test_every_variant_runs(values: dict[str, Any], ask_for: Ask, computed: Computed, tiny_dataset: Dataset) -> None:
    run = computed(ask_for(tiny_dataset, pretrain=False, pooled="subj01", **values))
    assert np.isfinite(run.array("r")).all()
    noisy = not values.keys() & {"leak", "linear", "inference_noise"}
    assert run.has("plain_r.npy") == noisy
    if "roi" in values:
        assert [(span["hemi"], span["roi"]) for span in run.json("areas")] == [
            ("lh", "FFA-1"), ("lh", "V1v"), ("rh", "FFA-1"), ("rh", "V1v"),
        ]  # fmt: skip
        assert run.result()["n_vertices"] == len(run.array("r")[0])


def test_two_runs_are_the_same(ask_for: Ask, computed: Computed, tiny_dataset: Dataset, tmp_path: Path) -> None:
    spec = ask_for(tiny_dataset, pretrain=False)
    first, second = computed(spec), computed(spec, Store(Path(shutil.copytree(Store().cache, tmp_path / "again"))))
    assert first.file("weights.safetensors").read_bytes() == second.file("weights.safetensors").read_bytes()


def test_too_few_components_are_said(ask_for: Ask, computed: Computed, tiny_dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match="too few components") as error:
        computed(ask_for(tiny_dataset, pretrain=False, response_components=60))
    assert "fewer response components" in str(error.value)


# --- requests ---------------------------------------------------------------------------------------------------------


def test_variants_have_names(ask_for: Ask, tiny_dataset: Dataset) -> None:
    asked = {
        "full": {},
        "no leak": {"leak": "false"},
        "linear": {"linear": "true"},
        "plain cosine": {"bottleneck_loss": "cosine"},
        "MSE": {"bottleneck_loss": "mse"},
        "no pre-training": {"pretrain": "false"},
        "no pre-training, no leak": {"pretrain": False, "leak": False},
    }
    specs = {name: ask_for(tiny_dataset, **values) for name, values in asked.items()}
    assert {name: variant_of(spec) for name, spec in specs.items()} == {name: name for name in asked}
    assert len({spec.run_id for spec in specs.values()}) == len(asked)
    assert all(parse_spec(spec.model_dump_json()) == spec for spec in specs.values())
    assert [spec.pretraining is None for spec in specs.values()] == [False] * 5 + [True] * 2


def test_the_linear_one_has_its_own_rate(ask_for: Ask, tiny_dataset: Dataset, cache: Path) -> None:
    index = build_index(tiny_dataset, memo_dir())
    rates = [
        make_spec("bottleneck", tiny_dataset, index, subject="subj01", clip_network="clip_compact", **values)
        for values in ({}, {"linear": True}, {"linear": True, "bottleneck_rate": 1e-5})
    ]
    assert [spec.bottleneck_rate for spec in rates] == pytest.approx([1e-4, 1e-3, 1e-5])  # type: ignore[attr-defined]


def test_one_subject_is_not_pretrained(ask_for: Ask, tiny_dataset: Dataset) -> None:
    alone = ask_for(tiny_dataset, pooled="subj01")
    assert alone.pretraining is None
    assert alone == ask_for(tiny_dataset, pooled="subj01", pretrain=False)
    assert ask_for(tiny_dataset, pooled="subj02, subj01") == ask_for(tiny_dataset)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"leak": False, "leak_alpha": 0.5}, "leak_alpha means nothing without a leak"),
        ({"linear": True, "bottleneck_width": 9}, "bottleneck_width means nothing for a linear model"),
        ({"pooled": "subj02"}, "subj01 is not among the subjects together"),
        ({"hemi": "lh"}, "both hemispheres"),
        ({"subject": "subj07"}, "subj07"),
        ({"roi": "V9"}, "V9"),
        ({"source": "image-text", "method": "random"}, "method random"),
        ({"source": "network", "clip_network": "clip_compact"}, "clip_network"),
        ({"layers": "classifier"}, "clip_network"),
        ({"source": "network", "method": "contrastive"}, "what the network is tuned on"),
        ({"bottlneck_width": 8}, "bottleneck_width"),
    ],
)
def test_what_cannot_be_is_said(values: dict[str, Any], said: str, ask_for: Ask, tiny_dataset: Dataset) -> None:
    with pytest.raises((SpecError, DatasetError), match=said):
        ask_for(tiny_dataset, **values)


def test_features_of_any_network_state(ask_for: Ask, tiny_dataset: Dataset) -> None:
    untuned = ask_for(tiny_dataset, source="network")
    assert (untuned.features.network, untuned.features.layers) == ("alexnet_compact", ("features.12",))
    tuned = ask_for(
        tiny_dataset,
        method="contrastive",
        source="network",
        tuning_hemi="lh",
        tuning_roi="V1v",
        tuning_subject="subj02",
    )
    assert tuned.features.finetune.subject == "subj02"
    assert tuned.features.finetune in tuned.features.dependencies()
    assert ask_for(tiny_dataset, method="random", source="network", seed=3).features.seed == 3


# --- beside encoding models -------------------------------------------------------------------------------------------


@pytest.fixture
def pair(ask: Ask, ask_for: Ask, computed: Computed, tiny_dataset: Dataset) -> tuple[Run, Run]:
    """Return a finished bottleneck run, and an encoding run of two ROIs tested on the same pictures."""
    encoding = ask("encoding", tiny_dataset, roi="V1v,FFA-1", layers=("classifier",), n_bootstrap=100)
    return computed(ask_for(tiny_dataset, pretrain=False)), computed(encoding)


def test_it_is_compared_with_an_encoding_model(
    pair: tuple[Run, Run], computed: Computed, tiny_dataset: Dataset
) -> None:
    from brainviz.runs.requests import compare

    network, encoding = pair
    spec = compare([network.spec], [encoding.spec], n_permutations=99)  # type: ignore[list-item]
    assert spec.areas == encoding.spec.areas == (("lh", "FFA-1"), ("lh", "V1v"))  # type: ignore[attr-defined]
    table = computed(spec).table("rois")
    own = network.table("rois").set_index(["hemi", "roi"])["r_mean"]
    other = encoding.table("rois").set_index(["hemi", "roi"])["r_mean"]
    for row in table.itertuples():
        assert row.r_first == pytest.approx(own[row.hemi, row.roi])
        assert row.r_second == pytest.approx(other[row.hemi, row.roi])
        assert row.difference == pytest.approx(row.r_first - row.r_second, abs=1e-6)
    turned = computed(compare([encoding.spec], [network.spec], n_permutations=99)).table("rois")  # type: ignore[list-item]
    np.testing.assert_allclose(turned["difference"], -table["difference"], atol=1e-9)
    np.testing.assert_allclose(turned["p"], table["p"])


def test_a_part_reads_like_an_encoding_run(pair: tuple[Run, Run], tiny_dataset: Dataset) -> None:
    network, _ = pair
    areas = {("rh", "V1v"): tiny_dataset.columns("subj01", "rh", "V1v")}
    areas |= {("lh", "all"): np.arange(tiny_dataset.n_vertices("subj01", "lh")), ("lh", "no such"): np.arange(3)}
    part = PartOfRun(network.id, network.kind, network.path, areas)
    n_left = tiny_dataset.n_vertices("subj01", "lh")
    vertices = np.concatenate([n_left + areas["rh", "V1v"], np.arange(n_left)])
    assert part.json("areas") == [
        {"hemi": "rh", "roi": "V1v", "start": 0, "stop": 30},
        {"hemi": "lh", "roi": "all", "start": 30, "stop": 30 + n_left},
    ]
    np.testing.assert_array_equal(part.array("r"), network.array("r")[:, vertices])
    np.testing.assert_array_equal(part.array("predicted"), network.array("predicted")[vertices])
    np.testing.assert_array_equal(part.array("test_rows"), network.array("test_rows"))
    table = part.table("rois")
    assert set(table["roi"][table["hemi"] == "rh"]) == {"V1v"}
    assert set(table["roi"][table["hemi"] == "lh"]) == {"all", *tiny_dataset.rois("subj01", "lh")}
    for number, row in enumerate(table.itertuples()):
        assert part.array("replicates")[:, number].mean() == pytest.approx(row.r_mean, abs=0.1)


# --- submissions ------------------------------------------------------------------------------------------------------


@pytest.fixture
def challenge(tiny_copy: Path, cache: Path) -> Dataset:
    """Return a data set whose test pictures are those that subj01's runs are tested on."""
    dataset = open_dataset(tiny_copy)
    images = sorted((tiny_copy / "subj01/training_split/training_images").iterdir())
    test = split_of(dataset, "subj01").test
    folder = tiny_copy / "subj01/test_split/test_images"
    shutil.rmtree(folder)
    folder.mkdir()
    for number, row in enumerate(test, start=1):
        shutil.copyfile(images[row], folder / f"test-{number:04d}_nsd-{number:05d}.png")
    return open_dataset(tiny_copy)


def submitted(challenge: Dataset, computed: Computed, *runs: Run) -> Run:
    index = build_index(challenge, memo_dir())
    return computed(make_spec("submission", challenge, index, encoders=",".join(run.id[:16] for run in runs)))


def test_a_bottleneck_network_submits_what_it_was_tested_with(
    challenge: Dataset, ask_for: Ask, computed: Computed
) -> None:
    run = computed(ask_for(challenge, pretrain=False))
    submission = submitted(challenge, computed, run)
    left = np.load(submission.file("subj01/lh_pred_test.npy"))
    n_left = challenge.n_vertices("subj01", "lh")
    assert left.dtype == np.float32
    assert left.shape == (run.result()["n_test"], n_left)
    expected = run.array("predicted").T + run.array("offset")
    np.testing.assert_allclose(left, expected[:, :n_left], atol=1e-3)
    np.testing.assert_allclose(np.load(submission.file("subj01/rh_pred_test.npy")), expected[:, n_left:], atol=1e-3)
    assert submission.result() == {"n_images": len(left), "n_vertices": len(expected.T), "n_unpredicted": 0}


def test_encoding_models_submit_what_they_were_tested_with(challenge: Dataset, ask: Ask, computed: Computed) -> None:
    layers = ("features.2", "classifier")
    runs = [
        computed(ask("encoding", challenge, roi=roi, hemi="lh", layers=layers, n_bootstrap=100))
        for roi in ("V1v", "FFA-1")
    ]
    submission = submitted(challenge, computed, *runs)
    left = np.load(submission.file("subj01/lh_pred_test.npy"))
    for run in runs:
        expected = run.array("predicted").T + run.array("offset")
        np.testing.assert_allclose(left[:, run.array("columns")], expected, atol=2e-3)
    rest = np.setdiff1d(np.arange(left.shape[1]), np.concatenate([run.array("columns") for run in runs]))
    assert (left[:, rest] == 0).all()
    assert not np.load(submission.file("subj01/rh_pred_test.npy")).any()
    assert submission.result()["n_unpredicted"] == len(rest) + challenge.n_vertices("subj01", "rh")


def test_encoders_of_a_submission_may_be_divided_differently(challenge: Dataset, ask: Ask, computed: Computed) -> None:
    """Each is fitted again on its own training pictures."""
    first, second = (
        computed(ask("encoding", challenge, roi=roi, layers=("classifier",), n_bootstrap=100, split_seed=seed))
        for roi, seed in (("FFA-1", 0), ("V1v", 1))
    )
    both, alone = submitted(challenge, computed, first, second), submitted(challenge, computed, second)
    columns = second.array("columns")
    mine, expected = (np.load(run.file("subj01/lh_pred_test.npy"))[:, columns] for run in (both, alone))
    assert expected.any()
    np.testing.assert_array_equal(mine, expected)


def test_what_cannot_be_submitted_is_said(
    challenge: Dataset, ask: Ask, ask_for: Ask, computed: Computed, tiny_copy: Path
) -> None:
    index = build_index(challenge, memo_dir())
    run = computed(ask_for(challenge, pretrain=False))
    features = Store().run_of(run.spec.features)  # type: ignore[attr-defined]
    for encoders, error, said in (
        (features.id, SpecError, "predicts no responses"),
        ("", SpecError, "at least one encoder"),
        ("ffffffffffff", RunError, "ffff"),
        (f"{run.id},{run.id}", SpecError, "a ROI is named twice"),
    ):
        with pytest.raises(error, match=said):
            make_spec("submission", challenge, index, encoders=encoders)
    spec = make_spec("submission", challenge, index, encoders=run.id)
    picture = next(iter((tiny_copy / "subj01/test_split/test_images").iterdir()))
    shutil.copyfile(next(iter((tiny_copy / "subj02/training_split/training_images").iterdir())), picture)
    with pytest.raises(DatasetError, match="have changed since"):
        computed(spec)
    shutil.rmtree(tiny_copy / "subj01/test_split/test_images")
    with pytest.raises(DatasetError, match="no test pictures"):
        make_spec("submission", open_dataset(tiny_copy), index, encoders=run.id)


def test_pretraining_can_be_asked_for_by_itself(ask_for: Ask, computed: Computed, tiny_dataset: Dataset) -> None:
    values = {name: value for name, value in SMALL.items() if name != "n_bootstrap"}
    index = build_index(tiny_dataset, memo_dir())
    spec = make_spec("pretraining", tiny_dataset, index, subject="subj01,subj02", **values)
    assert isinstance(spec, PretrainingSpec)
    assert spec == ask_for(tiny_dataset).pretraining
    result = computed(spec).result()
    assert (result["n_subjects"], 1 <= result["epoch"] <= 2) == (2, True)
