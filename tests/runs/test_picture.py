"""One uploaded picture: the process that attributes it answers as `attribute` does, or in words, and keeps nothing."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brainviz.analyses.attribution import Attribution, LinearReadout, attribute
from brainviz.datasets.base import Dataset
from brainviz.errors import RunError
from brainviz.models.backbones import load_backbone, load_tuned_backbone
from brainviz.runs import picture
from brainviz.runs.lateralize import INTERCEPT, WEIGHTS, how, normalised
from brainviz.runs.networks import WEIGHTS as TUNED
from brainviz.runs.picture import LIKELIEST, attribute_picture, fitted
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import LateralizationSpec
from brainviz.runs.store import Run, Store

pytestmark = pytest.mark.usefixtures("one_thread")

COMPACT = {"network": "alexnet_compact", "weights": "demo", "image_size": 32}

Ask = Callable[..., Spec]
Computed = Callable[..., Run]


@pytest.fixture
def lateralized(ask: Ask, computed: Computed, tiny_dataset: Dataset, tiny_task_root: Path) -> Callable[..., Run]:
    """Return a function that computes a lateralization run; one about classes asks about those of the tiny task."""

    def make(**values: Any) -> Run:
        asked = {**COMPACT, "method": "untuned", "n_images": 3, **values}
        if asked.get("target") == "class":
            asked |= {"task": str(tiny_task_root), "allow_files": True}
        return computed(ask("lateralization", tiny_dataset, **asked))

    return make


@pytest.fixture
def image() -> Image.Image:
    """Return a wide picture, brighter on one side."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 128, (40, 60, 3)) + np.linspace(0, 127, 60)[:, None]
    return Image.fromarray(pixels.astype(np.uint8))


def spec_of(run: Run) -> LateralizationSpec:
    assert isinstance(run.spec, LateralizationSpec)
    return run.spec


def directly(run: Run, seen: NDArray[np.uint8], target: int, backbone: Any = None) -> Attribution:
    """Return what the run's network and stored readout give of a picture as seen, and of its mirror image."""
    backbone = backbone or load_backbone("alexnet_compact", "demo", spec_of(run).network_state.weights_digest)
    weights, intercept = np.load(run.file(WEIGHTS)), np.load(run.file(INTERCEPT))
    network = LinearReadout(backbone, spec_of(run).readout, weights, intercept)
    both = normalised(np.stack([seen, seen[:, ::-1]]))
    return attribute(network, both, np.full(2, target), how(spec_of(run)))


def scores(run: Run, seen: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return all numbers that a run's readout gives of a picture."""
    n = np.load(run.file(INTERCEPT)).size
    return np.array([directly(run, seen, number).values[0] for number in range(n)])


def files_below(*folders: Path) -> dict[Path, int]:
    """Return the files below folders, and when each was changed."""
    files = (Path(root) / name for folder in folders for root, _, names in os.walk(folder) for name in names)
    return {file: file.stat().st_mtime_ns for file in files}


def answer_of(
    monkeypatch: pytest.MonkeyPatch, runs: list[str], seen: NDArray[np.uint8], target: int = 0
) -> tuple[int, bytes, str]:
    """Return exit status, answer and complaint of the process, here and now."""
    sent, out, complaint = io.BytesIO(), io.BytesIO(), io.StringIO()
    np.savez(sent, target=np.int64(target), **dict.fromkeys(runs, seen))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(sent.getvalue())))
        patched.setattr(sys, "stdout", SimpleNamespace(buffer=out))
        patched.setattr(sys, "stderr", complaint)
        status = picture.main(runs)
    return status, out.getvalue(), complaint.getvalue()


# --- what is answered -------------------------------------------------------------------------------------------------


