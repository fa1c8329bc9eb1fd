"""Decoders: the same as a plain loop, whatever the groups; planted mappings are found, and noise is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from brainviz.errors import DatasetError, SpecError
from brainviz.models.decoder import decode
from brainviz.training import decoding
from brainviz.training.decoding import bytes_per_seed, fit_decoders
from brainviz.training.retrieval import found_within, retrieval_ranks
from brainviz.training.streams import streams


def noise_data(n: int = 50, v: int = 24, p: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, v), dtype=np.float32), rng.standard_normal((n, p), dtype=np.float32)


def plain_loop(
    responses: np.ndarray, embeddings: np.ndarray, seed: int, number: int, iterations: int, batch: int, noise_sd: float
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Train one decoder the usual way: nn.Linear, Adam, cross-entropies of both directions."""
    x, images = torch.from_numpy(responses), torch.from_numpy(embeddings)
    weights, order, noise = streams(seed, number)
    with torch.random.fork_rng():
        torch.manual_seed(weights)
        linear = nn.Linear(x.shape[1], images.shape[1])
    adam = torch.optim.Adam(linear.parameters(), lr=1e-3)
    order_generator, noise_generator = torch.Generator().manual_seed(order), torch.Generator().manual_seed(noise)
    losses: list[float] = []
    while True:
        for index in torch.randperm(len(x), generator=order_generator).split(batch):
            if len(index) < batch:
                continue
            noisy = x[index] + noise_sd * torch.randn(batch, x.shape[1], generator=noise_generator)
            s = functional.normalize(linear(noisy)) @ functional.normalize(images[index]).T / 0.03
            own = torch.arange(batch)
            loss = (functional.cross_entropy(s, own) + functional.cross_entropy(s.T, own)) / 2
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
            if len(losses) == iterations:
                return linear.weight.detach().numpy().T, linear.bias.detach().numpy(), losses


@pytest.mark.parametrize("noise_sd", [0.0, 0.7])
@pytest.mark.parametrize("batch_size", [16, 1000])
def test_equals_a_plain_loop(noise_sd: float, batch_size: int) -> None:
    responses, embeddings = noise_data()
    settings = {"iterations": 40, "learning_rate": 1e-3, "noise_sd": noise_sd, "batch_size": batch_size, "seed": 3}
    fit = fit_decoders(responses, embeddings, n_seeds=2, **settings)
    batch = min(batch_size, len(responses))
    assert fit.batch_size == batch
    plain = [plain_loop(responses, embeddings, 3, s, 40, batch, noise_sd) for s in range(2)]
    np.testing.assert_allclose(fit.bias, (plain[0][1] + plain[1][1]) / 2, atol=1e-5)
    for s, (weight, _, _) in enumerate(plain):
        np.testing.assert_allclose(fit.halves_weight[s], weight, atol=1e-5)
    np.testing.assert_allclose(fit.weight, (plain[0][0] + plain[1][0]) / 2, atol=1e-5)
    np.testing.assert_allclose(fit.loss, np.mean([losses for *_, losses in plain], axis=0), rtol=1e-4)
    one = fit_decoders(responses, embeddings, n_seeds=1, **settings)
    np.testing.assert_allclose(one.weight, fit.halves_weight[0], atol=1e-5)
    assert one.halves_weight is None


def test_groups_do_not_matter() -> None:
    responses, embeddings = noise_data()
    settings = {"n_seeds": 5, "iterations": 60, "batch_size": 16, "learning_rate": 1e-3}
    per_seed = bytes_per_seed(24, 6, 16)
    whole = fit_decoders(responses, embeddings, **settings)
    assert whole.seeds_per_group == 5
    for memory, size in ((0, 1), (2 * per_seed, 2), (4 * per_seed, 3)):  # as even as they can be
        parts = fit_decoders(responses, embeddings, memory=memory, **settings)
        assert parts.seeds_per_group == size
        np.testing.assert_allclose(parts.weight, whole.weight, atol=2e-6)
        np.testing.assert_allclose(parts.halves_weight, whole.halves_weight, atol=2e-6)
        np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-4)


def test_seeds_differ_and_their_halves_make_the_whole() -> None:
    responses, embeddings = noise_data()
    fit = fit_decoders(responses, embeddings, n_seeds=4, iterations=5, batch_size=16)
    np.testing.assert_allclose(fit.halves_weight.mean(axis=0), fit.weight, atol=1e-7)
    assert abs(np.corrcoef(fit.halves_weight[0].ravel(), fit.halves_weight[1].ravel())[0, 1]) < 0.5
    odd = fit_decoders(responses, embeddings, n_seeds=3, iterations=5, batch_size=16)  # two even seeds and an odd one
    np.testing.assert_allclose((2 * odd.halves_weight[0] + odd.halves_weight[1]) / 3, odd.weight, atol=1e-7)
    numbers = [number for seed in range(20) for s in range(50) for number in streams(seed, s)]
    assert len(set(numbers)) == len(numbers)


