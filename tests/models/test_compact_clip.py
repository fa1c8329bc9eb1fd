"""The demo's image-text network: its towers, its words, and captions that tell nothing but what a scene shows."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from brainviz.datasets.demo.scenes import CATEGORIES, COLOURS, KINDS, PLACES_TO_BE, TEXTURES
from brainviz.models import compact_clip
from brainviz.models.compact_clip import (
    CONTEXT,
    DIMENSIONS,
    GROUPS,
    PADDING,
    CompactImageText,
    caption_words,
    numbered,
    scene_of,
    short_caption,
    words_of,
)
from brainviz.models.states import file_digest

WEIGHTS = Path(compact_clip.__file__).parent / "weights" / "clip_compact.safetensors"
NUMBER_OF = {word: number for number, word in enumerate(caption_words(), start=1)}


@pytest.fixture(scope="module")
def network() -> CompactImageText:
    torch.manual_seed(0)
    return CompactImageText(len(NUMBER_OF)).eval()


def test_both_towers_give_unit_vectors_in_one_space(network: CompactImageText) -> None:
    with torch.no_grad():
        pictures, texts = network(torch.randn(3, 3, 64, 64), numbered(["a red house", "food"], NUMBER_OF))
        states = network.last_map(torch.randn(2, 3, 64, 64))
    assert pictures.shape == (3, DIMENSIONS)
    assert texts.shape == (2, DIMENSIONS)
    assert states.shape == (2, 64, 5, 5)
    for vectors in (pictures, texts):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))


def test_padding_does_not_count_and_the_order_of_words_does(network: CompactImageText) -> None:
    texts = ["red house and green dog", "green house and red dog"]
    with torch.no_grad():
        short, long = (network.embed_words(numbered(texts, NUMBER_OF, length)) for length in (None, CONTEXT))
    torch.testing.assert_close(short, long)
    assert (short[0] - short[1]).abs().max() > 1e-4


def test_words_and_their_numbers() -> None:
    assert words_of("A  Middle-sized HOUSE, on_the left!") == ["a", "middle", "sized", "house", "on", "the", "left"]
    assert words_of("...") == []
    found = numbered(["a zebra, a house", "food"], NUMBER_OF)
    a, house, food = (NUMBER_OF[word] for word in ("a", "house", "food"))
    assert found.tolist() == [[a, a, house], [food, PADDING, PADDING]]
    assert numbered(["food " * 100], NUMBER_OF).shape == (1, CONTEXT)


def test_every_caption_is_made_of_known_words() -> None:
    rng = np.random.default_rng(0)
    known, longest, used = set(caption_words()), 0, set()
    for number in range(3000):
        scene = scene_of(23, number)
        for caption in (scene.caption, short_caption(scene, rng)):
            words = words_of(caption)
            used |= set(words)
            longest = max(longest, len(words))
    assert used == known, "no word is missing, and none is never learned"
    assert longest <= CONTEXT


def test_the_words_that_one_looks_for_are_known() -> None:
    queries = (
        *CATEGORIES,
        *KINDS,
        *COLOURS,
        *TEXTURES,
        *PLACES_TO_BE,
        *GROUPS,
        "hands",
        "numbers",
        "women",
        "churches",
    )
    assert set(queries) <= set(caption_words())


def test_short_captions_are_true() -> None:
    """Every kind, colour, setting and texture that is named is there; so is a kind of every group."""
    plurals = {compact_clip._plural(kind): kind for kind in KINDS if kind != "word"}
    singulars = {one: group for group, one in compact_clip._SINGULARS.items() if one not in KINDS}
    rng = np.random.default_rng(1)
    for number in range(2000):
        scene = scene_of(24, number)
        caption = short_caption(scene, rng)
        there = {thing.kind for thing in scene.things}
        for word in words_of(caption):
            kind, group = plurals.get(word, word), singulars.get(word, word)
            if group in GROUPS and word != "person":
                assert there & set(GROUPS[group]), (caption, there)
            elif kind in KINDS:
                # A person is one of the kind, and one of the people.
                allowed = there | ({"person"} if there & set(GROUPS["people"]) else set())
                assert kind in allowed, (caption, there)
            if word in COLOURS:
                assert word in {thing.colour for thing in scene.things}, caption
            assert word not in PLACES_TO_BE or word == scene.setting, caption
            assert word not in TEXTURES or word == scene.texture, caption
        if caption.endswith(("things", "thing")) and caption.split()[0] in ("one", "two", "three", "four"):
            count = ("one", "two", "three", "four").index(caption.split()[0]) + 1
            assert count == len(scene.things)


def test_no_thing_is_named_more_often_than_another() -> None:
    """Captions of one kind, of scenes with four things of four kinds: the main one's share is a quarter."""
    rng = np.random.default_rng(2)
    named: Counter[int] = Counter()
    for number in range(3000):
        scene = scene_of(25, number)
        kinds = [thing.kind for thing in scene.things]
        if len(set(kinds)) == 4:
            for _ in range(20):
                caption = short_caption(scene, rng)
                words = words_of(caption)
                found = [kind for kind in kinds if kind in words or compact_clip._plural(kind) in words]
                if len(found) == 1:
                    named[kinds.index(found[0])] += 1
    total = sum(named.values())
    assert total > 1000
    spread = 4 * np.sqrt(0.25 * 0.75 / total)
    assert all(abs(named[position] / total - 0.25) < spread + 0.02 for position in range(4)), named


def test_the_weights_are_the_ones_that_were_measured() -> None:
    record = json.loads(WEIGHTS.with_suffix(".json").read_text())
    assert record["sha256"] == file_digest(WEIGHTS)
    assert record["dimensions"] == DIMENSIONS
    assert record["words"] == list(caption_words())
    assert WEIGHTS.stat().st_size < 6e6
    held_out = record["held_out"]
    assert min(held_out["auc_of_categories"].values()) > 0.9
    assert held_out["auc_of_kinds_median"] > 0.85
    assert held_out["retrieval"]["top_1"] > 0.5
