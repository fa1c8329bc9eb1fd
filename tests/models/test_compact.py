"""The compact backbone: AlexNet's layer names, and the recorded digest and accuracy of its weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import brainviz.models
from brainviz.datasets.demo.drawing import draw_scene
from brainviz.datasets.demo.scenes import CLASSES, sample_scene
from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD, candidate_layers, load_backbone
from brainviz.models.compact import COMPACT_INPUT_SIZE, AlexNetCompact

WEIGHTS = Path(brainviz.models.__file__).parent / "weights" / "alexnet_compact.safetensors"
RECORD = json.loads(WEIGHTS.with_suffix(".json").read_text())
FRESH_SEED, FRESH_PICTURES = 77, 500


def test_layers_are_named_and_typed_as_torchvisions_alexnet() -> None:
    from torchvision.models import alexnet

    with torch.device("meta"):
        theirs, ours = dict(alexnet().named_modules()), dict(AlexNetCompact().named_modules())
    names = [name for name in theirs if name.startswith(("features.", "classifier."))]
    assert names == [name for name in ours if name.startswith(("features.", "classifier."))]
    assert all(type(theirs[name]) is type(ours[name]) for name in names)
    assert set(candidate_layers("alexnet_compact")) <= set(ours)


def test_the_file_is_the_recorded_one_and_small() -> None:
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == RECORD["sha256"]
    assert WEIGHTS.stat().st_size < 4_000_000
    assert RECORD["classes"] == list(CLASSES)
    assert RECORD["n_classes"] == len(CLASSES)
    assert FRESH_SEED not in RECORD["seeds"].values()


def test_pictures_of_other_sizes_are_taken_and_memory_order_does_not_matter() -> None:
    network = AlexNetCompact().eval()
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = network(x)
        last = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert plain.shape == (2, 80)
    torch.testing.assert_close(plain, last, atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the stored network for fresh pictures, and their classes."""
    network = load_backbone("alexnet_compact", "demo", RECORD["sha256"])
    scenes = [sample_scene(np.random.default_rng([FRESH_SEED, number])) for number in range(FRESH_PICTURES)]
    size = (COMPACT_INPUT_SIZE, COMPACT_INPUT_SIZE)
    pixels = [np.asarray(draw_scene(scene).resize(size, Image.Resampling.BILINEAR), np.float32) for scene in scenes]
    x = (torch.from_numpy(np.stack(pixels)) / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    with torch.inference_mode():
        return network(x.permute(0, 3, 1, 2)), torch.tensor([CLASSES.index(scene.main.label) for scene in scenes])


def test_the_recorded_accuracy_is_what_fresh_pictures_give(logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    scores, classes = logits
    accuracy = float((scores.argmax(1) == classes).float().mean())
    recorded = RECORD["held_out_accuracy"]
    print(f"accuracy {accuracy:.3f} on {FRESH_PICTURES} fresh pictures; recorded {recorded:.3f}")
    assert recorded > 20 * RECORD["chance"]
    assert abs(accuracy - recorded) < 4 * np.sqrt(recorded * (1 - recorded) / FRESH_PICTURES) + 0.005
