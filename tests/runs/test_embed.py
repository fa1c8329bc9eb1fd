"""Embedding runs against the image-text network itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainviz.datasets.base import Dataset
from brainviz.datasets.images import squeezed
from brainviz.errors import DatasetError, WeightsError
from brainviz.models.clip import COMPACT_CLIP, load_clip, resolve_clip_weights
from brainviz.runs.context import Context
from brainviz.runs.embed import EMBEDDINGS, embedding, open_image_text, read_embeddings, texts
from brainviz.runs.store import Run, Store

Finish = Callable[..., Run]


def network() -> Any:
    return load_clip(COMPACT_CLIP, "demo", resolve_clip_weights(COMPACT_CLIP, "demo").digest)


def test_pictures_are_embedded_in_their_order(finish_concepts: Finish, shared_dataset: Dataset) -> None:
    run = finish_concepts(kind="embedding", subject="subj02")
    vectors = read_embeddings(run)
    pictures = shared_dataset.images("subj02")
    expected = network().embed_images(np.stack([squeezed(pictures[row], 64) for row in (0, 1, 57, 119)]))
    assert (vectors.shape, vectors.dtype) == ((120, 128), np.float32)
    np.testing.assert_allclose(vectors[[0, 1, 57, 119]], expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert run.result() == {"n_images": 120, "n_dimensions": 128, "image_size": 64}


def test_a_picture_seen_by_two_has_one_embedding(finish_concepts: Finish, shared_dataset: Dataset) -> None:
    one, other = (read_embeddings(finish_concepts(kind="embedding", subject=name)) for name in ("subj01", "subj04"))
    first, second = (shared_dataset.images(name).ids for name in ("subj01", "subj04"))
    both = sorted(set(first) & set(second))
    assert len(both) == 32
    np.testing.assert_allclose(
        one[[first.index(name) for name in both]], other[[second.index(name) for name in both]], atol=1e-6
    )


def test_texts_that_the_network_cannot_read_are_rows_of_0_and_counted(finish_concepts: Finish, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("red house\nxylophone\nfood\nqwertz uiop\na xylophone in a meadow\n")
    run = finish_concepts(kind="texts", texts=str(file))
    vectors = read_embeddings(run)
    assert run.result() == {"n_texts": 5, "n_unreadable": 2, "n_dimensions": 128}
    np.testing.assert_array_equal(np.flatnonzero(~vectors.any(axis=1)), [1, 3])
    expected = network().embed_texts(["red house", "food", "a xylophone in a meadow"])
    np.testing.assert_allclose(vectors[[0, 2, 4]], expected, atol=1e-6)


def test_texts_of_which_none_can_be_read(finish_concepts: Finish, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("xylophone\nqwertz\n")
    run = finish_concepts(kind="texts", texts=str(file))
    assert run.result()["n_unreadable"] == 2
    assert not read_embeddings(run).any()


def test_other_weights_give_other_vectors(finish_concepts: Finish) -> None:
    demo, random = (finish_concepts(kind="texts", clip_weights=weights) for weights in ("demo", "random"))
    assert demo.id != random.id
    assert np.abs(read_embeddings(demo) - read_embeddings(random)).max() > 0.1
    np.testing.assert_allclose(np.linalg.norm(read_embeddings(random), axis=1), 1, atol=1e-5)


def test_a_run_needs_weights_and_texts_that_are_known(finish_concepts: Finish, tmp_path: Path) -> None:
    spec = finish_concepts(kind="texts").spec
    context = Context(Store(), tmp_path, "cpu", event=lambda event: None)
    with pytest.raises(DatasetError, match="Nothing is known of the texts"):
        texts(spec.model_copy(update={"texts_digest": "0" * 64}), context)
    lost = spec.model_copy(update={"clip_weights": "file", "clip_digest": "0" * 64})
    with pytest.raises(WeightsError, match="Nobody remembers"):
        open_image_text(lost, Store().cache)
    pictures = finish_concepts(kind="embedding", subject="subj01").spec
    with pytest.raises(DatasetError, match="subj09"):
        embedding(pictures.model_copy(update={"subject": "subj09"}), context)
    assert not (tmp_path / EMBEDDINGS).exists()
