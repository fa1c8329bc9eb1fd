"""Classification and landscape runs: computed from pictures, against scikit-learn and a slow double loop."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from brainviz.analyses.landscape import inpca, project
from brainviz.datasets.base import Dataset
from brainviz.datasets.images import cut_out
from brainviz.datasets.tasks import open_task, split
from brainviz.encoding.features import layer_features
from brainviz.errors import DatasetError, SpecError
from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD, load_backbone
from brainviz.runs.classify import CLASSES, LABELS, ROWS, read_probabilities
from brainviz.runs.landscape import DISSIMILARITY, MODELS, group_of
from brainviz.runs.remembered import load_task
from brainviz.runs.requests import known_task, lay_out
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import ClassificationSpec, LandscapeSpec
from brainviz.runs.store import Run, Store

COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 60), "red": (200, 50, 40)}
EACH = 14
COMPACT = {"network": "alexnet_compact", "weights": "demo", "image_size": 32}

Ask = Callable[..., Spec]
Computed = Callable[..., Run]


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Return a task of noisy pictures in three colours, wider than high; the first two of the blue ones are equal."""
    root = tmp_path / "colours"
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(EACH):
            pixels = (np.array(colour) + rng.normal(0, 60, (40, 56, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:02}.png")
    shutil.copyfile(root / "blue" / "00.png", root / "blue" / "01.png")
    return root


@pytest.fixture
def classify(ask: Ask, tiny_dataset: Dataset, colours: Path) -> Callable[..., ClassificationSpec]:
    """Return a function that asks for a classification of the colours, by the untuned network unless said otherwise."""

    def make(**values: Any) -> ClassificationSpec:
        asked = {**COMPACT, "method": "untuned", "task": str(colours), "allow_files": True, **values}
        if asked["method"] == "random":
            asked.pop("weights")
        spec = ask("classification", tiny_dataset, **asked)
        assert isinstance(spec, ClassificationSpec)
        return spec

    return make


def test_probabilities_are_scikit_learns(
    classify: Callable[..., ClassificationSpec], computed: Computed, colours: Path
) -> None:
    spec = classify()
    run = computed(spec)
    task = open_task(colours)
    pictures = np.stack([cut_out(image, 32) for image in task.images])
    features = layer_features(
        load_backbone("alexnet_compact", "demo", spec.weights_digest),
        spec.readouts,
        pictures,
        IMAGENET_MEAN,
        IMAGENET_STD,
    )
    rows, labels = np.load(run.file(ROWS)), np.load(run.file(LABELS))
    np.testing.assert_array_equal(labels, task.labels[rows])
    train = np.setdiff1d(np.arange(len(task)), rows)
    for readout, standardised in zip(spec.readouts, (False, True), strict=True):
        X = features[readout].astype(np.float64)
        if standardised:
            X = StandardScaler().fit(X[train]).transform(X)
        oracle = LogisticRegression(C=1.0, max_iter=5000).fit(X[train], task.labels[train])
        found = read_probabilities(run, readout)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, oracle.predict_proba(X[rows]), atol=2e-3)
        said = run.result()["by_readout"][readout]
        assert said["accuracy"] == np.mean(found.argmax(axis=1) == labels)
        assert said["accuracy_low"] < said["accuracy"] <= said["accuracy_high"]
    result = run.result()
    assert result["accuracy"] == result["by_readout"]["classifier.6"]["accuracy"] > 0.8
    assert (result["n_classes"], result["n_test"]) == (3, len(rows))
    assert json.loads(run.file(CLASSES).read_text()) == list(COLOURS)


def test_equal_pictures_are_on_one_side(
    classify: Callable[..., ClassificationSpec], computed: Computed, colours: Path
) -> None:
    for seed in range(8):
        spec = classify(task_seed=seed)
        task, index = load_task(spec.task_fingerprint)
        assert index.image_digests[0] == index.image_digests[1]
        _, test = split(task.labels, seed, groups=index.image_digests)
        assert (0 in test) == (1 in test)
    rows = np.load(computed(spec).file(ROWS))
    np.testing.assert_array_equal(rows, test)


def test_an_untuned_network_is_classified_once_for_all(classify: Callable[..., ClassificationSpec]) -> None:
    usual = classify()
    assert (usual.dataset, usual.subject, usual.method) == ("", "", "untuned")
    assert classify(subject="subj02", hemi="rh", roi="V1d").run_id == usual.run_id
    assert classify(seed=3).run_id == usual.run_id
    assert classify(method="random", seed=3).run_id != classify(method="random").run_id
    tuned = classify(method="contrastive")
    assert tuned.finetune is not None
    assert (tuned.subject, tuned.method, tuned.finetune.roi) == ("subj01", "contrastive", "V1v")
    assert tuned.run_id != classify(method="contrastive", epochs=2).run_id
    assert classify(readouts="classifier.6").readouts == ("classifier.6",)


def test_a_tuned_network_classifies_otherwise(classify: Callable[..., ClassificationSpec], computed: Computed) -> None:
    untuned, tuned = (
        read_probabilities(computed(spec), "classifier.6")
        for spec in (classify(), classify(method="contrastive", epochs=2, learning_rate=1e-3))
    )
    assert np.abs(np.log(untuned) - np.log(tuned)).max() > 0.5


def test_what_has_changed_since_is_not_classified(
    classify: Callable[..., ClassificationSpec], computed: Computed, colours: Path
) -> None:
    spec = classify()
    Image.new("RGB", (40, 40)).save(colours / "red" / "00.png")
    with pytest.raises(DatasetError, match="have changed since"):
        computed(spec)


def test_tasks_of_a_page_must_be_named_and_read(colours: Path, cache: Path) -> None:
    with pytest.raises(SpecError, match="no such classification task"):
        known_task(str(colours))
    with pytest.raises(SpecError, match="No classification task is named"):
        known_task("")
    with pytest.raises(DatasetError, match="Nothing is known"):
        load_task("0" * 64)


def test_a_readout_that_the_network_lacks_is_refused(classify: Callable[..., ClassificationSpec]) -> None:
    with pytest.raises(SpecError, match=r"classifier\.7"):
        classify(readouts="classifier.7")


# --- landscapes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(classify: Callable[..., ClassificationSpec]) -> list[ClassificationSpec]:
    """Return an untuned and two random models."""
    return [classify(), classify(method="random"), classify(method="random", seed=1)]


def test_a_landscape_is_the_double_loop(three: list[ClassificationSpec], computed: Computed) -> None:
    spec = lay_out(three, readout="classifier.6", with_oracle=False)
    run = computed(spec)
    P = [read_probabilities(Store().run_of(model), "classifier.6").astype(np.float64) for model in spec.models]
    expected = [
        [-np.mean([np.log(np.sqrt(p * q).sum()) for p, q in zip(one, other, strict=True)]) for other in P] for one in P
    ]
    D = np.load(run.file(DISSIMILARITY))
    np.testing.assert_allclose(D, np.maximum(expected, 0) * (1 - np.eye(3)), rtol=1e-5, atol=1e-7)
    table = pd.read_parquet(run.file(MODELS))
    assert sorted(table["method"]) == ["random", "random", "untuned"]
    assert table["run"].tolist() == [model.run_id for model in spec.models]
    assert sorted(table["clustered"]) == [0, 1, 2]
    # All axes together give the dissimilarities back, signs counted.
    x = table[[f"inpca_{k + 1}" for k in range(3)]].to_numpy()
    back = ((x[:, None] - x[None]) ** 2 * run.result()["signs"]).sum(axis=2)
    np.testing.assert_allclose(back, D, atol=1e-8)
    assert {"mds2_1", "mds3_3"} <= set(table)
    assert "umap2_1" not in table
    accuracy = {model.run_id: Store().run_of(model).result()["accuracy"] for model in three}
    assert table.set_index("run")["accuracy"].to_dict() == accuracy


@pytest.mark.slow
def test_the_oracle_and_umap(
    three: list[ClassificationSpec], classify: Callable[..., ClassificationSpec], computed: Computed
) -> None:
    models = [*three, classify(method="random", seed=2)]
    run = computed(lay_out(models, readout="classifier.6"))
    table = pd.read_parquet(run.file(MODELS))
    assert table["model"].iloc[-1] == "oracle"
    assert {"umap2_1", "umap3_3"} <= set(table)
    assert np.isfinite(table["umap2_1"]).all()
    D = np.load(run.file(DISSIMILARITY))
    for row, model in enumerate(table["run"][:-1]):
        found = Store().run_of(next(each for each in models if each.run_id == model))
        P, labels = read_probabilities(found, "classifier.6"), np.load(found.file(LABELS))
        truth = P[np.arange(len(labels)), labels].astype(np.float64)
        np.testing.assert_allclose(D[row, -1], np.mean(-0.5 * np.log(truth)), rtol=1e-5, atol=1e-7)


def test_two_models_alone(three: list[ClassificationSpec], computed: Computed) -> None:
    table = pd.read_parquet(computed(lay_out(three[:2], readout="classifier.6", with_oracle=False)).file(MODELS))
    assert np.isfinite(table[["inpca_1", "inpca_2", "mds2_1", "mds3_3"]].to_numpy()).all()


def test_a_model_that_is_placed_has_no_part_in_the_axes(
    three: list[ClassificationSpec], classify: Callable[..., ClassificationSpec], computed: Computed
) -> None:
    usual = pd.read_parquet(computed(lay_out(three, readout="classifier.6", with_oracle=False)).file(MODELS))
    another = classify(method="random", seed=2)
    run = computed(lay_out(three, [another], readout="classifier.6", with_oracle=False))
    table = pd.read_parquet(run.file(MODELS))
    assert table["placed"].tolist() == [False, False, False, True]
    assert table["run"].tolist() == [*usual["run"], another.run_id]
    axes = [f"inpca_{k + 1}" for k in range(3)]
    np.testing.assert_allclose(table[axes][:3], usual[axes], atol=1e-12)
    D, x = np.load(run.file(DISSIMILARITY)), table[axes].to_numpy()
    np.testing.assert_allclose(x[3], project(inpca(D[:3, :3], 3), D[3:, :3])[0], atol=1e-12)
    assert np.abs(x[3]).max() > 0
    assert table["mds2_1"].isna().tolist() == [False, False, False, True]
    assert (run.result()["n_models"], run.result()["n_placed"]) == (3, 1)


def test_models_in_any_order_are_one_landscape(three: list[ClassificationSpec]) -> None:
    one = lay_out(three, readout="classifier.6")
    assert lay_out([*three[::-1], three[0]], readout="classifier.6").run_id == one.run_id
    assert lay_out(three, readout="classifier.5").run_id != one.run_id
    assert lay_out(three[:2], readout="classifier.6").run_id != one.run_id


def test_what_cannot_be_laid_out_is_refused(
    three: list[ClassificationSpec], classify: Callable[..., ClassificationSpec]
) -> None:
    with pytest.raises(SpecError, match="task_seed differs"):
        lay_out([*three, classify(task_seed=1)], readout="classifier.6")
    with pytest.raises(SpecError, match="no probabilities from"):
        lay_out(three, readout="classifier.4")
    with pytest.raises(SpecError, match="at least 2"):
        lay_out(three[:1], readout="classifier.6")


def test_a_landscape_by_the_command_line_is_of_all_rois_and_the_untuned(
    ask: Ask, tiny_dataset: Dataset, colours: Path
) -> None:
    spec = ask(
        "landscape",
        tiny_dataset,
        **{**COMPACT, "task": str(colours), "allow_files": True, "subject": "subj01,subj02", "roi": "V1v,V1d"},
    )
    assert isinstance(spec, LandscapeSpec)
    assert sorted(model.label.partition(": ")[2] for model in spec.models) == [
        *(f"subj0{number} lh {roi} contrastive" for number in (1, 2) for roi in ("V1d", "V1v")),
        "untuned",
    ]
    assert (spec.subject, spec.readout) == ("subj01,subj02", "classifier.6")


@pytest.mark.parametrize(
    ("roi", "group"),
    [
        ("V1", "early"),
        ("hV4", "early"),
        ("FFA-1", "faces"),
        ("PPA", "places"),
        ("midventral", "midventral stream"),
        ("all", "other"),
        ("somewhere", "other"),
    ],
)
def test_groups_of_rois(roi: str, group: str) -> None:
    assert group_of(roi) == group
