"""Trains the demo's image-text network on freshly drawn scenes and their captions; writes weights, digest, measures.

The image tower begins with AlexNetCompact's weights. Every step shows each picture with its full caption and with a
short one drawn anew, which tells only a part: CLIP's symmetric loss is taken for both. By these alone the network
finds the main thing and not the small ones, which hardly help to tell pictures apart; so the name of every kind and
category is also asked of every picture, yes or no. The pictures come from seeds that neither the demo data set nor
scripts/train_compact.py use. About a quarter of an hour on two cores:

    python -m scripts.train_compact_clip [--out brainviz/models/weights]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from brainviz.datasets.demo.scenes import CATEGORIES, KINDS, Scene
from brainviz.models.backbones import load_backbone, resolve_weights
from brainviz.models.compact_clip import (
    CONTEXT,
    DIMENSIONS,
    GROUPS,
    CompactImageText,
    caption_words,
    forms,
    numbered,
    scene_of,
    short_caption,
)
from scripts.compact_training import (
    PROCESSES,
    normalised,
    options,
    picture_of,
    set_learning_rate,
    store_record,
    store_weights,
)

TRAINING_SEED, HELD_OUT_SEED = 21, 22
#: Full captions are matched among this many pictures.
RETRIEVED_FROM = 1000
#: CLIP's limit of the learned scale, 1 / temperature.
MAX_SCALE = 100.0


def drawn(key: tuple[int, int]) -> tuple[Scene, NDArray[np.uint8]]:
    """Return the scene of (seed, number) and its picture at the network's input size, as the demo's are resized."""
    scene = scene_of(*key)
    return scene, picture_of(scene)


def drawn_scenes(seed: int, count: int) -> tuple[list[Scene], Tensor]:
    """Return `count` scenes and their pictures (count, s, s, 3) uint8."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pairs = list(pool.imap(drawn, ((seed, number) for number in range(count)), chunksize=256))
    return [scene for scene, _ in pairs], torch.from_numpy(np.stack([image for _, image in pairs]))


def shifted(images: Tensor, rng: np.random.Generator, reach: int = 3) -> Tensor:
    """Return uint8 pictures (B, s, s, 3), all moved by the same few pixels; their edges are repeated."""
    rows, columns = (np.clip(np.arange(s) + rng.integers(-reach, reach + 1), 0, s - 1) for s in images.shape[1:3])
    return images[:, rows][:, :, columns]


def symmetric_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return CLIP's loss of (B, p) unit vectors, the i-th picture belonging to the i-th text."""
    logits = scale * images @ texts.T
    own = torch.arange(len(logits))
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


class Asked(nn.Module):
    """The loss of single nouns: is such a thing in the picture? A sigmoid of the cosine, for every picture and noun.

    Parameters
    ----------
    scenes : n Scene

    References
    ----------
    Zhai et al. 2023, arXiv 2303.15343 (SigLIP), for the sigmoid with a learned scale and offset.
    """

    def __init__(self, scenes: Sequence[Scene]) -> None:
        super().__init__()
        self.kinds_of = {**{kind: (kind,) for kind in KINDS}, **GROUPS}
        self.there = torch.tensor(
            [[any(t.kind in kinds for t in scene.things) for kinds in self.kinds_of.values()] for scene in scenes]
        ).float()
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())
        self.offsets = nn.Parameter(torch.logit(self.there.mean(0)))

    def texts(self, rng: np.random.Generator) -> list[str]:
        """Return one form of every noun, such as "a house" or "houses"."""
        return [str(rng.choice(forms(name))) for name in self.kinds_of]

    def forward(self, images: Tensor, texts: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Return the loss of (B, p) pictures, those of `rows`, and (nouns, p) texts."""
        logits = self.log_scale.exp() * images @ texts.T + self.offsets
        return functional.binary_cross_entropy_with_logits(logits, self.there[rows])


def start(settings: argparse.Namespace, n_words: int) -> CompactImageText:
    """Return the untrained network, its image tower but for the last layer from AlexNetCompact's weights."""
    torch.manual_seed(settings.seed)
    network = CompactImageText(n_words, dropout=settings.dropout)
    state = load_backbone("alexnet_compact", "demo", resolve_weights("alexnet_compact", "demo").digest).state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("classifier.6.")}
    network.image.load_state_dict({**network.image.state_dict(), **kept})
    return network.to(memory_format=torch.channels_last)


