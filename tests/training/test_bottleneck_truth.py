"""Bottleneck networks against planted truths: where they beat ridge, what they lose to it, when pre-training helps.

Lion moves every weight by the learning rate per step. The published 1e-4 is for a layer of 36 million weights that
begin at about 0.013, and for some 600 steps. The layers here are small: their weights begin at 0.06 and 0.2, and 1e-3
moves them as much, as a share, in 200 to 400 steps (10 to 15 epochs).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch

from brainviz.encoding import ridge
from brainviz.encoding.metrics import pearson_r
from brainviz.models.bottleneck import Bottleneck
from brainviz.training.bottleneck import SubjectData, fit_bottleneck, predict

P, K, HIDDEN = 20, 10, 60
SETTINGS = {"width": 300, "batch_size": 64, "learning_rate": 1e-3}
PENALTIES = np.logspace(-2, 5, 8)

#: Standard deviation of what cannot be predicted, as a share of what can: r is 0.89 at best.
NOISE = 0.5


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Products as small as these gain nothing by threads, which wait for each other where others use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Simulated(NamedTuple):
    """One subject's features (n, P), and responses (n, 2 K): the left hemisphere's components, then the right's."""

    x: np.ndarray
    y: np.ndarray

    def rows(self, start: int, stop: int | None = None) -> Simulated:
        return Simulated(self.x[start:stop], self.y[start:stop])

    def data(self, n_validation: int) -> SubjectData:
        """What a fit gets: the first rows choose the epoch."""
        y = self.y - self.y[n_validation:].mean(axis=0)
        return SubjectData(self.x, *np.hsplit(y, 2), y[n_validation:].var(axis=0), np.arange(n_validation))


def simulate(kind: str, n: int, *, world: int = 0, subject: int = 0, own: float = 0.0) -> Simulated:
    """Simulate a subject; those of a world share their tuning, but for a part with a standard deviation of `own`."""
    shared, rng = np.random.default_rng(world), np.random.default_rng([world, subject])
    first, second = shared.standard_normal((2, P, HIDDEN)) / P**0.5
    tuning = shared.standard_normal((HIDDEN, 2 * K)) + own * rng.standard_normal((HIDDEN, 2 * K))
    x = rng.standard_normal((n, P)).astype(np.float32)
    # The sign of x does not change a product, so that a linear model finds nothing of it.
    product = np.maximum((x @ first) * (x @ second), 0)
    hidden = {"linear": x @ first, "products": product, "mixed": np.tanh(2 * x @ first) + product}[kind]
    y = hidden @ tuning
    y = y / y.std(axis=0).mean() + NOISE * rng.standard_normal(y.shape)
    y *= np.tile(np.linspace(2, 0.5, K), 2)  # as components of a PCA: the first ones are the largest
    return Simulated(x, y.astype(np.float32))


def network_r(network: Bottleneck, test: Simulated, eigenvalues: np.ndarray) -> float:
    return float(pearson_r(np.hstack(predict(network, test.x, eigenvalues)), test.y).mean())


def ridge_r(train: Simulated, test: Simulated) -> float:
    return float(pearson_r(ridge.predict(ridge.fit_ridge(train.x, train.y, PENALTIES), test.x), test.y).mean())


def against_ridge(kind: str) -> tuple[float, float]:
    """Mean test r of the network and of ridge, which both have the same pictures to learn and to choose from."""
    whole = simulate(kind, 2500)
    train, test = whole.rows(0, 2000), whole.rows(2000)
    data = train.data(200)
    network = fit_bottleneck([data], **SETTINGS, epochs=15).network
    return network_r(network, test, data.eigenvalues), ridge_r(train, test)


@pytest.mark.parametrize(("kind", "margin"), [("products", 0.6), ("mixed", 0.1)])
def test_a_non_linear_mapping_is_found_better_than_by_ridge(kind: str, margin: float) -> None:
    found, linear = against_ridge(kind)
    assert found > linear + margin, f"network {found:.3f}, ridge {linear:.3f}, margin {found - linear:.3f}"
    assert found < (1 + NOISE**2) ** -0.5 + 0.02
    if kind == "products":
        assert abs(linear) < 0.1


def test_little_is_lost_to_ridge_on_a_linear_mapping() -> None:
    """No gain is asked for, ridge is the right model here; and the racing loss does not see amplitudes."""
    found, linear = against_ridge("linear")
    assert abs(found - linear) < 0.1, f"network {found:.3f}, ridge {linear:.3f}, lost {linear - found:.3f}"
    assert linear > 0.8


def test_pre_training_helps_a_subject_with_few_pictures() -> None:
    """One with 60 pictures to learn from, among four with 600; they share tuning but for a part of each one's own.

    Its test responses are NaN for the fits, which neither accept NaN nor could do arithmetic with them unnoticed. The
    subject alone is trained for 30 epochs, three times as long: it is not for want of steps that it does worse.
    """
    figures = []
    for world in range(3):
        others = [simulate("mixed", 660, world=world, subject=s, own=0.5).data(60) for s in range(4)]
        whole = simulate("mixed", 600, world=world, subject=4, own=0.5)
        test, known = whole.rows(100), Simulated(whole.x.copy(), whole.y.copy())
        known.x[100:], known.y[100:] = np.nan, np.nan
        train = known.rows(0, 100)
        data = train.data(40)
        settings = SETTINGS | {"epochs": 10, "seed": world}
        shared = fit_bottleneck([*others, data], **settings, stage=0).network
        tuned = fit_bottleneck([data], **settings, initial=shared).network
        alone = fit_bottleneck([data], **settings | {"epochs": 30}).network
        r = (network_r(network, test, data.eigenvalues) for network in (tuned, shared, alone))
        figures.append([*r, ridge_r(train, test)])
    tuned_r, shared_r, alone_r, ridge_alone_r = np.transpose(figures)
    said = (
        f"pre-trained {tuned_r.round(3)}, before its own training {shared_r.round(3)}, alone {alone_r.round(3)}, "
        f"ridge {ridge_alone_r.round(3)}"
    )
    assert (tuned_r > alone_r + 0.05).all(), said
    assert tuned_r.mean() > alone_r.mean() + 0.1, said
    assert tuned_r.mean() > shared_r.mean(), said  # the subject's own part is only in its own pictures
