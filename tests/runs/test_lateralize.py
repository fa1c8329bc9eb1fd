"""Lateralization runs: what is attributed is what the encoding and classification runs predict; the rest by hand."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from scipy import special
from sklearn.linear_model import Ridge

from brainviz.analyses.attribution import ATTRIBUTIONS, COMPLETENESS, Attribution, LinearReadout, attribute
from brainviz.analyses.lateralization import laterality_index, mean_estimate, mean_map
from brainviz.cli import main
from brainviz.datasets import open_dataset
from brainviz.datasets.base import Dataset
from brainviz.datasets.images import cut_out
from brainviz.datasets.index import build_index
from brainviz.datasets.splits import split_pictures
from brainviz.datasets.tasks import open_task, split
from brainviz.encoding.features import layer_features
from brainviz.encoding.statistics import bootstrap_weights
from brainviz.errors import DatasetError, SpecError
from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD, load_backbone
from brainviz.runs.classify import LABELS, read_probabilities
from brainviz.runs.classify import ROWS as TASK_ROWS
from brainviz.runs.lateralize import (
    GROUPS,
    INDEX,
    INTERCEPT,
    MAPS,
    POSITIONS,
    ROWS,
    SCALES,
    TARGETS,
    VALUES,
    WEIGHTS,
    _through_components,
    how,
    normalised,
    read_index,
    read_maps,
    window_of,
)
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.remembered import load_task, memo_dir
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import ClassificationSpec, LateralizationSpec
from brainviz.runs.store import Run, Store

pytestmark = pytest.mark.usefixtures("one_thread")

COMPACT = {"network": "alexnet_compact", "weights": "demo", "image_size": 32}

#: At which 32 pixels have become 7 x 7.
WIDE = "features.2"

Ask = Callable[..., Spec]
Computed = Callable[..., Run]
Lateralize = Callable[..., LateralizationSpec]


@pytest.fixture
def lateralize(ask: Ask, tiny_dataset: Dataset) -> Lateralize:
    """Return a function that asks for a lateralization: of V1v on the left, by the untuned network's features."""

    def make(dataset: Dataset = tiny_dataset, **values: Any) -> LateralizationSpec:
        asked = {**COMPACT, "method": "untuned", "readout": "classifier.5", **values}
        if asked["method"] == "random":
            asked.pop("weights")
        spec = ask("lateralization", dataset, **asked)
        assert isinstance(spec, LateralizationSpec)
        return spec

    return make


@pytest.fixture
def of_classes(lateralize: Lateralize, tiny_task_root: Path) -> Lateralize:
    """Return one that asks about the classes of the tiny task, by the logits unless said otherwise."""

    def make(task: Path = tiny_task_root, **values: Any) -> LateralizationSpec:
        asked = {"target": "class", "task": str(task), "allow_files": True, "readout": "classifier.6", **values}
        return lateralize(**asked)

    return make


def array(run: Run, name: str) -> NDArray[Any]:
    found: NDArray[Any] = np.load(run.file(name))
    return found


def predicted(run: Run, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return an encoding run's own predictions of these pictures, (vertices, n)."""
    place = {row: number for number, row in enumerate(run.array("test_rows"))}
    both = run.array("predicted").astype(np.float64) + run.array("offset")[:, None]
    return both[:, [place[row] for row in rows]]


def encoding_of(run: Run) -> Run:
    assert isinstance(run.spec, LateralizationSpec)
    assert run.spec.encoding is not None
    return Store().run_of(run.spec.encoding)


def subject_pictures(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(dataset.images("subj01")[row].convert("RGB")) for row in rows])


def attributed_again(run: Run, images: NDArray[np.uint8], **options: Any) -> tuple[Attribution, Attribution]:
    """Return what the run's network and readout give of pictures and of their mirror images."""
    assert isinstance(run.spec, LateralizationSpec)
    backbone = load_backbone("alexnet_compact", "demo", run.spec.network_state.weights_digest)
    network = LinearReadout(backbone, run.spec.readout, array(run, WEIGHTS), array(run, INTERCEPT))
    targets, settings = array(run, TARGETS), how(run.spec)
    own, mirrored = (
        attribute(network, normalised(each), targets, settings, **options) for each in (images, images[:, :, ::-1])
    )
    return own, mirrored