def test_the_same_arguments_give_the_same_weights() -> None:
    responses, embeddings = noise_data()
    before = torch.get_rng_state()
    first, second = (fit_decoders(responses, embeddings, n_seeds=3, iterations=30, batch_size=16) for _ in range(2))
    assert np.array_equal(first.weight, second.weight)
    assert np.array_equal(first.bias, second.bias)
    assert torch.equal(torch.get_rng_state(), before)
    other = fit_decoders(responses, embeddings, n_seeds=3, iterations=30, batch_size=16, seed=1)
    assert not np.allclose(first.weight, other.weight)


def test_finds_a_planted_mapping_and_its_loss_falls() -> None:
    """Responses are a linear image of the embeddings with as much noise; 200 pictures are held out."""
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((800, 12)).astype(np.float32)
    responses = embeddings @ rng.standard_normal((12, 60)) / 12**0.5 + rng.standard_normal((800, 60))
    responses = ((responses - responses.mean(0)) / responses.std(0)).astype(np.float32)
    fit = fit_decoders(
        responses[:600], embeddings[:600], n_seeds=4, iterations=400, learning_rate=3e-3, noise_sd=1.0, temperature=0.1
    )
    z = decode(responses[600:], fit.weight, fit.bias)
    ranks = retrieval_ranks(z, embeddings[600:])
    assert found_within(ranks, 1).mean() > 0.3  # chance is 0.005
    assert found_within(ranks, 10).mean() > 0.8
    assert len(fit.loss) == len(fit.loss_iterations) == decoding.LOSS_POINTS
    assert fit.loss[-10:].mean() < 0.5 * fit.loss[0]
    assert fit.loss_iterations[-1] == 400


def test_finds_nothing_in_noise() -> None:
    responses, embeddings = noise_data(900, 40, 8)
    fit = fit_decoders(responses[:400], embeddings[:400], n_seeds=2, iterations=300, learning_rate=3e-3)
    ranks = retrieval_ranks(decode(responses[400:], fit.weight, fit.bias), embeddings[400:])
    for k in (1, 50, 250):
        chance = k / 500
        assert found_within(ranks, k).mean() == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 500))


def test_progress_counts_all_groups() -> None:
    responses, embeddings = noise_data()
    calls: list[tuple[int, int]] = []
    fit = fit_decoders(
        responses, embeddings, n_seeds=3, iterations=7, memory=0, progress=lambda done, of: calls.append((done, of))
    )
    assert calls == [(done, 21) for done in range(1, 22)]
    assert fit.loss_iterations.tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_points_of_the_loss_are_means(monkeypatch: pytest.MonkeyPatch) -> None:
    responses, embeddings = noise_data()
    every = fit_decoders(responses, embeddings, n_seeds=2, iterations=10, batch_size=16)
    monkeypatch.setattr(decoding, "LOSS_POINTS", 3)
    few = fit_decoders(responses, embeddings, n_seeds=2, iterations=10, batch_size=16)
    assert few.loss_iterations.tolist() == [3, 6, 10]
    np.testing.assert_allclose(few.loss, [every.loss[:3].mean(), every.loss[3:6].mean(), every.loss[6:].mean()])


def test_divergence_is_said() -> None:
    responses, embeddings = noise_data()
    with pytest.raises(SpecError, match=r"diverged[\s\S]*below 1e\+38"):
        fit_decoders(responses, embeddings, n_seeds=2, iterations=20, learning_rate=1e38)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_seeds": 0},
        {"iterations": 0},
        {"batch_size": 1},
        {"temperature": 0.0},
        {"learning_rate": math.inf},
        {"noise_sd": -1.0},
        {"noise_sd": math.nan},
        {"seed": -1},
    ],
)
def test_settings_out_of_range_are_refused(settings) -> None:
    with pytest.raises(SpecError, match="Expected"):
        fit_decoders(*noise_data(), **settings)


def test_data_that_cannot_be_used_is_refused() -> None:
    responses, embeddings = noise_data()
    with pytest.raises(DatasetError, match="do not match"):
        fit_decoders(responses[:-1], embeddings)
    with pytest.raises(DatasetError, match="do not match"):
        fit_decoders(responses[:, 0], embeddings)
    with pytest.raises(DatasetError, match="too few"):
        fit_decoders(responses[:1], embeddings[:1])
    with pytest.raises(DatasetError, match="0 vertices"):
        fit_decoders(responses[:, :0], embeddings)
    unusable = responses.copy()
    unusable[3:5, 2] = np.nan
    with pytest.raises(DatasetError, match=r"responses hold NaN[\s\S]*2 values, in 1 of 24"):
        fit_decoders(unusable, embeddings)
    with pytest.raises(DatasetError, match="embeddings hold NaN"):
        fit_decoders(responses, np.full_like(embeddings, np.inf))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_equals_the_cpu_without_noise() -> None:
    responses, embeddings = noise_data(300, 64, 16)
    settings = {"n_seeds": 3, "iterations": 60, "noise_sd": 0.0}
    on_cpu = fit_decoders(responses, embeddings, **settings)
    on_cuda = fit_decoders(responses, embeddings, device="cuda", **settings)
    np.testing.assert_allclose(on_cuda.weight, on_cpu.weight, atol=1e-5)
