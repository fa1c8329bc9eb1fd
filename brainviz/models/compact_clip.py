"""The demo's image-text network, CLIP in small: AlexNetCompact, a small text tower, and the captions it learned from.

It knows the words of the demo's captions only, and stands in for CLIP where no weights of CLIP are at hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainviz.datasets.demo.scenes import (
    CATEGORIES,
    CATEGORY_OF,
    COLOURS,
    KINDS,
    PLACES_TO_BE,
    TEXTURES,
    Scene,
    Thing,
    sample_scene,
)
from brainviz.models.compact import AlexNetCompact

#: Dimensions of the shared space.
DIMENSIONS = 128
#: Words of a text that are read; the longest caption of the demo has 57.
CONTEXT = 64
#: The number that stands for "no word here".
PADDING = 0

_WIDTH, _HEADS, _LAYERS = 128, 4, 1


class CompactImageText(nn.Module):
    """Two towers into one space: pictures through `AlexNetCompact`, texts through a small transformer.

    Parameters
    ----------
    n_words : int
        Size of the vocabulary; words are numbered from 1, `PADDING` is 0.
    dropout : float
        Of the image tower, as `AlexNetCompact` takes it.

    References
    ----------
    Radford et al. 2021, arXiv 2103.00020: two towers, a learned temperature that starts at 0.07.
    """

    def __init__(self, n_words: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.image = AlexNetCompact(DIMENSIONS, dropout=dropout)
        self.text = TextTower(n_words)
        self.log_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def forward(self, images: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Return the unit vectors of pictures and of texts.

        Parameters
        ----------
        images : (B, 3, s, s) float tensor
            Normalised as for `AlexNetCompact`.
        words : (M, w) int64 tensor
            As `numbered` gives them.

        Returns
        -------
        (B, p) and (M, p) float32 tensors
        """
        return self.embed_images(images), self.embed_words(words)

    def embed_images(self, images: Tensor) -> Tensor:
        """Return (B, p) unit vectors of (B, 3, s, s) normalised pictures."""
        return functional.normalize(self.image(images).float(), dim=1)

    def embed_words(self, words: Tensor) -> Tensor:
        """Return (M, p) unit vectors of (M, w) numbered words."""
        return functional.normalize(self.text(words).float(), dim=1)

    def last_map(self, images: Tensor) -> Tensor:
        """Return (B, 64, 5, 5), the last answer of the image tower that has rows and columns."""
        features: Tensor = self.image.features(images)
        return features