# --- what is attributed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", ["classifier.6", "classifier.5", "features.2"])
def test_the_target_is_the_rois_mean_predicted_response(
    lateralize: Lateralize, computed: Computed, tiny_dataset: Dataset, readout: str
) -> None:
    """Through the components, of which there are as many as pictures less one, back to the layer's own features."""
    run = computed(lateralize(readout=readout))
    rows, values = array(run, ROWS), array(run, VALUES)
    split = split_pictures(build_index(tiny_dataset, memo_dir()))["subj01"]
    np.testing.assert_array_equal(rows, split.test)
    expected = predicted(encoding_of(run), rows).mean(axis=0)
    assert np.std(expected) > 0.02
    # The logits' last components are small, and hardly penalised: the encoding run itself, which computes scores in
    # single precision, is off by so much from what scikit-learn finds from the features.
    np.testing.assert_allclose(values[:, 0], expected, atol=4e-4 if readout == "classifier.6" else 1e-4)
    backbone = load_backbone("alexnet_compact", "demo", run.spec.network_state.weights_digest)
    shown = subject_pictures(tiny_dataset, rows)
    train, test, mirrored = (
        layer_features(backbone, [readout], images, IMAGENET_MEAN, IMAGENET_STD)[readout].astype(np.float64)
        for images in (subject_pictures(tiny_dataset, split.train), shown, shown[:, :, ::-1])
    )
    responses = tiny_dataset.responses("subj01", "lh", "V1v")[split.train].astype(np.float64)
    penalties = encoding_of(run).array("alpha")[0]
    models = [Ridge(alpha).fit(train, y) for alpha, y in zip(penalties, responses.T, strict=True)]
    for column, X in enumerate((test, mirrored)):
        oracle = np.mean([model.predict(X) for model in models], axis=0)
        np.testing.assert_allclose(values[:, column], oracle, atol=1e-4)
    assert array(run, WEIGHTS).shape == (test.shape[1], 1)
    np.testing.assert_array_equal(array(run, TARGETS), 0)
    assert run.result()["value_mean"] == pytest.approx(values.mean())


def test_the_target_may_be_one_vertex(lateralize: Lateralize, computed: Computed) -> None:
    run = computed(lateralize(target="vertex", vertex=7))
    expected = predicted(encoding_of(run), array(run, ROWS))[7]
    np.testing.assert_allclose(array(run, VALUES)[:, 0], expected, atol=1e-4)
    with pytest.raises(SpecError, match=r"(?s)no such vertex.*30.*0 to 29"):
        computed(lateralize(target="vertex", vertex=30))


def test_the_target_may_be_left_less_right(lateralize: Lateralize, computed: Computed) -> None:
    run = computed(lateralize(target="left-right"))
    encoding = encoding_of(run)
    assert isinstance(encoding.spec, EncodingSpec)
    assert encoding.spec.areas == (("lh", "V1v"), ("rh", "V1v"))
    left, right = json.loads(encoding.file("areas.json").read_text())
    of_vertices = predicted(encoding, array(run, ROWS))
    expected = np.subtract(*(of_vertices[area["start"] : area["stop"]].mean(axis=0) for area in (left, right)))
    assert np.std(expected) > 0.02
    np.testing.assert_allclose(array(run, VALUES)[:, 0], expected, atol=1e-4)


def test_vertices_that_are_constant_are_predicted_as_they_are(
    lateralize: Lateralize, computed: Computed, tiny_copy: Path
) -> None:
    file = tiny_copy / "subj01/training_split/training_fmri/lh_training_fmri.npy"
    responses = np.load(file)
    responses[:, open_dataset(tiny_copy).columns("subj01", "lh", "V1v")[:3]] = 3.0
    np.save(file, responses)
    run = computed(lateralize(open_dataset(tiny_copy)))
    expected = predicted(encoding_of(run), array(run, ROWS)).mean(axis=0)
    np.testing.assert_allclose(array(run, VALUES)[:, 0], expected, atol=1e-4)


