"""Trains AlexNetCompact on freshly drawn demo scenes and writes its weights, digest and held-out accuracy.

The class of a picture is the kind and colour of its main object ("red house"): 80 classes. The pictures come from seeds
that the demo data set does not use. About ten minutes on two cores:

    python -m scripts.train_compact [--out brainviz/models/weights]
"""

from __future__ import annotations

import argparse
import multiprocessing
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from brainviz.datasets.demo.scenes import CLASSES, sample_scene
from brainviz.models.compact import COMPACT_INPUT_SIZE, AlexNetCompact
from scripts.compact_training import (
    PROCESSES,
    normalised,
    options,
    picture_of,
    set_learning_rate,
    store_record,
    store_weights,
)

TRAINING_SEED, HELD_OUT_SEED = 11, 12


def labelled_picture(key: tuple[int, int]) -> tuple[NDArray[np.uint8], int]:
    """Return the picture of (seed, number) at the network's input size, and its class."""
    scene = sample_scene(np.random.default_rng(list(key)))
    return picture_of(scene), CLASSES.index(scene.main.label)


def labelled_pictures(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures (count, s, s, 3) uint8 and classes (count,) int64."""
    images = np.empty((count, COMPACT_INPUT_SIZE, COMPACT_INPUT_SIZE, 3), np.uint8)
    labels = np.empty(count, np.int64)
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pairs = pool.imap(labelled_picture, ((seed, number) for number in range(count)), chunksize=256)
        for row, (image, label) in enumerate(pairs):
            images[row], labels[row] = image, label
    return torch.from_numpy(images), torch.from_numpy(labels)


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
            set_learning_rate(optimiser, (epoch * steps + step) / (settings.epochs * steps), settings.learning_rate)
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
    settings = options(__doc__, learning_rate=2e-3, weight_decay=1e-4, dropout=0.2).parse_args()
    began = time.monotonic()
    network = train(*labelled_pictures(TRAINING_SEED, settings.pictures), settings)
    path = settings.out / "alexnet_compact.safetensors"
    store_weights(network, path)
    reached = accuracy(network, *labelled_pictures(HELD_OUT_SEED, settings.held_out))
    chance = 1 / len(CLASSES)
    facts = {"held_out_accuracy": reached, "chance": chance, "n_classes": len(CLASSES), "classes": list(CLASSES)}
    store_record(path, settings, (TRAINING_SEED, HELD_OUT_SEED), began, facts)
    print(f"held-out accuracy {reached:.3f}, chance {chance:.4f}")


if __name__ == "__main__":
    main()