def test_maps_are_those_of_the_runs_networks_and_nothing_is_kept(
    lateralized: Callable[..., Run],
    image: Image.Image,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two runs in one process: of a ROI's response, which sees the picture squeezed, and of classes, its middle."""
    responses, classes = lateralized(), lateralized(target="class", attribution="input-x-gradient")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = files_below(cache, temporary)
    found = attribute_picture([responses, classes], image, LIKELIEST)
    assert files_below(cache, temporary) == before
    assert list(found) == [responses.id, classes.id]
    # The picture brightens from left to right: the middle lacks what is darkest and brightest.
    whole, middle = (found[run.id].images[0].mean(axis=(0, 2)) for run in (responses, classes))
    assert whole[0] + 10 < middle[0] < middle[-1] < whole[-1] - 10
    for run in (responses, classes):
        one = found[run.id]
        seen = fitted(image, spec_of(run))
        assert seen.shape == (32, 32, 3)
        np.testing.assert_array_equal(one.images, [seen, seen[:, ::-1]])
        assert one.target == scores(run, seen).argmax()
        expected = directly(run, seen, one.target)
        np.testing.assert_allclose(one.maps, expected.maps, rtol=1e-4, atol=1e-5 * np.abs(expected.maps).max())
        np.testing.assert_allclose(one.values, expected.values, rtol=1e-4)


def test_the_class_may_be_chosen(
    lateralized: Callable[..., Run], image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lateralized(target="class")
    seen = fitted(image, spec_of(run))
    other = int(scores(run, seen).argmin())
    status, out, _ = answer_of(monkeypatch, [run.id], seen, other)
    assert status == 0
    with np.load(io.BytesIO(out)) as answer:
        assert int(answer[f"{run.id}_target"]) == other
        expected = directly(run, seen, other)
        np.testing.assert_allclose(answer[f"{run.id}_maps"], expected.maps, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(answer[f"{run.id}_values"], expected.values, rtol=1e-4)


def test_a_tuned_network_answers_in_its_tuned_state_until_its_weights_are_gone(
    lateralized: Callable[..., Run], image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lateralized(method="contrastive", epochs=1, learning_rate=1e-3)
    seen = fitted(image, spec_of(run))
    tuning = spec_of(run).network_state.finetune
    assert tuning is not None
    weights = Store().run_of(tuning).file(TUNED)
    tuned = load_tuned_backbone("alexnet_compact", weights)
    expected = directly(run, seen, 0, tuned)
    status, out, _ = answer_of(monkeypatch, [run.id], seen)
    assert status == 0
    with np.load(io.BytesIO(out)) as answer:
        maps = answer[f"{run.id}_maps"]
    np.testing.assert_allclose(maps, expected.maps, rtol=1e-4, atol=1e-5 * np.abs(expected.maps).max())
    assert not np.allclose(maps, directly(run, seen, 0).maps, rtol=0.01)

    weights.unlink()
    status, out, complaint = answer_of(monkeypatch, [run.id], seen)
    assert (status, out) == (1, b"")
    assert "(finetune) is damaged" in complaint
    assert "gone" in complaint
    assert "\n" not in complaint


# --- what is refused --------------------------------------------------------------------------------------------------


def test_runs_that_cannot_answer_end_the_process_in_words(
    ask: Ask, computed: Computed, tiny_dataset: Dataset, image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = computed(ask("features", tiny_dataset, method="untuned", layers=("classifier.6",), **COMPACT))
    seen = np.zeros((32, 32, 3), np.uint8)
    for run_id, words in ((features.id, "with lateralization runs. Got: features"), ("f" * 64, "There is no run")):
        status, out, complaint = answer_of(monkeypatch, [run_id], seen)
        assert (status, out) == (1, b"")
        assert words in complaint
        assert "\n" not in complaint
    with pytest.raises(RunError, match=r"(?s)with lateralization runs.*features"):
        attribute_picture([features], image)


def test_a_run_that_is_gone_or_not_done(
    lateralized: Callable[..., Run], image: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lateralized()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("BRAINVIZ_CACHE", str(tmp_path / "empty"))
        with pytest.raises(RunError, match=r"(?s)could not be attributed.*There is no run") as refused:
            attribute_picture([run], image)
        assert "Traceback" not in str(refused.value)
    (run.path / "manifest.json").unlink()
    status, _, complaint = answer_of(monkeypatch, [run.id], fitted(image, spec_of(run)))
    assert status == 1
    assert run.id[:12] in complaint


def test_a_picture_that_takes_too_long(
    lateralized: Callable[..., Run], image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lateralized()
    monkeypatch.setattr(picture, "SECONDS", 0.05)
    with pytest.raises(RunError, match=r"(?s)took too long.*fewer models"):
        attribute_picture([run], image)