def test_a_tuned_network_is_attributed_in_its_tuned_state(lateralize: Lateralize, computed: Computed) -> None:
    spec = lateralize(method="contrastive", epochs=1, learning_rate=1e-3, target="left-right")
    assert (spec.method, spec.area) == ("contrastive", ("lh", "V1v"))
    run = computed(spec)
    encoding = encoding_of(run)
    left, right = (slice(area["start"], area["stop"]) for area in json.loads(encoding.file("areas.json").read_text()))
    of_vertices = predicted(encoding, array(run, ROWS))
    expected = of_vertices[left].mean(axis=0) - of_vertices[right].mean(axis=0)
    np.testing.assert_allclose(array(run, VALUES)[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize("readout", ["classifier.6", "classifier.5"])
def test_the_target_may_be_the_true_classes_logit(
    of_classes: Lateralize, computed: Computed, tiny_task_root: Path, readout: str
) -> None:
    run = computed(of_classes(readout=readout))
    assert isinstance(run.spec, LateralizationSpec)
    assert run.spec.classification is not None
    classes = Store().run_of(run.spec.classification)
    rows, labels = array(classes, TASK_ROWS), array(classes, LABELS)
    np.testing.assert_array_equal(array(run, ROWS), rows)
    np.testing.assert_array_equal(array(run, TARGETS), labels)
    task = open_task(tiny_task_root)
    np.testing.assert_array_equal(task.labels[rows], labels)
    images = np.stack([cut_out(task.images[row], 32) for row in rows])
    backbone = load_backbone("alexnet_compact", "demo", run.spec.network_state.weights_digest)
    X = layer_features(backbone, [readout], images, IMAGENET_MEAN, IMAGENET_STD)[readout].astype(np.float64)
    logits = X @ array(classes, f"coef_{readout}.npy") + array(classes, f"intercept_{readout}.npy")
    np.testing.assert_allclose(array(run, VALUES)[:, 0], logits[np.arange(len(rows)), labels], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(special.softmax(logits, axis=1), read_probabilities(classes, readout), atol=1e-4)
    assert (run.spec.dataset, run.spec.subject, run.spec.area) == ("", "", ("", ""))


@pytest.mark.parametrize(("n", "p"), [(60, 12), (30, 1100), (40, 40)])
def test_weights_of_components_become_weights_of_features(n: int, p: int) -> None:
    """Also of features that are constant, or far from 0, or sums of others."""
    rng = np.random.default_rng(p)
    X = (rng.standard_normal((n, p)) * np.geomspace(10, 0.1, p) + 5).astype(np.float32)
    X[:, 3] = 2
    X[:, 5] = X[:, 6]
    exact = X.astype(np.float64)
    mean = exact.mean(axis=0)
    _, _, axes = np.linalg.svd(exact - mean, full_matrices=False)
    V = axes[:8].T
    of_scores = rng.standard_normal(8)
    weights, centre = _through_components(X, (exact - mean) @ V @ of_scores)
    np.testing.assert_allclose(centre, mean)
    np.testing.assert_allclose(weights, V @ of_scores, atol=1e-4)


# --- which pictures ---------------------------------------------------------------------------------------------------


def test_no_more_pictures_than_said_and_the_same_for_every_network(lateralize: Lateralize, computed: Computed) -> None:
    few = {"n_images": 3, "test_share": 0.3}
    run = computed(lateralize(**few))
    rows = array(run, ROWS)
    every = encoding_of(run).array("test_rows")
    assert len(rows) == 3 < len(every)
    assert set(rows) < set(every)
    assert (np.diff(rows) > 0).all()
    assert run.result()["n_images"] == 3
    assert array(run, MAPS).shape == (3, 2, 32, 32)
    for other in ({"method": "random"}, {"roi": "V1d"}, {"readout": "classifier.6"}):
        np.testing.assert_array_equal(array(computed(lateralize(**few, **other)), ROWS), rows)
    moved = array(computed(lateralize(**few, picture_seed=1)), ROWS)
    assert set(moved) != set(rows)


def test_equal_pictures_of_a_subject_are_a_group(lateralize: Lateralize, computed: Computed, tiny_copy: Path) -> None:
    files = sorted((tiny_copy / "subj01/training_split/training_images").iterdir())
    shutil.copyfile(files[10], files[20])
    dataset = open_dataset(tiny_copy)
    index = build_index(dataset, memo_dir())
    seed = next(seed for seed in range(50) if 10 in split_pictures(index, 0.15, seed)["subj01"].test)
    run = computed(lateralize(dataset, split_seed=seed))
    rows, groups = array(run, ROWS), array(run, GROUPS)
    assert {10, 20} <= set(rows)
    assert len(set(groups)) == len(rows) - 1
    assert groups[rows == 10] == groups[rows == 20]


def test_equal_pictures_of_a_task_are_a_group(
    of_classes: Lateralize, computed: Computed, tiny_task_root: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(tiny_task_root, tmp_path / "animals"))
    shutil.copyfile(root / "cat/00.png", root / "cat/01.png")
    spec = of_classes(root)
    assert spec.classification is not None
    task, index = load_task(spec.classification.task_fingerprint)
    digests = index.image_digests
    seed = next(seed for seed in range(50) if 0 in split(task.labels, seed, groups=digests)[1])
    run = computed(of_classes(root, task_seed=seed))
    rows, groups = array(run, ROWS), array(run, GROUPS)
    assert {0, 1} <= set(rows)
    assert len(set(groups)) == len(rows) - 1
    assert groups[rows == 0] == groups[rows == 1]


# --- maps and indices -------------------------------------------------------------------------------------------------


def test_maps_and_indices_are_those_of_the_attribution(
    lateralize: Lateralize, computed: Computed, tiny_dataset: Dataset
) -> None:
    run = computed(lateralize(attribution="input-x-gradient", index_resamples=500, picture_seed=2))
    rows, result = array(run, ROWS), run.result()
    found = attributed_again(run, subject_pictures(tiny_dataset, rows))
    maps = np.stack([each.maps for each in found], axis=1)
    scales = np.abs(maps).max(axis=(2, 3))
    np.testing.assert_allclose(array(run, SCALES), scales, rtol=1e-5)
    # Half precision keeps 11 bits, and less of what is under 2^-14.
    kept = read_maps(run)
    allowed = np.abs(maps) * 2.0**-11 + scales[:, :, None, None] * 2.0**-24
    assert (np.abs(kept - maps) <= 1.01 * allowed + 1e-5 * np.abs(maps)).all()
    assert (array(run, MAPS).dtype, kept.dtype) == (np.float16, np.float32)
    np.testing.assert_array_equal(read_maps(run, np.array([4, 1])), kept[[4, 1]])
    np.testing.assert_array_equal(read_maps(run, slice(2, 3)), kept[2:3])
    np.testing.assert_allclose(array(run, INDEX), laterality_index(maps), atol=1e-6)
    np.testing.assert_allclose(array(run, POSITIONS), mean_map(maps), rtol=1e-4)
    index = read_index(run)
    np.testing.assert_allclose(index, laterality_index(maps).mean(axis=1), atol=1e-6)
    expected = mean_estimate(index, bootstrap_weights(len(rows), 500, 2, array(run, GROUPS)))
    assert [result[name] for name in ("index", "index_low", "index_high", "n_images")] == pytest.approx(
        [expected.value, expected.low, expected.high, len(rows)]
    )
    assert (result["n_without_index"], result["map_size"]) == (0, [32, 32])
    assert "residual_worst" not in result


def test_mirrored_pictures_would_have_the_same_index(
    lateralize: Lateralize, computed: Computed, tiny_copy: Path, tiny_dataset: Dataset
) -> None:
    """A picture and its mirror image are one pair, whichever of the two the data hold."""
    run = computed(lateralize())
    images = subject_pictures(tiny_dataset, array(run, ROWS))
    own, mirrored = attributed_again(run, images[:, :, ::-1])
    swapped = laterality_index(np.stack([own.maps, mirrored.maps], axis=1))
    np.testing.assert_allclose(swapped, array(run, INDEX)[:, ::-1], atol=1e-6)


SETTINGS: dict[str, dict[str, Any]] = {
    "grad-cam": {"cam_layer": WIDE},
    "integrated-gradients": {"n_steps": 2},
    "occlusion": {"window_share": 0.25},
}


def test_every_attribution_runs(
    of_classes: Lateralize, computed: Computed, tiny_task_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainviz.analyses.attribution.MOST_STEPS", 16)
    for attribution, noise in itertools.product(ATTRIBUTIONS, (0, 3)):
        spec = of_classes(attribution=attribution, noise_samples=noise, n_images=3, **SETTINGS.get(attribution, {}))
        run = computed(spec)
        result, maps = run.result(), read_maps(run)
        size = 7 if attribution == "grad-cam" else 32
        assert maps.shape == (3, 2, size, size)
        assert result["map_size"] == [size, size]
        assert np.abs(array(run, MAPS)).max(axis=(2, 3)) == pytest.approx(1, abs=1e-3)
        assert (maps < 0).any() == (attribution != "grad-cam")
        assert -1 <= result["index_low"] <= result["index"] <= result["index_high"] <= 1
        if attribution == "integrated-gradients" and not noise:
            images = np.stack([cut_out(open_task(tiny_task_root).images[row], 32) for row in array(run, ROWS)])
            residuals = np.abs([each.residuals for each in attributed_again(run, images)])
            assert result["residual_worst"] == pytest.approx(residuals.max(), rel=1e-3)
            assert result["n_incomplete"] == (residuals > COMPLETENESS).sum() > 0
        else:
            assert {"residual_worst", "n_incomplete"}.isdisjoint(result)


def test_occlusions_window_is_a_share_of_the_picture(of_classes: Lateralize) -> None:
    assert how(of_classes(attribution="occlusion")).window == 4
    assert how(of_classes(attribution="occlusion", window_share=0.25)).window == 8
    assert how(of_classes(attribution="occlusion", window_share=0.01)).window == 2
    assert how(of_classes(attribution="saliency", noise_samples=9, noise_sd=0.2, picture_seed=4)).seed == 4


def test_grad_cam_looks_where_it_is_told(of_classes: Lateralize, computed: Computed) -> None:
    one, other = (
        computed(of_classes(attribution="grad-cam", cam_layer=layer, n_images=3)) for layer in (WIDE, "features.5")
    )
    assert [run.result()["map_size"] for run in (one, other)] == [[7, 7], [3, 3]]
    usual = of_classes(attribution="grad-cam", n_images=3)
    assert usual.cam_layer == "features.12"
    with pytest.raises(DatasetError, match="left and a right half"):
        computed(usual)  # 32 pixels have become one there
    assert computed(of_classes(attribution="grad-cam", n_images=3, image_size=64)).result()["map_size"] == [5, 5]


def test_grad_cam_behind_the_readout_is_refused(lateralize: Lateralize, computed: Computed) -> None:
    with pytest.raises(SpecError, match=r"does not depend on the layer features\.12"):
        computed(lateralize(attribution="grad-cam", readout=WIDE))
    assert computed(lateralize(attribution="grad-cam", readout=WIDE, cam_layer=WIDE)).result()["map_size"] == [7, 7]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_target_that_does_not_fit_its_run_is_refused(lateralize: Lateralize, of_classes: Lateralize) -> None:
    good, classes = lateralize().model_dump(), of_classes().model_dump()
    for fields, words in (
        ({"target": "class"}, "a class needs a classification run"),
        ({"classification": classes["classification"]}, "and not both"),
        ({"encoding": {**good["encoding"], "shuffle_images": True}}, "shuffled"),
        ({"encoding": {**good["encoding"], "hemi": "both"}}, "one ROI of both hemispheres"),
        ({"encoding": {**good["encoding"], "roi": "V1d,V1v"}}, "other targets are of one ROI"),
        ({"target": "left-right"}, "one ROI of both hemispheres"),
        ({"subject": "subj02"}, "another data set or subject"),
        ({"readout": "classifier.6"}, "nothing is predicted from 'classifier.6'"),
        ({"attribution": "grad-cam"}, "Grad-CAM needs a layer"),
    ):
        with pytest.raises(ValueError, match=words):
            LateralizationSpec.model_validate({**good, **fields})


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("cache")
def test_the_command_line_says_the_index(tiny_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--dataset", str(tiny_root), "--subject", "subj01", "--hemi", "lh", "--roi", "V1v"]
    try:
        assert main(["lateralization", *where, "--readout", "classifier.5", "--n-images", "4", "--json"]) == 0
    finally:
        for run in Store().runs():
            worker = run.status().worker
            if worker is not None and worker.alive():
                psutil.Process(worker.pid).kill()
    answer = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (answer["kind"], answer["state"]) == ("lateralization", "done")
    result = answer["result"]
    assert -1 <= result["index_low"] <= result["index"] <= result["index_high"] <= 1
    assert result["n_images"] == 4
    spec = Store().get(answer["run"]).spec
    assert isinstance(spec, LateralizationSpec)
    assert (spec.target, spec.attribution, spec.method, spec.n_images) == ("roi", "saliency", "untuned", 4)
    assert ClassificationSpec not in {type(part) for part in spec.dependencies()}


@pytest.mark.parametrize("size", [30, 32, 64, 100, 112, 224])
def test_squares_of_occlusion_end_where_the_picture_ends(size: int) -> None:
    side = window_of(size, 1 / 8)
    assert (size - side) % (side // 2) == 0
    assert side == pytest.approx(size / 8, rel=0.6)
