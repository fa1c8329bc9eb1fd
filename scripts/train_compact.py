"""Trains AlexNetCompact on freshly drawn demo scenes and writes its weights, digest and held-out accuracy.

The class of a picture is the kind and colour of its main object ("red house"): 80 classes. The pictures come from seeds
that the demo data set does not use. About ten minutes on two cores:

    python -m scripts.train_compact [--out brainviz/models/weights]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from brainviz.datasets.demo.drawing import draw_scene
from brainviz.datasets.demo.scenes import CLASSES, sample_scene
from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD
from brainviz.models.compact import COMPACT_INPUT_SIZE, AlexNetCompact

TRAINING_SEED, HELD_OUT_SEED = 11, 12
PROCESSES = 2


def labelled_picture(key: tuple[int, int]) -> tuple[NDArray[np.uint8], int]:
    """Return the picture of (seed, number) at the network's input size, and its class."""
    scene = sample_scene(np.random.default_rng(list(key)))
    size = (COMPACT_INPUT_SIZE, COMPACT_INPUT_SIZE)
    picture = draw_scene(scene).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture), CLASSES.index(scene.main.label)


def labelled_pictures(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures (count, s, s, 3) uint8 and classes (count,) int64."""
    images = np.empty((count, COMPACT_INPUT_SIZE, COMPACT_INPUT_SIZE, 3), np.uint8)
    labels = np.empty(count, np.int64)
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pairs = pool.imap(labelled_picture, ((seed, number) for number in range(count)), chunksize=256)
        for row, (image, label) in enumerate(pairs):
            images[row], labels[row] = image, label
    return torch.from_numpy(images), torch.from_numpy(labels)


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Return uint8 pictures (B, s, s, 3) as the network's input, (B, 3, s, s) in channels-last memory."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def learning_rate(share: float, peak: float) -> float:
    """Return the rate after a share of the steps: up linearly over the first tenth, then down along half a cosine."""
    return peak * (share / 0.1 if share < 0.1 else 0.5 * (1 + math.cos(math.pi * (share - 0.1) / 0.9)))


def train(images: torch.Tensor, labels: torch.Tensor, settings: argparse.Namespace) -> AlexNetCompact:
    """Return the network after `settings.epochs` passes over the pictures."""
    torch.manual_seed(settings.seed)
    network = AlexNetCompact(len(CLASSES), dropout=settings.dropout).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=settings.weight_decay)
    loss_of = nn.CrossEntropyLoss()
    steps = len(images) // settings.batch_size
    for epoch in range(settings.epochs):
        start, losses = time.monotonic(), []
        order = torch.randperm(len(images))
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate((epoch * steps + step) / (settings.epochs * steps), settings.learning_rate)
            rows = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            loss = loss_of(network(normalised(images[rows])), labels[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        seconds = time.monotonic() - start
        print(f"epoch {epoch + 1}/{settings.epochs}  loss {np.mean(losses):.3f}  {seconds:.0f} s", flush=True)
    return network.eval()


@torch.inference_mode()
def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of pictures whose class has the largest logit."""
    predicted = torch.cat([network(normalised(part)).argmax(1) for part in images.split(256)])
    return float((predicted == labels).float().mean())


def main() -> None:
    """Draw, train, store the weights as float16, and record what the stored weights reach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default_out = Path(__file__).resolve().parents[1] / "brainviz/models/weights"
    parser.add_argument("--out", type=Path, default=default_out)
    parser.add_argument("--pictures", type=int, default=30_000)
    parser.add_argument("--held-out", type=int, default=4_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()

    start = time.monotonic()
    network = train(*labelled_pictures(TRAINING_SEED, settings.pictures), settings)
    path = settings.out / "alexnet_compact.safetensors"
    save_file({name: value.half().contiguous() for name, value in network.state_dict().items()}, path)
    path.chmod(0o644)  # safetensors makes files that only their owner can read
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    record = {
        "network": "alexnet_compact",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "held_out_accuracy": accuracy(network, *labelled_pictures(HELD_OUT_SEED, settings.held_out)),
        "chance": 1 / len(CLASSES),
        "n_classes": len(CLASSES),
        "classes": list(CLASSES),
        "input_size": COMPACT_INPUT_SIZE,
        "settings": {name: value for name, value in vars(settings).items() if name != "out"},
        "seeds": {"training": TRAINING_SEED, "held_out": HELD_OUT_SEED},
        "torch": torch.__version__,
        "minutes": round((time.monotonic() - start) / 60, 1),
    }
    path.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print(f"held-out accuracy {record['held_out_accuracy']:.3f}, chance {record['chance']:.4f}")


if __name__ == "__main__":
    main()