class TextTower(nn.Module):
    """Word and position vectors, transformer layers, the mean over the words, a projection.

    Parameters
    ----------
    n_words : int
        Size of the vocabulary.
    """

    def __init__(self, n_words: int) -> None:
        super().__init__()
        self.words = nn.Embedding(n_words + 1, _WIDTH, padding_idx=PADDING)
        self.places = nn.Parameter(torch.randn(CONTEXT, _WIDTH) * 0.02)
        nn.init.normal_(self.words.weight, std=0.1)
        self.layers = nn.ModuleList(_Layer() for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(_WIDTH)
        self.projection = nn.Linear(_WIDTH, DIMENSIONS, bias=False)

    def forward(self, words: Tensor) -> Tensor:
        """Return (M, p) of (M, w) numbered words, w at most `CONTEXT`; every row has one word at least."""
        there = words != PADDING
        x = self.words(words) + self.places[: words.shape[1]]
        for layer in self.layers:
            x = layer(x, there)
        mean = (self.norm(x) * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        projected: Tensor = self.projection(mean)
        return projected


class _Layer(nn.Module):
    """One transformer layer, normalised before each part: words look at each other, then each is changed alone."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
        self.queries_keys_values = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.out = nn.Linear(_WIDTH, _WIDTH)
        self.alone = nn.Sequential(nn.Linear(_WIDTH, 2 * _WIDTH), nn.GELU(), nn.Linear(2 * _WIDTH, _WIDTH))

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """Return (M, w, width) of the same; `there` (M, w) is False where no word is."""
        m, w, _ = x.shape
        # (M, w, 3 * width) -> three of (M, heads, w, width / heads)
        q, k, v = self.queries_keys_values(self.norm_1(x)).view(m, w, 3, _HEADS, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None, :])
        x = x + self.out(seen.transpose(1, 2).reshape(m, w, _WIDTH))
        changed: Tensor = x + self.alone(self.norm_2(x))
        return changed


# --- words ------------------------------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """Return the words of a text, lower-cased and without punctuation: ``"Middle-sized!"`` -> ``middle, sized``."""
    return re.findall(r"[^\W_]+", text.lower())


def numbered(texts: Sequence[str], number_of: dict[str, int], length: int | None = None) -> Tensor:
    """Return the numbers of the known words of every text; unknown words are left out, as are those after `CONTEXT`.

    Parameters
    ----------
    texts : m str
    number_of : dict
        Word -> number, from 1.
    length : int, optional
        Columns; as many as the longest text needs unless given.

    Returns
    -------
    (m, w) int64 tensor
        Padded with `PADDING` on the right.
    """
    rows = [[number_of[word] for word in words_of(text) if word in number_of][:CONTEXT] for text in texts]
    numbers = torch.full((len(rows), length or max(map(len, rows))), PADDING)
    for row, found in zip(numbers, rows, strict=True):
        row[: len(found)] = torch.tensor(found, dtype=torch.int64)
    return numbers


# --- captions ---------------------------------------------------------------------------------------------------------

_COUNTS = ("", "one", "two", "three", "four")
_SINGULARS = {
    "faces": "face",
    "bodies": "body",
    "places": "place",
    "words": "word",
    "food": "food",
    "shapes": "shape",
    "animals": "animal",
    "buildings": "building",
    "people": "person",
    "fruit": "fruit",
}
_UNCOUNTED = ("food", "fruit")
_PLURALS = {"woman": "women", "man": "men", "church": "churches"}

#: Names for several kinds: the categories, and what else one would look for. A "word" is one of its kind, "words" are
#: the category with its numbers and signs.
GROUPS: dict[str, tuple[str, ...]] = {
    **CATEGORIES,
    "animals": ("cat", "dog"),
    "buildings": CATEGORIES["places"],
    "people": ("woman", "man", "person"),
    "fruit": ("apple", "banana"),
}
_WHERE = {"meadow": "in a meadow", "beach": "on a beach", "street": "in a street", "room": "in a room"}


def short_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Return a caption, drawn at random, that tells a part of a scene: some things, a group, the setting, a number, ...

    Every thing is as likely to be named as any other, so that the main one does not stand for the whole picture.
    """
    kinds: tuple[Callable[[Scene, np.random.Generator], str], ...] = (
        _some_things, _some_groups, _one_group, _one_kind, _setting, _count, _texture, _colour,
    )  # fmt: skip
    which = rng.choice(len(kinds), p=(0.26, 0.1, 0.22, 0.24, 0.06, 0.04, 0.04, 0.04))
    return kinds[which](scene, rng)


def forms(name: str) -> tuple[str, ...]:
    """Return the ways to ask for a kind or a group: ``"house"``, ``"a house"``, ``"houses"``."""
    if name in GROUPS:
        singular = _SINGULARS[name]
        # The singular of words and people is the name of a kind.
        plain = name in _UNCOUNTED or singular in KINDS
        return (name,) if plain else (name, singular, _article(singular))
    return (name, _article(name)) if _plural(name) in GROUPS else (name, _article(name), _plural(name))


def caption_words() -> tuple[str, ...]:
    """Return every word that a caption may hold, sorted: what the text tower is made for."""
    fixed = (
        *(word for phrase in _WHERE.values() for word in words_of(phrase)),
        *words_of("a an at with and on the left right in middle ground stripes large small middle-sized"),
        *words_of("face of a woman with hair, of a man in a cap, a hand with a sleeve, letters, digits, on a plate"),
        *words_of("thing things a single something"),
        *_COUNTS[1:],
    )
    names = (*KINDS, *map(_plural, KINDS), *GROUPS, *_SINGULARS.values(), *COLOURS, *TEXTURES, *PLACES_TO_BE)
    return tuple(sorted(set(chain(fixed, names))))


def _article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def _plural(kind: str) -> str:
    return _PLURALS.get(kind, f"{kind}s")


def _some(scene: Scene, rng: np.random.Generator) -> list[Thing]:
    """Return one or more of the things, in any order."""
    number = int(rng.integers(1, len(scene.things) + 1))
    return [scene.things[i] for i in rng.permutation(len(scene.things))[:number]]


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _some_things(scene: Scene, rng: np.random.Generator) -> str:
    """Return e.g. ``"a small green dog and a house on the left"``: every detail is told or not."""
    text = _listed([_told(thing, rng) for thing in _some(scene, rng)])
    return f"{text} {_place(scene)}" if rng.random() < 0.15 else text


def _told(thing: Thing, rng: np.random.Generator) -> str:
    coloured, sized, placed = rng.random(3) < (0.5, 0.2, 0.35)
    noun = f"{thing.colour} {thing.kind}" if coloured else thing.kind
    if sized and thing.size > 0.36:
        noun = f"large {noun}"
    elif sized and thing.size < 0.24:
        noun = f"small {noun}"
    side = "on the left" if thing.x < -0.25 else "on the right" if thing.x > 0.25 else "in the middle"
    return f"{_article(noun)} {side}" if placed else _article(noun)


def _groups_of(kind: str) -> list[str]:
    """Return the names of the groups that a kind belongs to; its category three times: it is looked for most."""
    return [CATEGORY_OF[kind]] * 2 + [group for group, kinds in GROUPS.items() if kind in kinds]


def _some_groups(scene: Scene, rng: np.random.Generator) -> str:
    """Return e.g. ``"a face and food"``."""
    groups = dict.fromkeys(str(rng.choice(_groups_of(thing.kind))) for thing in _some(scene, rng))
    return _listed([_group(group, scene, rng) for group in groups])


def _one_group(scene: Scene, rng: np.random.Generator) -> str:
    thing = scene.things[rng.integers(len(scene.things))]
    return _group(str(rng.choice(_groups_of(thing.kind))), scene, rng)


def _group(group: str, scene: Scene, rng: np.random.Generator) -> str:
    """Return ``"faces"``, ``"a face"``, ``"face"`` or, where there are two, ``"two faces"``."""
    number = sum(thing.kind in GROUPS[group] for thing in scene.things)
    if number > 1 and group not in _UNCOUNTED and rng.random() < 0.3:
        return f"{_COUNTS[number]} {group}"
    return str(rng.choice(forms(group)))


def _one_kind(scene: Scene, rng: np.random.Generator) -> str:
    """Return ``"house"``, ``"a house"``, ``"houses"`` or, where there are two, ``"two houses"``."""
    kind = scene.things[rng.integers(len(scene.things))].kind
    number = sum(thing.kind == kind for thing in scene.things)
    if number > 1 and kind != "word" and rng.random() < 0.3:
        return f"{_COUNTS[number]} {_plural(kind)}"
    return str(rng.choice(forms(kind)))


def _place(scene: Scene) -> str:
    return _WHERE.get(scene.setting, f"at {scene.setting}")


def _setting(scene: Scene, rng: np.random.Generator) -> str:
    return scene.setting if rng.random() < 0.5 else _place(scene)


def _count(scene: Scene, rng: np.random.Generator) -> str:
    number = len(scene.things)
    if number == 1 and rng.random() < 0.5:
        return "a single thing"
    return f"{_COUNTS[number]} thing{'s' if number > 1 else ''}"


def _texture(scene: Scene, rng: np.random.Generator) -> str:
    choices = (scene.texture, f"{scene.texture} stripes", f"{scene.texture} stripes on the ground")
    return choices[rng.integers(3)]


def _colour(scene: Scene, rng: np.random.Generator) -> str:
    colour = scene.things[rng.integers(len(scene.things))].colour
    choices = (colour, f"something {colour}", _article(f"{colour} thing"))
    return choices[rng.integers(3)]


def scene_of(seed: int, number: int) -> Scene:
    """Return one of the scenes that the network was trained or tested on."""
    return sample_scene(np.random.default_rng([seed, number]))
