"""Retrieval accuracy: known rankings, ties, chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainviz.errors import SpecError
from brainviz.training.retrieval import ROWS_PER_BLOCK, found_within, retrieval_ranks, retrieval_top1


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


def slow_ranks(z_brain: torch.Tensor, z_image: torch.Tensor) -> list[list[int]]:
    """Count, brain vector by brain vector; whole numbers in, so that ties are exact."""
    brain, image = z_brain.tolist(), z_image.tolist()
    ranks = []
    for i, x in enumerate(brain):
        similarity = [sum(p * q for p, q in zip(x, y, strict=True)) for y in image]
        better = sum(value > similarity[i] for value in similarity)
        ranks.append([better + 1, better + sum(value == similarity[i] for value in similarity)])
    return ranks


def signs(n: int, size: int, seed: int) -> torch.Tensor:
    """Rows of 1 and -1: all of one length, 2 for size 4, so that float32 cosines are exact, and many tie."""
    return torch.randint(2, (n, size), generator=torch.Generator().manual_seed(seed)).float() * 2 - 1


def test_ranks_equal_a_count_with_many_ties() -> None:
    z_brain, z_image = signs(50, 4, 0), signs(50, 4, 1)
    ranks = retrieval_ranks(z_brain, z_image)
    assert ranks.tolist() == slow_ranks(z_brain, z_image)
    assert (ranks[:, 1] > ranks[:, 0]).any()
    for k in (1, 2, 7, 50):
        expected = [
            len(set(range(first, last + 1)) & set(range(1, k + 1))) / (last - first + 1) for first, last in ranks
        ]
        np.testing.assert_allclose(found_within(ranks, k), expected)
        assert found_within(ranks, k).mean() == pytest.approx(np.mean(expected))
    assert found_within(ranks, 1).mean() == pytest.approx(retrieval_top1(z_brain, z_image))


def test_ranks_without_ties_over_block_borders() -> None:
    n = ROWS_PER_BLOCK + 10
    generator = torch.Generator().manual_seed(0)
    z_image = torch.randn(n, 8, generator=generator)
    z_brain = z_image + torch.randn(n, 8, generator=generator)
    ranks = retrieval_ranks(z_brain.numpy(), z_image.numpy())
    cosines = torch.nn.functional.cosine_similarity(z_brain.double()[:, None], z_image.double()[None], dim=2)
    expected = 1 + (cosines > cosines.diagonal()[:, None]).sum(dim=1).numpy()
    # Float32 may exchange two images whose cosines are within rounding of each other.
    assert (np.abs(ranks - expected[:, None]).max(axis=1) > 0).mean() < 0.02
    assert np.abs(ranks - expected[:, None]).max() <= 1
    assert found_within(ranks, 1).mean() == pytest.approx(retrieval_top1(z_brain, z_image))
    assert 0 < found_within(ranks, 1).mean() < found_within(ranks, 5).mean() < found_within(ranks, n).mean() == 1


def test_ranks_of_collapsed_embeddings_score_chance() -> None:
    ranks = retrieval_ranks(torch.ones(8, 3), torch.ones(8, 3))
    assert ranks.tolist() == [[1, 8]] * 8
    assert found_within(ranks, 3).mean() == pytest.approx(3 / 8)


def test_random_embeddings_score_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    ranks = retrieval_ranks(*torch.randn(2, 1000, 16, generator=generator))
    for k in (10, 100, 500):
        assert found_within(ranks, k).mean() == pytest.approx(
            k / 1000, abs=4 * (k / 1000 * (1 - k / 1000) / 1000) ** 0.5
        )


def test_an_unknown_embedding_finds_nothing() -> None:
    unknown = torch.eye(3)
    unknown[0, 0] = torch.nan
    assert retrieval_ranks(unknown, torch.eye(3)).tolist() == [[1, 3], [1, 1], [1, 1]]
    assert retrieval_ranks(torch.eye(3), unknown).tolist() == [[3, 3], [1, 1], [1, 1]]


def test_ranks_must_pair_up() -> None:
    with pytest.raises(SpecError, match="pair up"):
        retrieval_ranks(torch.ones(3, 2), torch.ones(2, 2))
    with pytest.raises(SpecError, match="at least 1"):
        found_within(np.ones((3, 2), dtype=int), 0)
    with pytest.raises(SpecError, match="at least 1"):
        found_within(np.ones((0, 2), dtype=int), 1)
