"""What the scripts that train the demo's networks have in common: options, pictures, learning rate, what is written."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from brainviz.datasets.demo.drawing import draw_scene
from brainviz.datasets.demo.scenes import Scene
from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD
from brainviz.models.compact import COMPACT_INPUT_SIZE

#: That draw pictures.
PROCESSES = 2


def options(
    description: str | None, *, learning_rate: float, weight_decay: float, dropout: float
) -> argparse.ArgumentParser:
    """Return a parser of the options that all scripts have, with these defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "brainviz/models/weights")
    parser.add_argument("--pictures", type=int, default=30_000)
    parser.add_argument("--held-out", type=int, default=4_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--weight-decay", type=float, default=weight_decay)
    parser.add_argument("--dropout", type=float, default=dropout)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def picture_of(scene: Scene) -> NDArray[np.uint8]:
    """Return a scene's picture at the networks' input size, resized as the demo's are, (s, s, 3)."""
    return np.asarray(draw_scene(scene).resize((COMPACT_INPUT_SIZE, COMPACT_INPUT_SIZE), Image.Resampling.BILINEAR))


def normalised(images: Tensor) -> Tensor:
    """Return uint8 pictures (B, s, s, 3) as the network's input, (B, 3, s, s) in channels-last memory."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def set_learning_rate(optimiser: torch.optim.Optimizer, share: float, peak: float) -> None:
    """Set the rate after a share of the steps: up linearly over the first tenth, then down along half a cosine."""
    rate = peak * (share / 0.1 if share < 0.1 else 0.5 * (1 + math.cos(math.pi * (share - 0.1) / 0.9)))
    for group in optimiser.param_groups:
        group["lr"] = rate


def store_weights(network: nn.Module, path: Path) -> None:
    """Write the weights as float16, and have the network go on with what was written."""
    save_file({name: value.half().contiguous() for name, value in network.state_dict().items()}, path)
    path.chmod(0o644)  # safetensors makes files that only their owner can read
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})


def store_record(
    path: Path, settings: argparse.Namespace, seeds: tuple[int, int], began: float, facts: Mapping[str, Any]
) -> None:
    """Write beside the weights what they are, and what they reach.

    Parameters
    ----------
    path : Path
        Of the weights.
    settings : Namespace
        Of `options`.
    seeds : (int, int)
        Of the pictures trained on, and of the held-out ones.
    began : float
        When, by `time.monotonic`.
    facts : mapping
        What else is to be known.
    """
    record = {
        "network": path.stem,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **facts,
        "input_size": COMPACT_INPUT_SIZE,
        "settings": {name: value for name, value in vars(settings).items() if name != "out"},
        "seeds": dict(zip(("training", "held_out"), seeds, strict=True)),
        "torch": torch.__version__,
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    path.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