def train(
    scenes: Sequence[Scene], images: Tensor, number_of: dict[str, int], settings: argparse.Namespace
) -> CompactImageText:
    """Return the network after `settings.epochs` passes over the pictures."""
    network = start(settings, len(number_of))
    rng = np.random.default_rng(settings.seed)
    asked = Asked(scenes)
    parameters = [*network.parameters(), *asked.parameters()]
    optimiser = torch.optim.AdamW(parameters, weight_decay=settings.weight_decay)
    full = numbered([scene.caption for scene in scenes], number_of, CONTEXT)
    steps = len(images) // settings.batch_size
    for epoch in range(settings.epochs):
        began, losses = time.monotonic(), []
        order = rng.permutation(len(images))
        for step in range(steps):
            set_learning_rate(optimiser, (epoch * steps + step) / (settings.epochs * steps), settings.learning_rate)
            rows = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            short = numbered([short_caption(scenes[row], rng) for row in rows], number_of)
            long = full[rows[: len(rows) // 2]]  # half of them: they cost the most, and are learned the fastest
            with torch.autocast("cpu", dtype=torch.bfloat16):
                seen = network.embed_images(normalised(shifted(images[rows], rng)))
            # The text tower is faster in float32: its products are small.
            told = [network.embed_words(words) for words in (long[:, : int((long > 0).sum(1).max())], short)]
            scale = network.log_scale.exp().clamp(max=MAX_SCALE)
            parts = [symmetric_loss(seen[: len(texts)], texts, scale) for texts in told]
            parts.append(asked(seen, network.embed_words(numbered(asked.texts(rng), number_of)), rows))
            optimiser.zero_grad(set_to_none=True)
            (parts[0] + parts[1] + settings.asked_weight * parts[2]).backward()
            optimiser.step()
            losses.append([part.item() for part in parts])
        of_full, of_short, of_asked = np.mean(losses, axis=0)
        seconds = time.monotonic() - began
        print(
            f"epoch {epoch + 1}/{settings.epochs}  full {of_full:.3f}  short {of_short:.3f}"
            f"  asked {of_asked:.4f}  scale {scale.item():.1f}  {seconds:.0f} s",
            flush=True,
        )
    return network.eval()


@torch.inference_mode()
def measures(
    network: CompactImageText, scenes: Sequence[Scene], images: Tensor, number_of: dict[str, int]
) -> dict[str, object]:
    """Return how well full captions find their pictures, and single words the pictures that hold such a thing."""
    seen = torch.cat([network.embed_images(normalised(part)) for part in images.split(256)])

    def told(texts: Sequence[str]) -> Tensor:
        return network.embed_words(numbered(texts, number_of, CONTEXT))

    some = slice(RETRIEVED_FROM)
    cosines = told([scene.caption for scene in scenes[some]]) @ seen[some].T
    rank = (cosines > cosines.diagonal()[:, None]).sum(1)

    def areas(kinds_of: Mapping[str, Sequence[str]]) -> dict[str, float]:
        found = {}
        for word, kinds in kinds_of.items():
            there = [any(thing.kind in kinds for thing in scene.things) for scene in scenes]
            found[word] = round(float(roc_auc_score(there, seen @ told([word])[0])), 4)
        return found

    def others(kinds_of: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Of pictures whose main thing is of another kind, so that only small things are found."""
        found = {}
        for word, kinds in kinds_of.items():
            rows = [row for row, scene in enumerate(scenes) if scene.main.kind not in kinds]
            there = [any(thing.kind in kinds for thing in scenes[row].things) for row in rows]
            found[word] = round(float(roc_auc_score(there, seen[rows] @ told([word])[0])), 4)
        return found

    kinds = areas({kind: (kind,) for kind in KINDS})
    return {
        "retrieval": {f"top_{k}": float((rank < k).float().mean()) for k in (1, 10)} | {"pictures": RETRIEVED_FROM},
        "auc_of_categories": areas(CATEGORIES),
        "auc_of_categories_beside_another_main_thing": others(CATEGORIES),
        "auc_of_kinds": kinds,
        "auc_of_kinds_median": float(np.median(list(kinds.values()))),
        "auc_of_other_groups": areas({group: kinds for group, kinds in GROUPS.items() if group not in CATEGORIES}),
    }


def main() -> None:
    """Draw, train, store the weights as float16, and record what the stored weights reach."""
    parser = options(__doc__, learning_rate=1e-3, weight_decay=1e-2, dropout=0.1)
    parser.add_argument("--asked-weight", type=float, default=20.0, help="of the loss of single nouns")
    settings = parser.parse_args()

    began = time.monotonic()
    words = caption_words()
    number_of = {word: number for number, word in enumerate(words, start=1)}
    network = train(*drawn_scenes(TRAINING_SEED, settings.pictures), number_of, settings)
    path = settings.out / "clip_compact.safetensors"
    store_weights(network, path)
    reached = measures(network, *drawn_scenes(HELD_OUT_SEED, settings.held_out), number_of)
    facts = {"held_out": reached, "dimensions": DIMENSIONS, "words": list(words)}
    store_record(path, settings, (TRAINING_SEED, HELD_OUT_SEED), began, facts)
    print(json.dumps(reached, indent=1))


if __name__ == "__main__":
    main()
