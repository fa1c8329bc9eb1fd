"""Retrieval accuracy: known rankings, ties, chance."""

from __future__ import annotations

import pytest
import torch

from brainviz.errors import SpecError
from brainviz.training.retrieval import retrieval_top1


def test_counts_brain_vectors_whose_nearest_image_is_their_own() -> None:
    z_image = torch.eye(4)
    z_brain = torch.tensor([[5.0, 1, 0, 0], [0, 0.1, 0, 0], [3, 0, 2, 0], [0, 0, 0, -1]])  # hits 0 and 1 only
    assert retrieval_top1(z_brain, z_image) == 0.5


def test_it_is_the_brain_that_asks() -> None:
    """Both brain vectors are nearest to image 0; image 1 however is nearest to its own brain vector."""
    z_brain, z_image = torch.tensor([[1.0, 0.0], [0.9, 0.1]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert retrieval_top1(z_brain, z_image) == 0.5
    assert retrieval_top1(z_image, z_brain) == 1.0


def test_collapsed_embeddings_score_chance() -> None:
    assert retrieval_top1(torch.ones(8, 3), torch.ones(8, 3)) == pytest.approx(1 / 8)


def test_a_picture_that_occurs_twice_shares_the_point() -> None:
    z = torch.eye(3)[[0, 1, 2, 2]]
    assert retrieval_top1(z, z) == pytest.approx((1 + 1 + 0.5 + 0.5) / 4)


def test_embeddings_must_pair_up() -> None:
    with pytest.raises(SpecError, match="pair up"):
        retrieval_top1(torch.ones(3, 2), torch.ones(2, 2))
    with pytest.raises(SpecError, match="pair up"):
        retrieval_top1(torch.ones(0, 2), torch.ones(0, 2))
