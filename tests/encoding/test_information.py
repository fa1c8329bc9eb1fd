"""The information bound against its formula in plain loops, and against channels whose information is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from brainviz.encoding import information
from brainviz.encoding.information import BETA_RANGE, choose_beta, information_bound
from brainviz.errors import SpecError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def _pairs(n: int, z: int, noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings of responses and of pictures, (n, z): a common part, and noise."""
    generator = torch.Generator().manual_seed(seed)
    common, brain, image = (torch.randn(n, z, generator=generator) for _ in range(3))
    return common + noise * brain, common + noise * image


@pytest.mark.parametrize("device", DEVICES)
def test_bound_is_the_formula(device: str, monkeypatch) -> None:
    monkeypatch.setattr(information, "ROWS_PER_BLOCK", 5)
    brain, image = _pairs(12, 4, 0.5)
    temperature, beta, k = 0.3, 0.8, 12
    terms = []
    for i in range(k):
        c = []
        for j in range(k):
            x, y = image[i].double().tolist(), brain[j].double().tolist()
            dot = sum(a * b for a, b in zip(x, y, strict=True))
            c.append(dot / math.hypot(*x) / math.hypot(*y) / (temperature * beta))
        terms.append(math.log(math.exp(c[i]) / (sum(math.exp(each) for each in c) / k)))
    bound = information_bound(brain.to(device), image.to(device), temperature, beta)
    np.testing.assert_allclose(bound.per_image, terms, atol=1e-5)
    assert bound.nats == pytest.approx(sum(terms) / k, abs=1e-6)
    assert (bound.n_images, bound.limit) == (12, math.log(12))
    assert bound.per_image.dtype == np.float64


def test_perfect_alignment_reaches_log_k() -> None:
    brain, _ = _pairs(200, 30, 0.0)
    bound = information_bound(brain, 7 * brain, 0.3, 0.01)
    assert bound.nats == pytest.approx(math.log(200), abs=1e-6)
    assert bound.nats <= bound.limit + 1e-9
    beta = choose_beta(brain, brain, 0.3)
    assert information_bound(brain, brain, 0.3, beta).nats == pytest.approx(math.log(200), abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_independent_embeddings_give_nothing(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    train_brain, train_image, brain, image = (torch.randn(400, 16, generator=generator) for _ in range(4))
    beta = choose_beta(train_brain, train_image, 0.3)
    nats = information_bound(brain, image, 0.3, beta).nats
    # The cosines of 400 pairs average to within 0.25/sqrt(400) of 0, and beta is chosen large.
    assert -0.05 < nats < 0.02


def test_overfitted_training_embeddings_never_lift_the_bound_of_independent_test_images() -> None:
    brain, image = _pairs(300, 20, 0.1)
    generator = torch.Generator().manual_seed(1)
    tests = [torch.randn(300, 20, generator=generator) for _ in range(2)]
    assert information_bound(*tests, 0.3, choose_beta(brain, image, 0.3)).nats < 0


@pytest.mark.parametrize(("z", "noise"), [(2, 0.6), (4, 0.8), (10, 1.2), (3, 0.3)])
def test_a_gaussian_channels_information_is_not_exceeded(z: int, noise: float) -> None:
    # Common part of variance 1 in each of z dimensions, seen twice with noise: r = 1 / (1 + noise^2) in each.
    r = 1 / (1 + noise**2)
    known = -z / 2 * math.log(1 - r**2)
    beta = choose_beta(*_pairs(800, z, noise, seed=1), 0.3)
    bounds = [information_bound(*_pairs(800, z, noise, seed=seed), 0.3, beta).nats for seed in range(2, 8)]
    error = np.std(bounds, ddof=1) / np.sqrt(len(bounds))
    assert np.mean(bounds) < known + 3 * error
    assert np.mean(bounds) > 0.3 * known  # the cosine leaves out the lengths, and some of the rest


def test_a_channel_of_equally_likely_words_is_measured_exactly() -> None:
    # 8 orthogonal words, each read rightly: log 8 nats, which the bound reaches for any K far above 8.
    words = torch.eye(8)[torch.arange(640) % 8]
    beta = choose_beta(words, words, 0.3)
    bound = information_bound(words, words, 0.3, beta)
    assert bound.nats == pytest.approx(math.log(8), abs=1e-3)
    assert bound.nats < bound.limit


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.0, 2.0])
def test_chosen_beta_is_the_best_of_a_fine_grid(noise: float) -> None:
    brain, image = _pairs(150, 12, noise)
    beta = choose_beta(brain, image, 0.3)
    grid = np.geomspace(*BETA_RANGE, 400)
    best = max(information_bound(brain, image, 0.3, each).nats for each in grid)
    assert BETA_RANGE[0] <= beta <= BETA_RANGE[1]
    assert information_bound(brain, image, 0.3, beta).nats >= best - 1e-4


def test_temperature_and_beta_count_only_together() -> None:
    brain, image = _pairs(100, 10, 0.7)
    np.testing.assert_allclose(
        information_bound(brain, image, 0.3, 0.5).per_image, information_bound(brain, image, 0.15, 1.0).per_image
    )
    assert choose_beta(brain, image, 0.6) == pytest.approx(choose_beta(brain, image, 0.3) / 2, rel=0.01)


@pytest.mark.parametrize(
    ("brain", "image", "temperature", "beta", "words"),
    [
        ((5, 3), (5, 4), 0.3, 1.0, "pair up"),
        ((5,), (5,), 0.3, 1.0, "pair up"),
        ((0, 3), (0, 3), 0.3, 1.0, "pair up"),
        ((5, 3), (5, 3), 0.0, 1.0, "temperature"),
        ((5, 3), (5, 3), 0.3, -1.0, "beta"),
        ((5, 3), (5, 3), 0.3, math.inf, "beta"),
    ],
)
def test_what_is_refused(brain, image, temperature, beta, words) -> None:
    with pytest.raises(SpecError, match=words):
        information_bound(torch.zeros(brain), torch.zeros(image), temperature, beta)
    if words != "beta":
        with pytest.raises(SpecError, match=words):
            choose_beta(torch.zeros(brain), torch.zeros(image), temperature)
